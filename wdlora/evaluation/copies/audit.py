"""How many synthetic images copy a training image, judged by images that the generator never saw.

Images of two persons are alike to some degree, so "near" means nothing by itself. The threshold is the similarity to
the training images that 1 % of held-out real images exceed; what synthetic images exceed it more often is copied.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..draws import halves
from ..estimate import Estimate, undefined
from ..patients import cluster_bootstrap, patient_means
from .search import Nearest, nearest_images

PERCENTILE = 0.99
LEAST_HOLDOUT = 8
SPLITS = 20
"""Random halves of the hold-out that its own rate is averaged over."""


@dataclass(frozen=True)
class Searched:
    """What the search sees of one set: `images` float32 or bool [n, 48, 48], whose they are [n], and their cohorts."""

    images: NDArray
    subjects: NDArray
    cohorts: NDArray


@dataclass(frozen=True)
class Copies:
    """`count` of `n` synthetic images exceed `threshold`; `low` and `high` bound the rate (exact, 95 % each side), and
    `p` is the chance of so many or more if synthetic images are like held-out ones (see `exceedance`).

    `holdout_rate` is the share of held-out images that exceed a threshold set by the others of them. `ratio` is the
    mean distance (1 − similarity) of synthetic images from the nearest original ÷ that of held-out ones: 1 where they
    are as far, 0 where all are copies. `c_t` is Meehan et al.'s (2020) statistic, far below 0 where synthetic images
    are nearer. `found` says for each image which original is nearest; `of_holdout` are the hold-out's similarities.
    """

    count: int
    n: int
    low: float
    high: float
    p: float
    threshold: float
    holdout_rate: float
    ratio: Estimate
    c_t: float
    found: Nearest
    of_holdout: NDArray


def audit(synthetic: Searched, originals: Searched, holdout: Searched, same_masks: bool = False) -> Copies:
    """Search copies of `originals` among `synthetic` images; `holdout` are real images of other patients.

    Without a training set both are the real set, and only images of different subjects are compared within it.
    `same_masks`: a synthetic image of an original's mask shares its subject and is not compared with it.
    """
    apart = synthetic.subjects[:, None] != originals.subjects[None] if same_masks else None
    found = nearest_images(synthetic.images, originals.images, apart)
    other = holdout.subjects[:, None] != originals.subjects[None]
    of_holdout = nearest_images(holdout.images, originals.images, other).similarity
    level = threshold(of_holdout)
    count, n = int((found.similarity > level).sum()), len(synthetic.images)
    low, high = binomial_limits(count, n)
    return Copies(
        count,
        n,
        low,
        high,
        exceedance(count, n, of_holdout, level),
        level,
        _holdout_rate(of_holdout, holdout.subjects),
        _ratio(1 - of_holdout, 1 - found.similarity, holdout.subjects, synthetic.subjects),
        c_t(1 - found.similarity, 1 - of_holdout, synthetic.cohorts, holdout.cohorts),
        found,
        of_holdout,
    )


def threshold(similarity: NDArray) -> float:
    """The 99th percentile of the hold-out's similarities, a value that occurs (below 100 the largest or second)."""
    known = similarity[np.isfinite(similarity)]
    return float(np.quantile(known, PERCENTILE, method="higher")) if len(known) else math.nan


def binomial_limits(count: int, n: int) -> tuple[float, float]:
    """Exact limits of a rate, each with 95 % confidence: 0 of 200 means at most 1.5 % (Clopper & Pearson 1934)."""
    low = float(stats.beta.ppf(0.05, count, n - count + 1)) if count else 0.0
    high = float(stats.beta.ppf(0.95, count + 1, n - count)) if count < n else 1.0
    return low, high


def exceedance(count: int, n: int, holdout: NDArray, level: float) -> float:
    """Chance that `count` or more of n images exceed `level`, a value of the hold-out, if all are of one distribution.

    Exact whatever that distribution: above the r-th largest of h values lies a share of it that is distributed as
    Beta(r, h − r + 1), so the number is beta-binomial (Wilks 1941). The threshold is as uncertain as that.
    """
    known = holdout[np.isfinite(holdout)]
    rank = int((known >= level).sum())
    if not rank:
        return math.nan
    return float(stats.betabinom.sf(count - 1, n, rank, len(known) - rank + 1))


def c_t(synthetic: NDArray, holdout: NDArray, of_synthetic: NDArray, of_holdout: NDArray) -> float:
    """C_T of distances [n] and [m] to the nearest training image, in cells: the cohorts [n] and [m].

    Mann–Whitney's Z of a cell is 0 where synthetic images are as far as held-out ones, negative where they are nearer;
    cells weigh as many held-out images as they hold. NaN where no cell has five of each. Source: Meehan et al. 2020.
    """
    total = weight = 0.0
    for cell in np.unique(of_holdout):
        near, far = synthetic[of_synthetic == cell], holdout[of_holdout == cell]
        n, m = len(near), len(far)
        if min(n, m) < 5:
            continue
        larger = stats.mannwhitneyu(near, far).statistic
        total += m * (larger - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
        weight += m
    return total / weight if weight else math.nan


def _holdout_rate(similarity: NDArray, subjects: NDArray) -> float:
    """Share of one half of the hold-out above the threshold of the other, over random halves of its patients."""
    if len(np.unique(subjects)) < LEAST_HOLDOUT:
        return math.nan
    generator = np.random.default_rng(0)
    rates = []
    for _ in range(SPLITS):
        one, other = halves(subjects, generator)
        for a, b in ((one, other), (other, one)):
            rates.append(float((similarity[a] > threshold(similarity[b])).mean()))
    return float(np.mean(rates))


def _ratio(holdout: NDArray, synthetic: NDArray, of_holdout: NDArray, of_synthetic: NDArray) -> Estimate:
    a, b = patient_means(holdout, of_holdout), patient_means(synthetic, of_synthetic)
    if min(len(a), len(b)) < 2 or not a.mean() > 0:
        return undefined("distances to the nearest image need 2 patients in each set", min(len(a), len(b)))
    low, high = cluster_bootstrap(lambda x, y: y.mean(1) / x.mean(1), a, b)
    return Estimate(float(b.mean() / a.mean()), low, high, min(len(a), len(b)))
