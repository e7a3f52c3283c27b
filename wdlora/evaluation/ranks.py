"""Two samples of images compared without normality: Cliff's δ with Mann–Whitney's test, and Kolmogorov–Smirnov's.

Images of one patient are alike, so they do not count as so many patients.
"""

import math
import warnings

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from .estimate import Estimate, undefined
from .interval import mean_interval
from .patients import patient_means


def cliffs_delta(real: NDArray, synthetic: NDArray, of_real: NDArray, of_synthetic: NDArray) -> tuple[Estimate, float]:
    """Cliff's δ of images' values [n] and [m] with its 95 % interval, and p of Mann–Whitney's test for patients.

    δ is the share of pairs in which the synthetic value is larger, minus that in which it is smaller: 0 where neither
    tends to be larger, 1 where all synthetic ones are. Error by Obuchowski (1997) for clustered data, which with
    one image a subject is DeLong's (1988); p by its normal approximation, with the error of equal
    distributions (Mann & Whitney 1947) where each image is a subject of its own. Source: Cliff 1993.
    """
    n, m = len(np.unique(of_real)), len(np.unique(of_synthetic))
    if min(n, m) < 2:
        return undefined("Cliff's δ needs at least 2 patients in each set", min(n, m)), math.nan
    order = np.sign(synthetic[None] - real[:, None])
    delta = float(order.mean())
    errors = []
    for placement, subjects in ((order.mean(1), of_real), (order.mean(0), of_synthetic)):
        _, group = np.unique(subjects, return_inverse=True)
        sums = np.bincount(group, placement - delta)
        count = len(sums)
        errors.append(float((sums**2).sum()) * count / (count - 1) / len(placement) ** 2)
    error = math.sqrt(sum(errors))
    estimate = Estimate(delta, max(delta - 1.96 * error, -1.0), min(delta + 1.96 * error, 1.0), min(n, m))
    if n == len(real) and m == len(synthetic):
        return estimate, float(stats.mannwhitneyu(real, synthetic).pvalue)
    if not error:
        return estimate, 1.0 if delta == 0 else 0.0
    return estimate, float(2 * special.ndtr(-abs(delta) / error))


def signed_ranks(differences: NDArray, subjects: NDArray) -> tuple[Estimate, float]:
    """Cliff's δ within pairs and p of Wilcoxon's (1945) signed ranks, of differences synthetic minus real [n].

    δ is the share of pairs in which the synthetic value is larger, minus that in which it is smaller (Cliff 1993, d_w);
    its interval is of patients' means, and the test takes one mean difference a patient.
    """
    signs, means = patient_means(np.sign(differences), subjects), patient_means(differences, subjects)
    n = len(means)
    if n < 2:
        return undefined("Cliff's δ needs pairs of at least 2 patients", n), math.nan
    value, low, high = mean_interval(signs)
    p = float(stats.wilcoxon(means).pvalue) if means.any() else 1.0
    return Estimate(value, max(low, -1.0), min(high, 1.0), n), p


def kolmogorov_smirnov(
    real: NDArray, synthetic: NDArray, of_real: NDArray, of_synthetic: NDArray
) -> tuple[float, float]:
    """Largest distance of the distribution functions of one image a patient, drawn with a fixed seed, and its p.

    It sees differences of spread and shape that leave the mean alone. Source: Kolmogorov 1933, Smirnov 1948.
    """
    generator = np.random.default_rng(0)
    samples = []
    for values, subjects in ((real, of_real), (synthetic, of_synthetic)):
        order = generator.permutation(len(values))
        _, first = np.unique(subjects[order], return_index=True)
        samples.append(values[order][first])
    with warnings.catch_warnings():  # the exact p can exceed 1 by rounding; SciPy then takes the limit's
        warnings.filterwarnings("ignore", "ks_2samp: Exact calculation unsuccessful")
        found = stats.ks_2samp(*samples)
    return float(found.statistic), float(found.pvalue)
