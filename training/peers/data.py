"""What a peer learns from: images of training patients with their masks and cohorts, and the batch of a step."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.config import TrainingConfig
from training.downstream.images import LabelledImage
from training.examples import Example, check_pictures, folder_examples, shared_pixel_size
from training.peers.recipe import PeerRecipe
from training.sides import parts_of, patients_of, sides_of
from training.views import View
from wdlora.dataset.split import TABLE as SPLIT
from wdlora.errors import InputError
from wdlora.evaluation.sets import in_order
from wdlora.study import Study, study_of


@dataclass(frozen=True)
class PeerData:
    """Images to learn from and to judge by, the part of every patient, and the cohorts in the order of their labels."""

    learned: list[LabelledImage]
    held: list[LabelledImage]
    parts: dict[str, str]
    cohorts: tuple[str, ...]
    pixel_size_um: float
    study: Study
    sentence: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that is learned from."""
        digests = "".join(image.digest for image in self.learned) + "/".join(self.cohorts)
        return hashlib.sha256(digests.encode()).hexdigest()


@dataclass(frozen=True)
class PeerBatch:
    """Images float [n, 1, S, S] from −1 to 1, masks float [n, 1, S, S] of 0 and 1, cohorts int64 [n]."""

    images: Tensor
    masks: Tensor
    cohorts: Tensor

    def to(self, device: torch.device) -> "PeerBatch":
        """The same on a device."""
        return PeerBatch(self.images.to(device), self.masks.to(device), self.cohorts.to(device))


def read_peer_data(
    folder: Path, recipe: PeerRecipe, split: Path | None = None, pixel_size_um: float | None = None
) -> PeerData:
    """The images of a data set. Who is held out stands in `split`, else in split.csv in the folder, and in the column
    `split` of its table, which must agree; of who is in neither, the recipe's share is drawn.

    Raises InputError as a fine-tune on the folder does, and where a cohort has nobody to learn from.
    """
    examples = check_pictures(folder_examples(folder), recipe.size)
    tables = [split] if split is not None else [folder / SPLIT] if (folder / SPLIT).is_file() else []
    shares = TrainingConfig(validation_share=0.0, test_share=recipe.test_share, seed=recipe.seed)
    parts = parts_of(examples, shares, False, tables)
    sides = sides_of(examples, parts)
    study = study_of(folder)
    size = shared_pixel_size(examples, pixel_size_um, study)
    cohorts = tuple(in_order({one.cohort for one in examples}))
    if alone := [name for name in cohorts if name not in {one.cohort for one in sides.learned}]:
        raise InputError(f"all patients of {' and '.join(alone)} are held out, so it cannot be learned: see {SPLIT}")
    learned = [_labelled(one, size) for one in sides.learned]
    held = [_labelled(one, size) for one in (*sides.test, *sides.validation)]
    sentence = (
        f"{len(learned)} images of {patients_of(sides.learned)} patients, {len(held)} images of "
        f"{patients_of([*sides.test, *sides.validation])} patients held out"
    )
    return PeerData(learned, held, parts, cohorts, size, study, sentence)


def _labelled(example: Example, pixel_size_um: float) -> LabelledImage:
    return LabelledImage(
        example.identity, example.cohort, example.patient, *example.load(), pixel_size_um, caption=example.caption
    )


def draw_crops(images: Sequence[LabelledImage], cohorts: Sequence[str], recipe: PeerRecipe, step: int) -> PeerBatch:
    """The batch of a step, decided by the recipe's seed and the step alone: crops, turned and mirrored where the recipe
    augments.
    """
    generator = np.random.default_rng([recipe.seed, step])
    pictures, masks, labels = [], [], []
    for _ in range(recipe.batch):
        image = images[int(generator.integers(len(images)))]
        view = _view(image.image.shape, recipe, generator)
        pictures.append(signed(view.of(image.image)))
        masks.append(view.of(image.mask).astype(np.float32))
        labels.append(list(cohorts).index(image.cohort))
    return PeerBatch(
        torch.from_numpy(np.stack(pictures))[:, None], torch.from_numpy(np.stack(masks))[:, None], torch.tensor(labels)
    )


def _view(shape: tuple[int, ...], recipe: PeerRecipe, generator: np.random.Generator) -> View:
    side = recipe.size
    row, column = (int(generator.integers(length - side + 1)) for length in shape)
    turns, mirror = int(generator.integers(4)), bool(generator.integers(2))  # drawn either way
    return View(row, column, side, side, *((turns, mirror) if recipe.augment else (0, False)))


def signed(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Levels 0 to 255 as float32 from −1 to 1."""
    return image.astype(np.float32) / np.float32(127.5) - np.float32(1)


def as_levels(picture: Tensor) -> NDArray[np.uint8]:
    """A picture from −1 to 1 [H, W] as levels; what lies beyond is clipped."""
    return np.round((picture.clamp(-1, 1).cpu().numpy() + 1) * 127.5).astype(np.uint8)
