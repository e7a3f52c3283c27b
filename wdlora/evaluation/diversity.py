"""How much images of one cohort differ, and how far cohorts lie apart, among feature vectors (the paper's Table VI)."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from ..errors import InputError


def intra_class_diversity(values: NDArray, subjects: NDArray | None = None) -> float:
    """Mean distance ‖fᵢ − fⱼ‖ between images [n, d] of one cohort; images of one subject are no pair.

    Raises InputError where there is no pair.
    """
    subjects = np.arange(len(values)) if subjects is None else np.asarray(subjects)
    independent = subjects[:, None] != subjects[None]
    if not independent.any():
        raise InputError(f"diversity needs images of at least 2 patients, not {len(np.unique(subjects))}")
    return float(cdist(values, values)[independent].mean())


def separability(values: NDArray, cohorts: NDArray) -> float:
    """Mean distance between the cohorts' centroids of images [n, d] with their cohorts [n].

    Raises InputError for a single cohort.
    """
    centroids = [values[cohorts == cohort].mean(0) for cohort in np.unique(cohorts)]
    if len(centroids) < 2:
        raise InputError("separability needs at least 2 cohorts")
    return float(np.mean([np.linalg.norm(a - b) for a, b in combinations(centroids, 2)]))


def fisher_ratio(values: NDArray, cohorts: NDArray) -> float:
    """Trace of the scatter between cohorts ÷ trace of the scatter within them, images weighing the same.

    0 where cohorts share one centre; k − 1 over n − k is what chance gives. Source: Fisher 1936, by traces as in
    Fukunaga 1990, section 10.2. Raises InputError for a single cohort and where nothing varies within cohorts.
    """
    names = np.unique(cohorts)
    if len(names) < 2:
        raise InputError("the Fisher ratio needs at least 2 cohorts")
    centre, between, within = values.mean(0), 0.0, 0.0
    for name in names:
        own = values[cohorts == name]
        between += len(own) * float(((own.mean(0) - centre) ** 2).sum())
        within += float(((own - own.mean(0)) ** 2).sum())
    if within == 0:
        raise InputError("the Fisher ratio needs images that differ within a cohort")
    return between / within
