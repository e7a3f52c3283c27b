"""Pillar 2: biomarkers of both sets, traced and measured in the same way, cohort by cohort (the paper's Table V).

The patient is the unit: images of one patient are averaged first, and intervals and tests count patients. Where
patients are not known, every image counts as one, and intervals may be too narrow.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .agreement import Agreement, agreement
from .distance import Subjects
from .equivalence import (
    MARGIN,
    MARGIN_SD,
    MeanDifference,
    Verdict,
    holm,
    independent_difference,
    needed,
    paired_difference,
    verdict,
)
from .estimate import Estimate, undefined
from .groups import column
from .interval import mean_interval
from .mixed import mixed_model
from .patients import cluster_bootstrap, patient_means
from .ranks import cliffs_delta, kolmogorov_smirnov, signed_ranks
from .sets import in_order

METRICS = ("cnfl", "cnfd", "cnbd", "cnfw")
"""What Table V compares; keys of `Biomarkers.to_dict()`."""

OPTIONAL = (
    "ctbd",
    "cnfa",
    "mean_width_um",
    "cnfrd",
    "tortuosity",
    "curvature_per_mm",
)

ALL = "all"
"""The one group where cohorts are not known."""


@dataclass(frozen=True)
class Comparison:
    """One biomarker of one cohort.

    `images` and `sd` are of images, as in Table V; `real`, `synthetic` and `difference` are of patients, with 95 %
    intervals, `inner` is the difference's 90 % interval, whose place within ±`margin` is what TOST tests. `tost` and
    `tost_sd` are its p for ±10 % of the real mean and for ±.2 SD. `p` is of no difference (Welch, or Student of
    pairs), `adjusted` Holm's over the family. `delta` is Cliff's, `ranks` p of Mann–Whitney's test (Wilcoxon's for
    pairs), `shape` distance and p of Kolmogorov–Smirnov's. `bootstrap` is the difference's 95 % interval by
    patients, `mixed` the difference by a mixed model. `pairs` compares image by image.
    """

    cohort: str
    metric: str
    images: tuple[int, int]
    sd: tuple[float, float]
    real: Estimate
    synthetic: Estimate
    difference: Estimate
    inner: tuple[float, float]
    margin: float
    tost: float
    tost_sd: float
    p: float
    adjusted: float
    verdict: Verdict
    needed: int | None
    delta: Estimate
    ranks: float
    shape: tuple[float, float]
    bootstrap: tuple[float, float]
    mixed: Estimate
    pairs: Agreement | None = None
    reason: str = ""


@dataclass(frozen=True)
class Values:
    """One biomarker's values [n] and [m] of real and synthetic images, and whose they are."""

    real: NDArray
    synthetic: NDArray
    subjects: Subjects
    paired: bool

    def known(self) -> "Values":
        """Without what is not defined; a pair needs both."""
        keep = [np.isfinite(self.real), np.isfinite(self.synthetic)]
        if self.paired:
            keep = [keep[0] & keep[1]] * 2
        subjects = self.subjects[0][keep[0]], self.subjects[1][keep[1]]
        return Values(self.real[keep[0]], self.synthetic[keep[1]], subjects, self.paired)

    def by_patient(self) -> tuple[NDArray, NDArray]:
        """Means of patients."""
        return patient_means(self.real, self.subjects[0]), patient_means(self.synthetic, self.subjects[1])

    def difference(self) -> MeanDifference:
        """Synthetic minus real."""
        if self.paired:
            return paired_difference(patient_means(self.synthetic - self.real, self.subjects[0]))
        return independent_difference(*self.by_patient())


def compare_biomarkers(
    real: Sequence[Mapping[str, Any]],
    synthetic: Sequence[Mapping[str, Any]],
    subjects: Subjects,
    cohorts: tuple[NDArray, NDArray],
    paired: bool = False,
    metrics: Sequence[str] = METRICS,
) -> list[Comparison]:
    """Compare panels (`Biomarkers.to_dict()`) of real and synthetic images whose subjects and cohorts are known.

    Every cohort that both sets hold, or all images where cohorts are not known; one family for Holm's method. With
    `paired`, image i of both sets was painted from, or is, one mask. Raises InputError for an unknown metric.
    """
    if unknown := sorted(set(metrics) - {*METRICS, *OPTIONAL}):
        raise InputError(f"there is no biomarker {unknown[0]!r}; choose of {', '.join((*METRICS, *OPTIONAL))}")
    found = []
    for cohort in shared_cohorts(*cohorts):
        inside = [np.ones(len(one), bool) if cohort == ALL else one == cohort for one in cohorts]
        owners = subjects[0][inside[0]], subjects[1][inside[1]]
        for metric in metrics:
            values = Values(column(real, metric)[inside[0]], column(synthetic, metric)[inside[1]], owners, paired)
            found.append(compare(cohort, metric, values))
    adjusted = holm(np.array([one.p for one in found]))
    return [_decided(one, float(p)) for one, p in zip(found, adjusted, strict=True)]


