"""Equivalence of two means: two one-sided tests, the verdict, and the number of patients that would decide.

"No significant difference" is no evidence of equality: a small sample never differs significantly. Equivalence takes a
margin, and a test that rejects a difference beyond it on either side (Schuirmann 1987; Lakens 2017).
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from .least_count import least_count

MARGIN = 0.10
"""Share of the real mean within which means count as equivalent."""

MARGIN_SD = 0.2
"""The second margin, reported but not decisive: Cohen's small effect, in SDs of the real images."""

LEVEL = 0.05
POWER = 0.80
MOST_PATIENTS = 10_000_000

Verdict = Literal["equivalent", "different", "undecided"]


@dataclass(frozen=True)
class MeanDifference:
    """Synthetic minus real mean of n and m patients with their `variances`; of pairs, whose differences have the first
    variance, the second is 0. Variances are NaN where they are not known.
    """

    value: float
    variances: tuple[float, float]
    n: tuple[int, int]

    @property
    def error(self) -> float:
        """Standard error (Welch 1947)."""
        return math.sqrt(self.variances[0] / self.n[0] + self.variances[1] / self.n[1])

    @property
    def freedom(self) -> float:
        """Degrees of freedom (Satterthwaite 1946); n − 1 for pairs."""
        return _freedom(self.variances, self.n)

    def interval(self, level: float) -> tuple[float, float]:
        """Two-sided Student interval, such as 0.95; NaN without an error."""
        half = _quantile(self.freedom, (1 + level) / 2) * self.error
        return self.value - half, self.value + half

    @property
    def p(self) -> float:
        """Two-sided p of no difference."""
        if not self.error:
            return 1.0 if self.value == 0 else 0.0
        return float(2 * special.stdtr(self.freedom, -abs(self.value) / self.error))

    def tost(self, margin: float) -> float:
        """p of two one-sided tests against ±`margin`: the larger of both. NaN where the margin is not positive."""
        if not margin > 0 or math.isnan(self.error):
            return math.nan
        if not self.error:
            return 0.0 if abs(self.value) < margin else 1.0
        return float(special.stdtr(self.freedom, (abs(self.value) - margin) / self.error))


def independent_difference(real: NDArray, synthetic: NDArray) -> MeanDifference:
    """The difference of patients' values [n] and [m], at least one a side."""
    variances = tuple(float(x.var(ddof=1)) if len(x) > 1 else math.nan for x in (real, synthetic))
    value = float(synthetic.mean() - real.mean())
    return MeanDifference(value, (variances[0], variances[1]), (len(real), len(synthetic)))


def paired_difference(differences: NDArray) -> MeanDifference:
    """The mean of differences, synthetic minus real [n], one a patient and at least one."""
    n = len(differences)
    variance = float(differences.var(ddof=1)) if n > 1 else math.nan
    return MeanDifference(float(differences.mean()), (variance, 0.0), (n, n))


def verdict(tost: float, p: float) -> Verdict:
    """Equivalent where TOST passes, even if `p` (adjusted for its family) is small; else different where that is."""
    if tost < LEVEL:
        return "equivalent"
    return "different" if p < LEVEL else "undecided"


def needed(difference: MeanDifference, margin: float) -> int | None:
    """Patients a group (or pairs) with which TOST would pass with 80 % power, if difference and spread are as seen.

    None where the difference is not within the margin, so that no number would do, and where the spread is not known.
    The power is that of the shifted t distribution, as in Phillips 1990.
    """
    if not (abs(difference.value) < margin and difference.error > 0):
        return None

    def power(count: int) -> float:
        freedom = _freedom(difference.variances, (count, count))
        error = math.sqrt(sum(difference.variances) / count)
        critical = _quantile(freedom, 1 - LEVEL)
        sides = [special.stdtr(freedom, (margin + sign * difference.value) / error - critical) for sign in (1, -1)]
        return float(sum(sides) - 1)

    return least_count(lambda count: not power(count) < POWER, 2, MOST_PATIENTS)


def holm(p: NDArray) -> NDArray:
    """p values of a family, adjusted by Holm's (1979) step-down method; NaN stays and counts for nothing."""
    p = np.asarray(p, float)
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known])]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return adjusted


def _freedom(variances: tuple[float, float], n: tuple[int, int]) -> float:
    a, b = variances[0] / n[0], variances[1] / n[1]
    if a + b == 0:
        return float(sum(n) - 2)
    return (a + b) ** 2 / sum(part**2 / (size - 1) for part, size in ((a, n[0]), (b, n[1])) if part)


def _quantile(freedom: float, share: float) -> float:
    return float(special.stdtrit(freedom, share))
