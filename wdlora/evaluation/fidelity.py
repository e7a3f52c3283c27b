"""Pillar 1: how far synthetic images' features lie from real ones', beside how far real ones lie from real ones.

Every figure is the mean over draws of k real and k synthetic images, and its baseline that over the same k real images
and k other real ones, of other patients (see `draws`). A figure within its baseline's range is as good as can be told.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .distance import Subjects, kid
from .draws import Draw, draws
from .estimate import Estimate, from_halves, undefined
from .frechet import frechet_distance
from .neighbours import neighbours
from .two_sample import auc_interval, two_sample_auc

KEYS = ("kid", "fid", "auc", "precision", "recall", "density", "coverage")
LEAST = 4
"""Images a draw."""

BOUNDS = {"precision": (0.0, 1.0), "recall": (0.0, 1.0), "density": (0.0, math.inf), "coverage": (0.0, 1.0)}
BOUNDS["fid"] = (0.0, math.inf)


@dataclass(frozen=True)
class Beside:
    """`figures` of synthetic against real images and the same of real against real, `floor`.

    Intervals of figures are of sampling; a floor's is the range of 95 % of the draws, in which two sets of real images
    of different patients lie.
    """

    figures: Mapping[str, Estimate]
    floor: Mapping[str, Estimate]


def fidelity(real: NDArray, synthetic: NDArray, subjects: Subjects, keys: tuple[str, ...] = KEYS) -> Beside:
    """Compare features [n, d] and [m, d] of images whose `subjects` are known.

    Figures for which there are too few images or patients are undefined, with the reason.
    """
    try:
        drawn = draws(*subjects, LEAST)
    except InputError as error:
        nothing = {key: undefined(str(error), min(len(real), len(synthetic))) for key in keys}
        return Beside(nothing, nothing)
    of_synthetic = _over(drawn, keys, real, synthetic, subjects, lambda draw: draw.synthetic)
    of_real = _over(drawn, keys, real, real, (subjects[0], subjects[0]), lambda draw: draw.other)
    size = len(drawn[0].real)
    return Beside(
        {key: _sampled(key, values, size) for key, values in of_synthetic.items()},
        {key: _ranged(values, size) for key, values in of_real.items()},
    )


def _over(
    drawn: list[Draw],
    keys: tuple[str, ...],
    real: NDArray,
    compared: NDArray,
    subjects: Subjects,
    side: Callable[[Draw], NDArray],
) -> dict[str, NDArray | str]:
    """Every figure of every draw; the reason where it is not defined."""
    found: dict[str, list[float]] = {key: [] for key in keys}
    reasons: dict[str, str] = {}
    for draw in drawn:
        one, other = draw.real, side(draw)
        owners = subjects[0][one], subjects[1][other]
        for key, values in _figures(real[one], compared[other], owners, keys).items():
            if isinstance(values, str):
                reasons[key] = f"{values}; each set here is half of the patients"
            else:
                found[key].append(values)
    return {key: reasons.get(key) or np.array(found[key]) for key in keys}


def _figures(a: NDArray, b: NDArray, owners: Subjects, keys: tuple[str, ...]) -> dict[str, float | str]:
    """All figures of two samples of one size."""
    found: dict[str, float | str] = {}

    def attempt(names: tuple[str, ...], compute: Callable[[], tuple[float, ...]]) -> None:
        if not set(names) & set(keys):
            return
        try:
            found.update(zip(names, compute(), strict=True))
        except InputError as error:
            found.update(dict.fromkeys(names, str(error)))

    def balls() -> tuple[float, ...]:
        near = neighbours(a, b, subjects=owners)
        return near.precision, near.recall, near.density, near.coverage

    attempt(("kid",), lambda: (kid(a, b, subjects=owners),))
    attempt(("fid",), lambda: (frechet_distance(a, b),))
    attempt(("auc",), lambda: (two_sample_auc(a, b, subjects=owners).value,))
    attempt(("precision", "recall", "density", "coverage"), balls)
    return {key: found[key] for key in keys}


def _sampled(key: str, values: NDArray | str, size: int) -> Estimate:
    if isinstance(values, str):
        return undefined(values, size)
    if key == "auc":  # near 1 the draws hardly vary, and yet it is not certain
        value = float(values.mean())
        return Estimate(value, *auc_interval(value, size, size), size)
    return from_halves(values, size, BOUNDS.get(key, (-math.inf, math.inf)))


def _ranged(values: NDArray | str, size: int) -> Estimate:
    if isinstance(values, str):
        return undefined(values, size)
    low, high = np.percentile(values, (2.5, 97.5))
    return Estimate(float(values.mean()), float(low), float(high), size)
