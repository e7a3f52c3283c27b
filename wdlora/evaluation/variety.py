"""Diversity within cohorts and separability between them, of both sets at equal size (the paper's Table VI)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .distance import Subjects
from .diversity import fisher_ratio, intra_class_diversity, separability
from .draws import Draw, draws
from .estimate import Estimate, from_halves, undefined

LEAST = 4


@dataclass(frozen=True)
class Both:
    """One figure of both sets, at the same number of images."""

    real: Estimate
    synthetic: Estimate


def diversity(real: NDArray, synthetic: NDArray, subjects: Subjects) -> Both:
    """`intra_class_diversity` of features [n, d] and [m, d] of one cohort."""
    try:
        drawn = draws(*subjects, LEAST)
        return _both(
            [intra_class_diversity(real[one.real], subjects[0][one.real]) for one in drawn],
            [intra_class_diversity(synthetic[one.synthetic], subjects[1][one.synthetic]) for one in drawn],
            len(drawn[0].real),
        )
    except InputError as error:
        nothing = undefined(str(error), min(len(real), len(synthetic)))
        return Both(nothing, nothing)


def between_cohorts(
    real: NDArray, synthetic: NDArray, subjects: Subjects, cohorts: tuple[NDArray, NDArray], shared: list[str]
) -> Mapping[str, Both]:
    """`separability` and `fisher` ratio of features of the `shared` cohorts, each with as many images in both sets."""
    measures: dict[str, Callable[[NDArray, NDArray], float]] = {"separability": separability, "fisher": fisher_ratio}
    try:
        if len(shared) < 2:
            raise InputError("it takes at least 2 cohorts that both sets hold")
        by_cohort = []
        for name in shared:
            places = [np.flatnonzero(one == name) for one in cohorts]
            inside = draws(subjects[0][places[0]], subjects[1][places[1]], LEAST)
            by_cohort.append([Draw(places[0][d.real], places[0][d.other], places[1][d.synthetic]) for d in inside])
        found = {}
        for name, measure in measures.items():
            values: tuple[list[float], list[float]] = ([], [])
            for drawn in zip(*by_cohort, strict=True):
                for side, features, labels, part in (
                    (0, real, cohorts[0], "real"),
                    (1, synthetic, cohorts[1], "synthetic"),
                ):
                    chosen = np.concatenate([getattr(one, part) for one in drawn])
                    values[side].append(measure(features[chosen], labels[chosen]))
            found[name] = _both(*values, sum(len(one[0].real) for one in by_cohort))
        return found
    except InputError as error:
        nothing = undefined(str(error), min(len(real), len(synthetic)))
        return dict.fromkeys(measures, Both(nothing, nothing))


def _both(real: list[float], synthetic: list[float], size: int) -> Both:
    return Both(from_halves(real, size, (0.0, np.inf)), from_halves(synthetic, size, (0.0, np.inf)))
