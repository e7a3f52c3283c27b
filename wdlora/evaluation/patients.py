"""The patient as the unit: means by patient, and intervals that resample patients with all their images."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000


def patient_means(values: NDArray, subjects: NDArray) -> NDArray:
    """Mean of the finite values [n] of every subject: [patients], in the order of `np.unique`; subjects without any
    are left out.
    """
    known = np.isfinite(values)
    _, place, count = np.unique(subjects[known], return_inverse=True, return_counts=True)
    return np.bincount(place, values[known], len(count)) / count


def cluster_bootstrap(
    difference: Callable[[NDArray, NDArray], NDArray], real: NDArray, synthetic: NDArray, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of a figure of patients' means [n] and [m], each patient drawn with all its images.

    `difference` maps draws [resamples, n] and [resamples, m] to [resamples]. Source: Efron 1979; of clusters Davison &
    Hinkley 1997, section 3.8.
    """
    generator = np.random.default_rng(seed)
    drawn = [values[generator.integers(len(values), size=(RESAMPLES, len(values)))] for values in (real, synthetic)]
    low, high = np.percentile(difference(*drawn), (2.5, 97.5))
    return float(low), float(high)
