"""Distances between two sets of feature vectors [n, d] and [m, d]."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


def kid(a: NDArray, b: NDArray) -> float:
    """Kernel inception distance: the unbiased squared maximum mean discrepancy with k(x, y) = (xᵀy/d + 1)³.

    0 in expectation for two samples of one distribution, whatever the sizes; it may come out negative. Source:
    Bińkowski et al. 2018, section 4; Gretton et al. 2012, Eq. 3. Raises InputError below two vectors a set.
    """
    n, m, d = len(a), len(b), a.shape[1]
    if min(n, m) < 2:
        raise InputError(f"a kernel distance needs at least 2 images a set, not {n} and {m}")
    aa, bb, ab = (a @ a.T / d + 1) ** 3, (b @ b.T / d + 1) ** 3, (a @ b.T / d + 1) ** 3
    within_a = (aa.sum() - np.trace(aa)) / (n * (n - 1))
    within_b = (bb.sum() - np.trace(bb)) / (m * (m - 1))
    return float(within_a + within_b - 2 * ab.mean())


def kid_estimate(a: NDArray, b: NDArray, seed: int = 0, resamples: int = 200) -> Estimate:
    """`kid` with a 95 % interval from half-samples drawn without replacement (Politis & Romano 1994).

    A half-sample without replacement varies about the full sample's value as much as that does about the truth:
    σ²/(n/2) · (1 − ½) = σ²/n. Near 0, where `kid` is degenerate, the interval is too wide rather than too
    narrow. A bootstrap with replacement would bias the statistic by its repeated vectors.
    """
    generator = np.random.default_rng(seed)
    value = kid(a, b)
    halves = [
        kid(
            a[generator.permutation(len(a))[: max(2, len(a) // 2)]],
            b[generator.permutation(len(b))[: max(2, len(b) // 2)]],
        )
        for _ in range(resamples)
    ]
    half_width = 1.96 * float(np.std(halves))
    return Estimate(value, value - half_width, value + half_width, len(a), len(b))


def two_sample_auc(a: NDArray, b: NDArray) -> Estimate:
    """How well a linear classifier tells the sets apart on vectors that it has not seen: area under the ROC curve.

    0.5 is chance, 1 is perfect. Cross-validated regularised discriminant analysis (Friedman 1989, pooled
    covariance shrunk by the Ledoit–Wolf-like factor d/(d+n)); the interval is Hanley & McNeil's (1982). Source of
    the idea: Lopez-Paz & Oquab 2017. Raises InputError below five vectors a set.
    """
    if min(len(a), len(b)) < FOLDS:
        raise InputError(f"a two-sample classifier needs at least {FOLDS} images a set, not {len(a)} and {len(b)}")
    values, labels = np.concatenate([a, b]), np.repeat([0, 1], [len(a), len(b)])
    generator = np.random.default_rng(0)
    fold = np.empty(len(values), dtype=int)
    for label in (0, 1):
        members = np.flatnonzero(labels == label)
        fold[generator.permutation(members)] = np.arange(len(members)) % FOLDS
    aucs = []
    for number in range(FOLDS):
        train, test = fold != number, fold == number
        scores = _discriminant(values[train], labels[train], values[test])
        aucs.append(_auc(scores[labels[test] == 0], scores[labels[test] == 1]))
    value, n, m = float(np.mean(aucs)), len(a), len(b)
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    variance = (value * (1 - value) + (n - 1) * (q1 - value**2) + (m - 1) * (q2 - value**2)) / (n * m)
    half = 1.96 * float(np.sqrt(max(variance, 0.0)))
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), n, m)


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
