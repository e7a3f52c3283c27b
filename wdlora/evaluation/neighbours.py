"""Precision, recall, density and coverage of a synthetic set, by nearest neighbours among feature vectors."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from ..errors import InputError
from .distance import Subjects, subjects_of

K = 5
"""Neighbours that a vector's ball reaches to; the sources' default."""


@dataclass(frozen=True)
class Neighbours:
    """`precision`: share of synthetic images inside the real set's balls. `recall`: share of real ones inside the
    synthetic set's. `density`: how many real balls a synthetic image lies in, ÷ k (above 1 where they crowd).
    `coverage`: share of real balls that hold a synthetic image.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def neighbours(real: NDArray, synthetic: NDArray, k: int = K, subjects: Subjects | None = None) -> Neighbours:
    """Compare vectors [n, d] and [m, d]; a ball reaches from a vector to its k-th nearest in its own set.

    Images of one of the `subjects` are no neighbours: balls that reach only to a patient's other images would be too
    small. Source: Kynkäänniemi et al. 2019 (precision, recall), Naeem et al. 2020 (density, coverage). Raises
    InputError where a set has fewer than k + 1 independent images.
    """
    of_real, of_synthetic = subjects_of(real, synthetic, False, subjects)
    ball_of_real, ball_of_synthetic = _radii(real, of_real, k), _radii(synthetic, of_synthetic, k)
    between = cdist(real, synthetic)
    between[of_real[:, None] == of_synthetic[None]] = np.inf
    inside = between < ball_of_real[:, None]
    return Neighbours(
        precision=float(inside.any(0).mean()),
        recall=float((between < ball_of_synthetic[None]).any(1).mean()),
        density=float(inside.sum(0).mean() / k),
        coverage=float((between.min(1) < ball_of_real).mean()),
    )


def _radii(values: NDArray, subjects: NDArray, k: int) -> NDArray:
    """Distance of every vector [n, d] to its k-th nearest of another subject: [n]."""
    distance = cdist(values, values)
    distance[subjects[:, None] == subjects[None]] = np.inf
    if len(values) <= k or not np.isfinite(radii := np.partition(distance, k - 1, axis=1)[:, k - 1]).all():
        raise InputError(f"neighbours need more than {k} images of different patients in each set")
    return radii
