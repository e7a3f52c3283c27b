"""Distances between two sets of feature vectors [n, d] and [m, d]."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from ..errors import InputError

FOLDS = 5
LIMIT = 4.0
"""Features are kept within so many SDs."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its standard error or 95 % interval and the sample sizes behind it."""

    value: float
    low: float
    high: float
    n: int
    m: int


def standardised(reference: NDArray, *others: NDArray) -> list[NDArray]:
    """All sets centred and scaled by the mean and SD of the first, and kept within ±4 of them.

    Without a limit the cubic kernel of sets that lie many SDs apart in a few features is nothing but these.
    """
    mean, spread = reference.mean(0), reference.std(0) + 1e-9
    return [np.clip((values - mean) / spread, -LIMIT, LIMIT) for values in (reference, *others)]


def kid(a: NDArray, b: NDArray, paired: bool = False) -> float:
    """Kernel inception distance: the unbiased squared maximum mean discrepancy with k(x, y) = (xᵀy/d + 1)³.

    0 in expectation for two samples of one distribution, whatever the sizes; it may come out negative. `paired` says
    that vectors of one index are not independent, such as two pictures of one mask: these pairs are left out,
    else the distance would come out too small. Source: Bińkowski et al. 2018, section 4; Gretton et al. 2012, Eq. 3
    and, for pairs, Eq. 4. Raises InputError below two vectors a set, and for pairs of unequal number.
    """
    n, m, d = len(a), len(b), a.shape[1]
    if min(n, m) < 2:
        raise InputError(f"a kernel distance needs at least 2 images a set, not {n} and {m}")
    _check_pairs(a, b, paired)
    aa, bb, ab = (a @ a.T / d + 1) ** 3, (b @ b.T / d + 1) ** 3, (a @ b.T / d + 1) ** 3
    within_a = (aa.sum() - np.trace(aa)) / (n * (n - 1))
    within_b = (bb.sum() - np.trace(bb)) / (m * (m - 1))
    between = (ab.sum() - np.trace(ab)) / (n * (n - 1)) if paired else ab.mean()
    return float(within_a + within_b - 2 * between)


def kid_estimate(a: NDArray, b: NDArray, seed: int = 0, resamples: int = 200, paired: bool = False) -> Estimate:
    """`kid` with a 95 % interval from half-samples drawn without replacement (Politis & Romano 1994).

    A half-sample without replacement varies about the full sample's value as much as that does about the truth:
    σ²/(n/2) · (1 − ½) = σ²/n. Near 0, where `kid` is degenerate, the interval is too wide rather than too
    narrow. A bootstrap with replacement would bias the statistic by its repeated vectors. With `paired`, pairs are
    drawn. Raises InputError below four vectors a set.
    """
    if min(len(a), len(b)) < 4:
        raise InputError(f"the interval of a distance needs at least 4 images a set, not {len(a)} and {len(b)}")
    generator = np.random.default_rng(seed)
    value = kid(a, b, paired)
    halves = []
    for _ in range(resamples):
        one = generator.permutation(len(a))[: len(a) // 2]
        other = one if paired else generator.permutation(len(b))[: len(b) // 2]
        halves.append(kid(a[one], b[other], paired))
    half_width = 1.96 * float(np.std(halves))
    return Estimate(value, value - half_width, value + half_width, len(a), len(b))


def two_sample_auc(a: NDArray, b: NDArray, paired: bool = False) -> Estimate:
    """How well a linear classifier tells the sets apart on vectors that it has not seen: area under the ROC curve.

    0.5 is chance, 1 is perfect. Cross-validated regularised discriminant analysis (Friedman 1989, pooled
    covariance shrunk by the Ledoit–Wolf-like factor d/(d+n)); `auc_interval` of both sizes. With `paired` (see
    `kid`) both vectors of an index are in one fold: a classifier that has learned from the one with its label would
    take the other for it. Source of the idea: Lopez-Paz & Oquab 2017. Raises InputError below five vectors a set, and
    for pairs of unequal number.
    """
    if min(len(a), len(b)) < FOLDS:
        raise InputError(f"a two-sample classifier needs at least {FOLDS} images a set, not {len(a)} and {len(b)}")
    _check_pairs(a, b, paired)
    values, labels = np.concatenate([a, b]), np.repeat([0, 1], [len(a), len(b)])
    generator = np.random.default_rng(0)
    of_a = generator.permutation(np.arange(len(a)) % FOLDS)
    of_b = of_a if paired else generator.permutation(np.arange(len(b)) % FOLDS)
    fold = np.concatenate([of_a, of_b])
    aucs = []
    for number in range(FOLDS):
        train, test = fold != number, fold == number
        scores = _discriminant(values[train], labels[train], values[test])
        aucs.append(_auc(scores[labels[test] == 0], scores[labels[test] == 1]))
    value = float(np.mean(aucs))
    return Estimate(value, *auc_interval(value, len(a), len(b)), len(a), len(b))


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


def _check_pairs(a: NDArray, b: NDArray, paired: bool) -> None:
    if paired and len(a) != len(b):
        raise InputError(f"{len(a)} and {len(b)} images are no pairs")


def _discriminant(train: NDArray, labels: NDArray, test: NDArray) -> NDArray:
    centre, spread = train.mean(0), train.std(0) + 1e-9
    x, y = (train - centre) / spread, (test - centre) / spread
    means = np.stack([x[labels == label].mean(0) for label in (0, 1)])
    residual = x - means[labels]
    covariance = residual.T @ residual / len(x)
    shrinkage = x.shape[1] / (x.shape[1] + len(x))
    mixed = (1 - shrinkage) * covariance + shrinkage * np.eye(x.shape[1]) * np.trace(covariance) / x.shape[1]
    return y @ np.linalg.solve(mixed, means[1] - means[0])


def _auc(negative: NDArray, positive: NDArray) -> float:
    """Share of pairs in the right order, ties half (Mann–Whitney)."""
    above = (positive[:, None] > negative[None]).mean()
    return float(above + 0.5 * (positive[:, None] == negative[None]).mean())
