"""Held-out masks to judge a model on, and the pictures of them: phantoms, painted, through the VAE."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.examples import PhantomAppearance
from wdlora.anatomy import phantom, sample_mask
from wdlora.anatomy.nerve_mask import NerveMask
from wdlora.anatomy.phantoms.versions import VERSION
from wdlora.cohorts import COHORTS
from wdlora.errors import InputError
from wdlora.qwen.generate import paint, prepare
from wdlora.qwen.latents import decode_latents, encode_image
from wdlora.qwen.sampling import Sampling
from wdlora.study import StudyCohort, shipped_study

SIZE = 384
"""Side of the plexuses in pixels, of which cases are crops."""


@dataclass(frozen=True)
class Case:
    """A held-out plexus of one cohort, cut to the size of the pictures, with its phantom."""

    cohort: str
    seed: int
    mask: NDArray[np.bool_]
    plexus: NerveMask
    row: int
    column: int
    phantom: int = VERSION
    """Version of its phantoms."""


def draw_cases(count: int, size: int, first_seed: int, version: int = VERSION) -> list[Case]:
    """`count` plexuses a cohort, each with the crop of `size` pixels that holds the most nerve of four.

    Every plexus has a seed of its own; `version` is that of the phantoms. Raises InputError for a size that is no
    multiple of 32 from 64 to 384.
    """
    if size not in range(64, SIZE + 1, 32):
        raise InputError(f"pictures of {size} pixels cannot be judged: give a multiple of 32 from 64 to {SIZE}")
    cases = []
    for number, name in enumerate(COHORTS):
        for index in range(count):
            seed = first_seed + number * count + index
            plexus = sample_mask(name, seed=seed, size=SIZE)
            row, column = best_corner(plexus.mask, size, np.random.default_rng([first_seed, seed]))
            mask = plexus.mask[row : row + size, column : column + size]
            cases.append(Case(name, seed, mask, plexus, row, column, version))
    return cases


def best_corner(mask: NDArray[np.bool_], size: int, generator: np.random.Generator) -> tuple[int, int]:
    """The corner of the crop of `size` pixels that holds the most nerve of four that are drawn."""
    corners = generator.integers(0, np.array(mask.shape) - size + 1, (4, 2))
    row, column = max(corners, key=lambda c: mask[c[0] : c[0] + size, c[1] : c[1] + size].sum())
    return int(row), int(column)


def real_picture(case: Case, draw: int, appearance: PhantomAppearance, cohort: str | None = None) -> NDArray[np.uint8]:
    """A phantom of the case; `draw` numbers independent ones, `cohort` lends another cohort's appearance."""
    plexus = case.plexus
    if cohort is not None:
        plexus = dataclasses.replace(plexus, cohort=cohort, severity=float(COHORTS[cohort].severity))
    image = phantom(plexus, seed=case.seed + 10_000_019 * (draw + 1), appearance=appearance, version=case.phantom)
    size = case.mask.shape
    return image[case.row : case.row + size[0], case.column : case.column + size[1]]


def painted_picture(
    model: Any, case: Case, sampling: Sampling, seed: int, cohort: str | None = None
) -> NDArray[np.uint8]:
    """The model's picture of the case's mask under its own cohort's prompt, or another's."""
    return picture_of(model, case.mask, shipped_study().cohorts[cohort or case.cohort], sampling, seed)


def picture_of(
    model: Any, mask: NDArray[np.bool_], chosen: StudyCohort, sampling: Sampling, seed: int
) -> NDArray[np.uint8]:
    """The model's picture [H, W] of a mask under a cohort's prompt."""
    negative = None if sampling.cfg == 1 else chosen.negative_prompt
    image = paint(model, prepare(model, mask, chosen.prompt, negative=negative), seed, sampling)
    return np.round(image[0].mean(0).cpu().numpy() * 255).astype(np.uint8)


def through_vae(model: Any, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture encoded and decoded."""
    decoded = decode_latents(model.vae, encode_image(model.vae, image))[0].mean(0).cpu().numpy()
    return np.round(decoded * 255).astype(np.uint8)
