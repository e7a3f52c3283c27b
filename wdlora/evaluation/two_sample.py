"""Whether a classifier can tell two sets of feature vectors apart: the area under its ROC curve."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from ..errors import InputError
from .distance import Subjects, subjects_of
from .estimate import Estimate

FOLDS = 5


def two_sample_auc(a: NDArray, b: NDArray, paired: bool = False, subjects: Subjects | None = None) -> Estimate:
    """How well a linear classifier tells the sets apart on vectors that it has not seen: area under the ROC curve.

    0.5 is chance, 1 is perfect. Cross-validated regularised discriminant analysis (Friedman 1989, pooled
    covariance shrunk by the Ledoit–Wolf-like factor d/(d+n)); `auc_interval` of both sizes. All images of one of the
    `subjects`, or with `paired` both vectors of an index, are in one fold: a classifier that has learned from one
    with its label would recognise the other, and not its set. Source of the idea: Lopez-Paz & Oquab 2017. Raises
    InputError below five vectors or subjects a set, and for pairs of unequal number.
    """
    if min(len(a), len(b)) < FOLDS:
        raise InputError(
            f"a two-sample classifier needs at least {FOLDS} images in each set, not {len(a)} and {len(b)}"
        )
    of_a, of_b = subjects_of(a, b, paired, subjects)
    fold = np.concatenate(_folds(of_a, of_b))
    values, labels = np.concatenate([a, b]), np.repeat([0, 1], [len(a), len(b)])
    aucs = []
    for number in range(FOLDS):
        train, test = fold != number, fold == number
        scores = _discriminant(values[train], labels[train], values[test])
        aucs.append(area(scores[labels[test] == 0], scores[labels[test] == 1]))
    value = float(np.mean(aucs))
    return Estimate(value, *auc_interval(value, len(a), len(b)), min(len(a), len(b)))


def _folds(of_a: NDArray, of_b: NDArray) -> tuple[NDArray, NDArray]:
    """The fold of every vector; both sets' subjects are spread evenly, and one that is in both has one fold."""
    generator = np.random.default_rng(0)
    found: dict[object, int] = {}
    for subjects in (of_a, of_b):
        new = [one for one in dict.fromkeys(subjects.tolist()) if one not in found]
        found |= zip(new, (generator.permutation(len(new)) % FOLDS).tolist(), strict=True)
    one, other = (np.array([found[subject] for subject in subjects.tolist()]) for subjects in (of_a, of_b))
    if min(len(np.unique(one)), len(np.unique(other))) < FOLDS:
        raise InputError(f"a two-sample classifier needs images of at least {FOLDS} patients in each set")
    return one, other


def auc_interval(value: float, n: int, m: int) -> tuple[float, float]:
    """95 % interval of an area under the ROC curve of n and m vectors: (low, high) within 0..1.

    The areas θ from which `value` lies 1.96 standard errors away, by Hanley & McNeil's (1982) standard error at θ with
    both sizes at their mean (Newcombe 2006, method 5). Unlike an error taken at `value` it does not vanish at 1.
    """
    size = (n + m) / 2

    def excess(theta: float) -> float:
        spread = 1 + (size - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return abs(theta - value) - 1.96 * math.sqrt(theta * (1 - theta) * spread / (n * m))

    low = brentq(excess, 0.0, value - 1e-12) if value > 1e-9 else 0.0
    high = brentq(excess, value + 1e-12, 1.0) if value < 1 - 1e-9 else 1.0
    return float(low), float(high)


def area(negative: NDArray, positive: NDArray) -> float:
    """Share of pairs in the right order, ties half (Mann–Whitney)."""
    above = (positive[:, None] > negative[None]).mean()
    return float(above + 0.5 * (positive[:, None] == negative[None]).mean())


def _discriminant(train: NDArray, labels: NDArray, test: NDArray) -> NDArray:
    """Scores of `test` by the direction that separates the labels 0 and 1 of `train`."""
    centre, spread = train.mean(0), train.std(0) + 1e-9
    x, y = (train - centre) / spread, (test - centre) / spread
    means = np.stack([x[labels == label].mean(0) for label in (0, 1)])
    residual = (x - means[labels]) / math.sqrt(len(x))  # the covariance is residualᵀ · residual
    n, d = x.shape
    shrinkage = d / (d + n)
    ridge, wanted = shrinkage * float((residual**2).sum()) / d, means[1] - means[0]
    if d <= n:
        mixed = (1 - shrinkage) * residual.T @ residual + ridge * np.eye(d)
        return y @ np.linalg.solve(mixed, wanted)
    inner = residual @ residual.T + ridge / (1 - shrinkage) * np.eye(n)  # Woodbury's identity: n × n instead of d × d
    return y @ (wanted - residual.T @ np.linalg.solve(inner, residual @ wanted)) / ridge
