"""Random halves of a real set by patient, each beside as many synthetic images: what figures are compared at.

A figure such as FID depends on the number of images, so it is computed on k real and k synthetic ones, and its
baseline on the same k real and k other real images, of other patients.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

COUNT = 40
"""Draws whose mean and SD a figure is made of."""

MOST = 2000
"""Images a side; with more, neighbours and classifiers would take hours."""


@dataclass(frozen=True)
class Draw:
    """Places of k images in each of three samples: `real`, `other` (real, of other patients) and `synthetic`."""

    real: NDArray
    other: NDArray
    synthetic: NDArray


def draws(real: NDArray, synthetic: NDArray, least: int, count: int = COUNT, seed: int = 0) -> list[Draw]:
    """`count` draws of equal size k from sets whose images belong to the subjects `real` [n] and `synthetic` [m].

    All images of a subject are in one sample, and none of `synthetic` belongs to a subject in `real`: with pairs
    of one mask, synthetic images are compared with other masks' real ones, as `other` is. k is about half of
    the smaller set. Raises InputError where k would be below `least`.
    """
    generator = np.random.default_rng(seed)
    samples = []
    for _ in range(count):
        one, other = halves(real, generator)
        free = np.flatnonzero(~np.isin(synthetic, real[one]))
        drawn = halves(synthetic[free], generator)[0] if len(free) > 0.6 * len(synthetic) else np.arange(len(free))
        samples.append((one, other, free[drawn]))
    size = min(min(len(part) for part in sample) for sample in samples)
    if size < least:
        raise InputError(
            f"halves of {len(np.unique(real))} real patients and {len(np.unique(synthetic))} synthetic subjects hold "
            f"{size} images: at least {least} are needed"
        )
    size = min(size, MOST)
    return [Draw(*(np.sort(generator.permutation(part)[:size]) for part in sample)) for sample in samples]


def halves(subjects: NDArray, generator: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Places of two halves as nearly equal as the subjects' images [n] allow, no subject in both."""
    places = defaultdict(list)
    for place, subject in enumerate(subjects.tolist()):
        places[subject].append(place)
    groups, sides = list(places.values()), ([], [])  # type: tuple[list[list[int]], tuple[list[int], list[int]]]
    for number in generator.permutation(len(groups)):
        min(sides, key=len).extend(groups[number])
    first, second = (np.array(sorted(side), int) for side in sides)
    return first, second
