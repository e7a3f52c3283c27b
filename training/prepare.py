"""Encoding the examples once: latents, mask latents and conditioning of every view, through the cache."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from training.cache import Cache, entry_key
from training.config import TrainingConfig
from training.examples import Example
from training.views import View, draw_view
from wdlora.qwen.encode import Conditioning, encode, prompt_text, stack
from wdlora.qwen.latents import encode_image
from wdlora.study import Study, captioned, shipped_study

EMPTY_PROMPT = ""


@dataclass(frozen=True)
class EncodedView:
    """A view of an example as keys into the cache.

    `pictures` holds `target`, `control` and, with a reference, `reference` (float32 [1, 16, 1, h, w]) and
    `nerves` (uint8 [H, W]). `texts` maps `plain` (the cohort's prompt), `empty` and, with a reference,
    `plain+reference` and `empty+reference` to entries with `embeds` [1, T, D]; of views to judge by, `plain` and
    `negative` (the cohort's negative prompt).
    """

    identity: str
    cohort: str
    shape: tuple[int, int]
    pictures: str
    texts: dict[str, str]


@dataclass(frozen=True)
class Batch:
    """Encoded views of one size: latents [B, 16, 1, h, w], masks [B, H, W], conditioning."""

    target: Tensor
    references: tuple[Tensor, ...]
    nerves: Tensor
    conditioning: Conditioning

    def to(self, device: torch.device, dtype: torch.dtype) -> "Batch":
        """The same on a device; only the conditioning takes the compute type."""
        return Batch(
            self.target.to(device),
            tuple(reference.to(device) for reference in self.references),
            self.nerves.to(device),
            self.conditioning.to(device, dtype),
        )


class Preparer:
    """Encodes examples with a model's VAE and text encoder, which must be loaded while `prepare` runs.

    `study` is the one whose cohorts they have; the one that ships where none is given.
    """

    def __init__(
        self, model: Any, cache: Cache, config: TrainingConfig, examples: list[Example], study: Study | None = None
    ) -> None:
        self.model, self.study = model, study or shipped_study()
        self.cache = cache
        self.config = config
        self.by_identity = {example.identity: example for example in examples}

    def prepare(
        self, examples: list[Example], views: int, progress: str, *, judging: bool = False
    ) -> list[EncodedView]:
        """Encode `views` views of every example; done views come from the cache. Shows a progress bar.

        `judging`: the views are painted and their loss is taken, without references.
        """
        prepared: list[EncodedView] = []
        checked = False
        with tqdm(total=len(examples) * views, desc=progress, unit="view", disable=None) as bar:
            for example in examples:
                image, mask = example.load()
                for index in range(views):
                    view = draw_view(
                        image.shape,
                        self.config.size,
                        views > 1,
                        self.config.seed,
                        example.identity,
                        index,
                    )
                    missed = self.cache.misses
                    prepared.append(self.encode(example, image, mask, view, judging))
                    if not checked and self.cache.misses > missed:
                        self._check_space(prepared[-1], len(examples) * views - len(prepared))
                        checked = True
                    bar.update()
        return prepared

    def encode(
        self, example: Example, image: np.ndarray, mask: np.ndarray, view: View, judging: bool = False
    ) -> EncodedView:
        """Encode one view."""
        image, mask = view.of(image), view.of(mask)
        group = self.study.cohort(example.cohort)
        text = captioned(group.prompt, example.caption)
        texts = {"plain": self._text(text, mask, None)}
        reference = None
        if judging:
            texts["negative"] = self._text(group.negative_prompt, mask, None)
        else:
            texts["empty"] = self._text(EMPTY_PROMPT, mask, None)
            reference = self._reference(example, view)
        if reference is not None:
            texts["plain+reference"] = self._text(text, mask, reference)
            texts["empty+reference"] = self._text(EMPTY_PROMPT, mask, reference)
        pictures = self._pictures(image, mask, reference)
        return EncodedView(example.identity, example.cohort, image.shape, pictures, texts)

    def _reference(self, example: Example, view: View) -> np.ndarray | None:
        """The reference image in the view of the target, where the model takes one and sizes agree."""
        if self.model.variant == "edit" or example.reference not in self.by_identity:
            return None
        image, _ = self.by_identity[example.reference].load()
        if view.row + view.height > image.shape[0] or view.column + view.width > image.shape[1]:
            return None
        return view.of(image)

    def _pictures(self, image: np.ndarray, mask: np.ndarray, reference: np.ndarray | None) -> str:
        def compute() -> dict[str, Tensor]:
            entry = {
                "target": encode_image(self.model.vae, image),
                "control": encode_image(self.model.vae, mask),
                "nerves": torch.from_numpy(mask.astype(np.uint8)),
            }
            if reference is not None:
                entry["reference"] = encode_image(self.model.vae, reference)
            return entry

        vae = f"vae {self.model.hashes['vae']} {self._precision(self.model.vae)} {_settings(self.model.vae)}"
        key = entry_key(vae, "", image, mask, reference)
        self.cache.get(key, compute)
        return key

    def _text(self, prompt: str, mask: np.ndarray, reference: np.ndarray | None) -> str:
        model = self.model
        pictures = (mask,) if reference is None else (mask, reference)

        def compute() -> dict[str, Tensor]:
            return {"embeds": encode(model.text_encoder, model.tokenizer, prompt, [pictures], model.variant).embeds}

        tokens = model.tokenizer(prompt_text(prompt, len(pictures), model.variant), add_special_tokens=False)
        encoder = f"text {model.hashes['text_encoder']} {self._precision(model.text_encoder)}"
        key = entry_key(f"{encoder} {_settings(model.text_encoder)} {tokens['input_ids']}", prompt, mask, reference)
        self.cache.get(key, compute)
        return key

    @staticmethod
    def _precision(part: Any) -> torch.dtype:
        return next(part.parameters()).dtype

    def _check_space(self, one: EncodedView, count: int) -> None:
        entries: dict[str, Tensor] = dict(self.cache.read(one.pictures))
        for name, key in one.texts.items():
            entries[name] = self.cache.read(key)["embeds"]
        self.cache.require_space(count, entries)


def _settings(part: Any) -> str:
    """What a model's folder says of a part beside its weights, as JSON: sizes, the latents' mean and SD, positions."""
    stated = part.config.to_dict() if hasattr(part.config, "to_dict") else dict(part.config)
    public = {name: value for name, value in stated.items() if not name.startswith("_")}  # the others have no order
    return json.dumps(public, default=str, sort_keys=True)


def load_batch(cache: Cache, views: list[EncodedView], texts: list[str]) -> Batch:
    """Read views of one size from the cache; `texts` names each view's conditioning.

    The reference's latents come along where every text of the batch ends in `+reference`.
    """
    pictures = [cache.read(view.pictures) for view in views]
    parts = [Conditioning(cache.read(view.texts[text])["embeds"]) for view, text in zip(views, texts, strict=True)]
    names = ["control"] + ["reference"] * all(text.endswith("+reference") for text in texts)
    return Batch(
        target=torch.cat([entry["target"] for entry in pictures]),
        references=tuple(torch.cat([entry[name] for entry in pictures]) for name in names),
        nerves=torch.stack([entry["nerves"] for entry in pictures]),
        conditioning=stack(parts),
    )


def batches(views: list[EncodedView], size: int, seed: int) -> Iterator[list[EncodedView]]:
    """Endless batches of one shape each; every view once an epoch, in an order decided by seed and epoch.

    A shape's last batch is filled up with views of the same shape from its start.
    """
    shapes: dict[tuple[int, int], list[EncodedView]] = {}
    for view in views:
        shapes.setdefault(view.shape, []).append(view)
    epoch = 0
    while True:
        generator = np.random.default_rng([seed, epoch])
        groups = []
        for members in shapes.values():
            order = [members[i] for i in generator.permutation(len(members))]
            while len(order) % size:
                order.append(order[len(order) % len(members)])
            groups += [order[start : start + size] for start in range(0, len(order), size)]
        for index in generator.permutation(len(groups)):
            yield groups[index]
        epoch += 1