def shared_cohorts(real: NDArray, synthetic: NDArray) -> list[str]:
    """Cohorts that both sets hold, or `ALL` where in one of them no image's cohort is known."""
    if not (real != "").any() or not (synthetic != "").any():
        return [ALL]
    return in_order((set(real.tolist()) & set(synthetic.tolist())) - {""})


def compare(cohort: str, metric: str, values: Values) -> Comparison:
    """One biomarker of one cohort, before it is adjusted for its family."""
    values = values.known()
    images = len(values.real), len(values.synthetic)
    if not min(images):
        return _nothing(cohort, metric, images, f"{metric} is defined in no {_missing(images)} image")
    a, b = values.by_patient()
    found = values.difference()
    sd = _sd(values.real), _sd(values.synthetic)
    margin = MARGIN * abs(float(a.mean()))
    known = math.isfinite(found.error)
    reason = "" if known else "a spread needs at least 2 patients in each set"
    if known and not margin:
        reason = "the real mean is 0, so 10 % of it is not a margin"
    delta, ranks = signed_ranks(*_pairs(values)) if values.paired else cliffs_delta(*_by_image(values))
    outer = found.interval(0.95) if known else (math.nan, math.nan)
    return Comparison(
        cohort=cohort,
        metric=metric,
        images=images,
        sd=sd,
        real=_mean(a),
        synthetic=_mean(b),
        difference=Estimate(found.value, *outer, min(found.n), "" if known else reason),
        inner=found.interval(0.90) if known else (math.nan, math.nan),
        margin=margin,
        tost=found.tost(margin),
        tost_sd=found.tost(MARGIN_SD * sd[0]),
        p=found.p if known else math.nan,
        adjusted=math.nan,
        verdict="undecided",
        needed=needed(found, margin) if known else None,
        delta=delta,
        ranks=ranks,
        shape=kolmogorov_smirnov(*_by_image(values)),
        bootstrap=_bootstrap(values),
        mixed=undefined("pairs are compared by their differences")
        if values.paired
        else mixed_model(*_by_image(values)),
        pairs=_agreement(values),
        reason=reason,
    )


def _decided(one: Comparison, adjusted: float) -> Comparison:
    """With its verdict, and the number of patients that would decide where nothing is decided."""
    found = verdict(one.tost, adjusted)
    return replace(one, adjusted=adjusted, verdict=found, needed=one.needed if found == "undecided" else None)


def _by_image(values: Values) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    return values.real, values.synthetic, *values.subjects


def _pairs(values: Values) -> tuple[NDArray, NDArray]:
    return values.synthetic - values.real, values.subjects[0]


def _sd(values: NDArray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


def _mean(values: NDArray) -> Estimate:
    """Mean over patients with Student's interval."""
    if len(values) < 2:
        return Estimate(float(values.mean()), math.nan, math.nan, 1, "an interval needs at least 2 patients")
    return Estimate(*mean_interval(values), len(values))


def _bootstrap(values: Values) -> tuple[float, float]:
    if values.paired:
        apart = patient_means(*_pairs(values))
        return cluster_bootstrap(lambda x, _: x.mean(1), apart, apart)
    return cluster_bootstrap(lambda x, y: y.mean(1) - x.mean(1), *values.by_patient())


def _agreement(values: Values) -> Agreement | None:
    if not values.paired:
        return None
    try:
        return agreement(values.real, values.synthetic)
    except InputError:
        return None


def _missing(images: tuple[int, int]) -> str:
    return "real" if not images[0] else "synthetic"


def _nothing(cohort: str, metric: str, images: tuple[int, int], reason: str) -> Comparison:
    none, gap = undefined(reason), (math.nan, math.nan)
    return Comparison(
        *(cohort, metric, images, gap, none, none, none, gap),
        *(math.nan, math.nan, math.nan, math.nan, math.nan, "undecided", None),
        *(none, math.nan, gap, gap, none, None, reason),
    )
