"""Intervals over seeds and patients, tests of paired seeds, and how many seeds would decide."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.downstream.scores import Figure, Predictions
from wdlora.evaluation.estimate import Estimate, undefined
from wdlora.evaluation.least_count import least_count

RESAMPLES = 1000
LEAST_PAIRS = 6
"""Pairs below which nothing is claimed: five signs alike have p = .0625."""

EXACT = 16
"""Pairs up to which every pattern of signs is counted; beyond, `DRAWN` are drawn."""

DRAWN = 20_000
LEVEL, POWER = 0.05, 0.80
MOST_PAIRS = 10_000


def estimate(runs: Sequence[Predictions], figure: Figure) -> Estimate:
    """The mean of a figure over seeds, with its 95 % interval over seeds and patients; n counts patients.

    Seeds and patients are drawn anew independently (the pigeonhole bootstrap, Owen 2007), patients within their cohort
    and with all their images; percentiles of 1,000 draws. With one seed the interval is over patients alone.
    """
    return _estimate([figure(run, weights) for run, weights in _drawn(runs)], runs)


def mean_difference(runs: Sequence[Predictions], others: Sequence[Predictions], figure: Figure) -> Estimate:
    """The mean of runs − others, which are paired by seed and split; as `estimate`, both sides drawn alike."""
    pairs = zip(_drawn(runs), _drawn(others), strict=True)
    return _estimate([figure(a, w) - figure(b, v) for (a, w), (b, v) in pairs], runs)


def by_seed(runs: Sequence[Predictions], figure: Figure) -> NDArray:
    """The figure of every seed: float [seeds]."""
    return np.array([float(figure(run, np.ones((1, len(run.patients))))[0]) for run in runs])


def _drawn(runs: Sequence[Predictions]) -> list[tuple[Predictions, NDArray]]:
    """Every run with the weights [1 + RESAMPLES, n] of its images; the first row is one each."""
    cohort_of: dict[str, int] = {}
    for run in runs:
        cohort_of |= zip(run.patients.tolist(), run.cohorts.tolist(), strict=True)
    patients = sorted(cohort_of)
    generator = np.random.default_rng(0)
    counts = np.zeros((RESAMPLES, len(patients)))
    for cohort in sorted(set(cohort_of.values())):
        places = [place for place, one in enumerate(patients) if cohort_of[one] == cohort]
        counts[:, places] = generator.multinomial(len(places), np.full(len(places), 1 / len(places)), RESAMPLES)
    place_of = {patient: place for place, patient in enumerate(patients)}
    found = []
    for run in runs:
        weights = counts[:, [place_of[patient] for patient in run.patients.tolist()]]
        found.append((run, np.concatenate([np.ones((1, weights.shape[1])), weights])))
    return found


def _estimate(values: Sequence[NDArray], runs: Sequence[Predictions]) -> Estimate:
    table = np.stack(values)  # [seeds, 1 + RESAMPLES]
    patients = len({patient for run in runs for patient in run.patients.tolist()})
    if not np.isfinite(table[:, 0]).all():
        return undefined("a seed's held-out images do not define it", patients)
    generator = np.random.default_rng(1)
    weights = generator.multinomial(len(table), np.full(len(table), 1 / len(table)), RESAMPLES).T.astype(float)
    known = np.isfinite(table[:, 1:])
    weights *= known
    total = weights.sum(0)
    means = (np.where(known, table[:, 1:], 0) * weights).sum(0)[total > 0] / total[total > 0]
    low, high = np.percentile(means, (2.5, 97.5))
    return Estimate(float(table[:, 0].mean()), float(low), float(high), patients)


def sign_flip(differences: NDArray) -> float | None:
    """Two-sided p of paired differences [n] with mean 0, by flipping their signs (Fisher 1935); exact up to 16 pairs.

    None below six pairs, where no outcome could be significant.
    """
    n = len(differences)
    if n < LEAST_PAIRS or not np.isfinite(differences).all():
        return None
    seen = abs(float(differences.mean())) * (1 - 1e-12)
    if n <= EXACT:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=n)))
        return float((np.abs(signs @ differences / n) >= seen).mean())
    signs = np.random.default_rng(0).choice((1.0, -1.0), (DRAWN, n))
    return float(((np.abs(signs @ differences / n) >= seen).sum() + 1) / (DRAWN + 1))


def pairs_needed(differences: NDArray) -> int | None:
    """Paired seeds with which a two-sided t test at 5 % would find the difference in 80 % of studies, if mean and SD
    are as seen; at least six. None where nothing differs, with fewer than two pairs, and beyond 10,000.
    """
    from scipy import stats

    if len(differences) < 2 or not np.isfinite(differences).all():
        return None
    mean, sd = abs(float(differences.mean())), float(differences.std(ddof=1))
    if mean == 0:
        return None
    if sd == 0:
        return LEAST_PAIRS

    def power(n: int) -> float:
        critical = stats.t.ppf(1 - LEVEL / 2, n - 1)
        found = stats.nct.sf(critical, n - 1, mean / sd * math.sqrt(n))
        return float(found) if np.isfinite(found) else 1.0

    return least_count(lambda n: not power(n) < POWER, LEAST_PAIRS, MOST_PAIRS)
