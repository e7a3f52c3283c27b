"""What a network sees in a step: drawn images, cropped and turned, decided by seed and step alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.downstream.config import DownstreamConfig, Regime
from training.downstream.images import LabelledImage
from training.views import View
from wdlora.errors import InputError

GAIN = 1.25
"""Levels are multiplied by 1/GAIN to GAIN in augmentation."""


@dataclass(frozen=True)
class TrainingSet:
    """What one regime draws from: real and synthetic images by cohort. An empty side is not drawn from."""

    real: dict[str, list[LabelledImage]]
    synthetic: dict[str, list[LabelledImage]]
    share: float
    augmented: bool


@dataclass(frozen=True)
class TrainingBatch:
    """Levels float [n, 1, S, S], masks float [n, 1, S, S], cohorts int64 [n]."""

    levels: Tensor
    masks: Tensor
    cohorts: Tensor


def training_set(
    config: DownstreamConfig,
    regime: Regime,
    real: Sequence[LabelledImage],
    synthetic: Sequence[LabelledImage],
    cohorts: Sequence[str],
    seed: int,
) -> TrainingSet:
    """The images of a regime. Raises InputError for images smaller than a tile."""
    check_tiles([*(real if config.share(regime) < 1 else ()), *(synthetic if config.share(regime) > 0 else ())], config)
    given = shuffled(real, seed) if regime.shuffled else list(real)
    return TrainingSet(
        _by_cohort(given, cohorts), _by_cohort(synthetic, cohorts), config.share(regime), regime.augmented
    )


def check_tiles(images: Sequence[LabelledImage], config: DownstreamConfig) -> None:
    """Raise InputError for images smaller than a tile."""
    if small := [image for image in images if min(image.image.shape) < config.side]:
        raise InputError(
            f"{small[0].identity} is {small[0].image.shape[1]} × {small[0].image.shape[0]} pixels, smaller than a tile "
            f"of {config.side}: give a smaller --size"
        )


def shuffled(images: Sequence[LabelledImage], seed: int) -> list[LabelledImage]:
    """The images with the patients' cohorts dealt out anew; all images of a patient keep one cohort."""
    patients = sorted({image.patient: image.cohort for image in images}.items())
    order = np.random.default_rng([seed, 77]).permutation(len(patients))
    dealt = {patients[to][0]: patients[source][1] for to, source in enumerate(order.tolist())}
    return [replace(image, cohort=dealt[image.patient]) for image in images]


def _by_cohort(images: Sequence[LabelledImage], cohorts: Sequence[str]) -> dict[str, list[LabelledImage]]:
    found = {cohort: [image for image in images if image.cohort == cohort] for cohort in cohorts}
    return {cohort: some for cohort, some in found.items() if some}


def draw_batch(
    images: TrainingSet, config: DownstreamConfig, cohorts: Sequence[str], seed: int, step: int
) -> TrainingBatch:
    """The batch of a step. Cohorts are drawn evenly, then images of a cohort; regimes of one seed draw alike."""
    generator = np.random.default_rng([seed, step])
    levels, masks, labels = [], [], []
    for _ in range(config.batch):
        source = images.synthetic if generator.random() < images.share else images.real
        cohort = list(source)[int(generator.random() * len(source))]
        image = source[cohort][int(generator.random() * len(source[cohort]))]
        one, mask = _view(image, config.side, images.augmented, generator)
        levels.append(one)
        masks.append(mask)
        labels.append(list(cohorts).index(cohort))
    return TrainingBatch(
        torch.from_numpy(np.stack(levels))[:, None],
        torch.from_numpy(np.stack(masks)).float()[:, None],
        torch.tensor(labels),
    )


def _view(
    image: LabelledImage, side: int, augmented: bool, generator: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A crop of levels and mask; where `augmented`, turned, mirrored and of another gain. As many numbers are drawn
    either way.
    """
    height, width = image.image.shape
    places = generator.random(5)
    row, column = int(places[0] * (height - side + 1)), int(places[1] * (width - side + 1))
    turns, mirror = (int(places[2] * 4), bool(places[3] < 0.5)) if augmented else (0, False)
    view = View(row, column, side, side, turns, mirror)
    gain = np.float32(GAIN ** (2 * places[4] - 1)) if augmented else np.float32(1)
    return view.of(image.levels) * gain, view.of(image.mask)
