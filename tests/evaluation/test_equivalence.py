"""TOST, sample sizes, ranks, the patient as the unit: literal values of statsmodels, closed forms, simulations."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

from wdlora.cohorts import COHORTS
from wdlora.errors import InputError
from wdlora.evaluation.agreement import agreement
from wdlora.evaluation.biomarkers import Values, compare_biomarkers, shared_cohorts
from wdlora.evaluation.equivalence import (
    MeanDifference,
    holm,
    independent_difference,
    needed,
    paired_difference,
    verdict,
)
from wdlora.evaluation.least_count import least_count
from wdlora.evaluation.mixed import available, mixed_model
from wdlora.evaluation.patients import cluster_bootstrap, patient_means
from wdlora.evaluation.ranks import cliffs_delta, kolmogorov_smirnov, signed_ranks

REAL = np.array([18.2, 21.5, 19.9, 25.1, 14.3, 22.8, 20.4, 17.7])
SYNTHETIC = np.array([19.1, 20.2, 23.3, 18.8, 21.9, 16.5, 24.4, 20.0, 22.1, 19.6])


def test_tost_equals_statsmodels():
    """`ttost_ind(synthetic, real, -2.5, 2.5, usevar="unequal")` and `ttost_paired` of statsmodels 0.15.0."""
    found = independent_difference(REAL, SYNTHETIC)
    assert found.tost(2.5) == pytest.approx(0.09833566947590362, rel=1e-9)
    assert found.freedom == pytest.approx(12.184656382033317, rel=1e-9)
    paired = paired_difference(SYNTHETIC[:8] - REAL)
    assert paired.tost(2.5) == pytest.approx(0.14868651407037917, rel=1e-9)
    assert paired.freedom == 7


def test_tost_is_the_90_percent_interval_within_the_margin():
    found = independent_difference(REAL, SYNTHETIC)
    low, high = found.interval(0.90)
    just = max(-low, high)
    assert found.tost(just * 1.0001) < 0.05 < found.tost(just * 0.9999)
    assert found.p == pytest.approx(stats.ttest_ind(SYNTHETIC, REAL, equal_var=False).pvalue)


def test_where_nothing_varies():
    """Equal constants are equivalent, constants beyond the margin different; without a margin nothing is decided."""
    same, other = (
        independent_difference(np.full(5, 2.0), np.full(5, 2.0)),
        independent_difference(np.ones(5), np.zeros(5)),
    )
    assert (same.tost(0.2), same.p) == (0.0, 1.0) and (other.tost(0.1), other.p) == (1.0, 0.0)
    assert math.isnan(same.tost(0.0)) and verdict(same.tost(0.0), same.p) == "undecided"
    assert math.isnan(independent_difference(np.ones(1), np.ones(4)).tost(0.1))


def test_the_verdicts():
    assert verdict(0.01, 0.001) == "equivalent"  # a small difference that is certain is still small
    assert verdict(0.2, 0.01) == "different"
    assert verdict(0.2, 0.2) == verdict(math.nan, math.nan) == "undecided"


@pytest.mark.parametrize(
    ("cohort", "metric", "about"), [("Control", "cnfl", 120), ("Control", "cnbd", 626), ("T1DPN", "cnbd", 2134)]
)
def test_patients_needed_for_the_papers_table(cohort, metric, about):
    """Normal theory, no difference: n = 2 σ² (z.95 + z.90)² / margin² of Table V's rows, within two patients."""
    mean, sd = COHORTS[cohort].distributions[metric]
    closed = 2 * sd**2 * (stats.norm.ppf(0.95) + stats.norm.ppf(0.90)) ** 2 / (0.1 * mean) ** 2
    assert closed == pytest.approx(about, abs=1)
    assert needed(MeanDifference(0.0, (sd**2, sd**2), (50, 50)), 0.1 * mean) == pytest.approx(closed, abs=3)


@pytest.mark.parametrize("paired", [False, True])
def test_with_the_number_needed_tost_passes_in_80_percent(paired):
    """3,000 studies of that size: .80 ± .03, of unequal spreads and a difference of .3 of the margin."""
    variances = (1.0, 0.0) if paired else (1.0, 4.0)
    n = needed(MeanDifference(0.15, variances, (10, 10)), 0.5)
    generator = np.random.default_rng(0)
    passed = 0
    for _ in range(3000):
        if paired:
            found = paired_difference(generator.normal(0.15, 1, n))
        else:
            found = independent_difference(generator.normal(0, 1, n), generator.normal(0.15, 2, n))
        passed += found.tost(0.5) < 0.05
    assert passed / 3000 == pytest.approx(0.80, abs=0.03)


def test_the_papers_table_shows_no_equivalence():
    """Table V, WDLoRA at rank 32, and Table II's group sizes: the p values of docs/studies/paper.md, digit by digit."""
    rows = [("Control", "cnfl", 19.10, 5.05, 112, 0.008), ("Control", "cnfd", 20.95, 9.10, 112, 0.083)]
    rows += [("Control", "cnbd", 60.80, 35.50, 112, 0.170), ("T1NoDPN", "cnfl", 14.35, 5.40, 98, 0.063)]
    rows += [("T1DPN", "cnfl", 9.55, 5.75, 108, 0.167)]
    for cohort, metric, mean, sd, n, p in rows:
        real, spread = COHORTS[cohort].distributions[metric]
        found = MeanDifference(mean - real, (spread**2, sd**2), (n, n))
        assert found.tost(0.1 * real) == pytest.approx(p, abs=0.0005)
        assert MeanDifference(real - mean, (sd**2, spread**2), (n, n)).tost(0.1 * real) == pytest.approx(p, abs=0.0005)


def test_no_number_helps_beyond_the_margin():
    assert needed(MeanDifference(0.5, (1.0, 1.0), (10, 10)), 0.5) is None
    assert needed(MeanDifference(0.1, (0.0, 0.0), (10, 10)), 0.5) is None
    assert needed(MeanDifference(0.1, (math.nan, 1.0), (1, 10)), 0.5) is None


def test_holm_by_hand():
    """Smallest times 4, next times 3, …, never falling (statsmodels' multipletests gives the same)."""
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = holm(np.array([math.nan, 0.04]))
    assert math.isnan(found[0]) and found[1] == 0.04
    assert len(holm(np.array([math.nan]))) == 1


def test_cliffs_delta_by_hand():
    real, synthetic = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0])
    # of six pairs four larger, one equal, one smaller
    found, p = cliffs_delta(real, synthetic, np.arange(3), 10 + np.arange(2))
    assert found.value == pytest.approx(3 / 6)
    assert p == pytest.approx(stats.mannwhitneyu(real, synthetic).pvalue)


def test_copies_of_images_do_not_narrow_cliffs_interval():
    """Obuchowski's error: every image five times in its patient gives the interval of one image a patient."""
    generator = np.random.default_rng(1)
    real, synthetic = generator.normal(0, 1, 20), generator.normal(0.5, 1, 25)
    once, _ = cliffs_delta(real, synthetic, np.arange(20), 100 + np.arange(25))
    patients = np.repeat(np.arange(20), 5), 100 + np.repeat(np.arange(25), 5)
    often, p = cliffs_delta(np.repeat(real, 5), np.repeat(synthetic, 5), *patients)
    assert (often.value, often.low, often.high) == pytest.approx((once.value, once.low, once.high))
    assert p == pytest.approx(2 * stats.norm.sf(abs(once.value) / ((once.high - once.low) / 2 / 1.96)))


def test_cliffs_interval_covers():
    """600 draws of 25 patients with 4 images and 40 singles, δ = 0: the 95 % interval covers it in 92 to 98 %."""
    generator, covered = np.random.default_rng(2), 0
    patients = np.repeat(np.arange(25), 4)
    for _ in range(600):
        real = np.repeat(generator.normal(0, 1, 25), 4) + generator.normal(0, 1, 100)
        found, _ = cliffs_delta(real, generator.normal(0, math.sqrt(2), 40), patients, 100 + np.arange(40))
        covered += found.low <= 0 <= found.high
    assert 0.92 <= covered / 600 <= 0.98


def test_signed_ranks_by_hand():
    apart = np.array([1.0, 3.0, -1.0, 2.0, 5.0])
    found, p = signed_ranks(apart, np.array([0, 0, 1, 2, 3]))  # patients' means 2, −1, 2, 5
    assert found.value == pytest.approx((1 - 1 + 1 + 1) / 4)
    assert p == pytest.approx(stats.wilcoxon([2.0, -1.0, 2.0, 5.0]).pvalue)
    assert signed_ranks(np.zeros(4), np.arange(4))[1] == 1.0


def test_the_shape_takes_one_image_a_patient():
    generator = np.random.default_rng(3)
    real, synthetic = generator.normal(0, 1, 30), generator.normal(0, 3, 30)
    patients = np.arange(30), 100 + np.arange(30)
    distance, p = kolmogorov_smirnov(real, synthetic, *patients)
    assert (distance, p) == pytest.approx(tuple(stats.ks_2samp(real, synthetic)))
    many = kolmogorov_smirnov(np.repeat(real, 4), synthetic, np.repeat(patients[0], 4), patients[1])
    assert many == pytest.approx((distance, p))


def test_samples_that_hardly_differ_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = kolmogorov_smirnov(np.arange(30.0), np.arange(30.0) + 0.5, np.arange(30), 100 + np.arange(30))
    assert found == pytest.approx((1 / 30, 1.0))


def test_patients_are_the_unit():
    values = np.array([1.0, 3.0, 10.0, math.nan, 5.0])
    assert patient_means(values, np.array(["b", "b", "a", "c", "a"])).tolist() == [7.5, 2.0]
    generator = np.random.default_rng(4)
    a, b = generator.normal(0, 1, 60), generator.normal(1, 1, 60)
    low, high = cluster_bootstrap(lambda x, y: y.mean(1) - x.mean(1), a, b)
    welch = independent_difference(a, b).interval(0.95)
    assert (low, high) == pytest.approx(welch, abs=0.08)


def test_the_mixed_model_of_balanced_data_is_the_difference_of_patients_means():
    pytest.importorskip("statsmodels")
    generator = np.random.default_rng(5)
    patients = np.repeat(np.arange(12), 4), 100 + np.repeat(np.arange(12), 4)
    real = np.repeat(generator.normal(20, 3, 12), 4) + generator.normal(0, 2, 48)
    synthetic = np.repeat(generator.normal(21, 3, 12), 4) + generator.normal(0, 2, 48)
    found = mixed_model(real, synthetic, *patients)
    means = [patient_means(values, owners) for values, owners in zip((real, synthetic), patients, strict=True)]
    assert found.value == pytest.approx(float(means[1].mean() - means[0].mean()), rel=1e-4)
    # Both patients' variances are pooled in it, so its error is Student's.
    pooled = math.sqrt((means[0].var(ddof=1) + means[1].var(ddof=1)) / 12)
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(pooled, rel=1e-3)


def test_the_mixed_model_converges_where_patients_do_not_differ():
    """Twenty samples without any patient effect, at the limit of the variance: all have an interval."""
    pytest.importorskip("statsmodels")
    generator, patients = np.random.default_rng(9), (np.repeat(np.arange(15), 4), 100 + np.arange(60))
    for _ in range(20):
        found = mixed_model(generator.normal(20, 4, 60), generator.normal(20, 4, 60), *patients)
        assert found.defined and found.low < found.value < found.high


def test_the_mixed_model_says_why_there_is_none():
    alone = mixed_model(REAL, SYNTHETIC, np.arange(8), 100 + np.arange(10))
    assert not alone.defined and alone.reason.startswith("every image" if available() else "a mixed model needs")


def draw_study(generator: np.random.Generator, mean: float, sd: float) -> Values:
    """30 patients with 5 images and 100 synthetic images of one skewed distribution; 60 % of the variance is
    patients'.
    """
    sizes, owners = ((30, 5), (100, 1)), []
    images = []
    for number, (patients, each) in enumerate(sizes):
        level = np.repeat(generator.gamma(mean**2 / (0.6 * sd**2), 0.6 * sd**2 / mean, patients), each) + 1e-9
        shape = level**2 / (0.4 * sd**2)
        images.append(generator.gamma(shape, level / shape))
        owners.append(1000 * number + np.repeat(np.arange(patients), each))
    return Values(images[0], images[1], (owners[0], owners[1]), False)


def test_2000_studies_in_which_nothing_differs():
    """Table V's control rows: 95 % intervals cover 0 in 93.5 to 96.5 %, any verdict is "different" in at most 6 %.

    Where images count instead of patients, the intervals cover it in far fewer.
    """
    generator = np.random.default_rng(6)
    covered = by_image = wrong = 0
    for _ in range(2000):
        p, tost = [], []
        for metric in ("cnfl", "cnfd", "cnbd", "cnfw"):
            values = draw_study(generator, *COHORTS["Control"].distributions[metric])
            found = values.difference()
            low, high = found.interval(0.95)
            covered += low <= 0 <= high
            low, high = independent_difference(values.real, values.synthetic).interval(0.95)
            by_image += low <= 0 <= high
            p.append(found.p)
            tost.append(found.tost(0.1 * values.real.mean()))
        wrong += any(verdict(*one) == "different" for one in zip(tost, holm(np.array(p)), strict=True))
    assert 0.935 <= covered / 8000 <= 0.965
    assert by_image / 8000 < 0.90
    assert wrong / 2000 <= 0.06


def panels(values: np.ndarray) -> list[dict[str, float]]:
    return [{"cnfl": x, "cnfd": 2 * x, "cnbd": math.nan, "cnfw": 31.0} for x in values]


def test_a_comparison_of_two_cohorts():
    generator = np.random.default_rng(7)
    real, synthetic = generator.normal(20, 2, 60), generator.normal(20, 2, 60)
    synthetic[30:] += 8
    cohorts = np.repeat(["Control", "T1DPN"], 30), np.repeat(["Control", "T1DPN"], 30)
    owners = np.repeat(np.arange(30), 2), 100 + np.arange(60)
    found = {
        (one.cohort, one.metric): one for one in compare_biomarkers(panels(real), panels(synthetic), owners, cohorts)
    }
    assert len(found) == 8
    one = found["T1DPN", "cnfl"]
    assert one.verdict == "different" and one.needed is None and one.images == (30, 30)
    assert one.difference.value == pytest.approx(one.synthetic.value - one.real.value)
    assert one.margin == pytest.approx(0.1 * one.real.value) and one.real.n == 15
    assert found["Control", "cnfw"].verdict == "equivalent"
    nothing = found["Control", "cnbd"]
    assert nothing.verdict == "undecided" and nothing.needed is None and "defined in no" in nothing.reason
    assert found["Control", "cnfl"].adjusted >= found["Control", "cnfl"].p
    with pytest.raises(InputError, match="no biomarker 'cnxx'"):
        compare_biomarkers(panels(real), panels(synthetic), owners, cohorts, metrics=["cnxx"])


def test_pairs_decide_with_fewer_patients():
    """The same 16 patients, painted with little error: undecided as two groups, equivalent as pairs."""
    generator = np.random.default_rng(8)
    real = generator.normal(20, 5, 16)
    painted = real + generator.normal(0, 0.5, 16)
    owners, cohorts = (np.arange(16), np.arange(16)), (np.full(16, ""), np.full(16, ""))
    apart, paired = (
        compare_biomarkers(panels(real), panels(painted), owners, cohorts, flag)[0] for flag in (False, True)
    )
    assert (apart.cohort, apart.verdict, paired.verdict) == ("all", "undecided", "equivalent")
    assert paired.needed is None and apart.needed is not None and apart.needed > 16
    assert paired.pairs is not None and paired.pairs.slope[0] == pytest.approx(1, abs=0.1)


def test_limits_of_agreement_by_hand():
    true, measured = np.array([1.0, 2, 3, 4]), np.array([1.5, 2.0, 4.0, 4.5])
    found = agreement(true, measured)  # differences .5, 0, 1, .5: mean .5, SD √(1/6)
    assert found.limits == pytest.approx((0.5 - 1.96 * math.sqrt(1 / 6), 0.5 + 1.96 * math.sqrt(1 / 6)))


def test_cohorts_that_are_compared():
    known, none = np.array(["T1DPN", "Control", ""]), np.array(["", ""])
    assert shared_cohorts(known, np.array(["Control", "T1DPN", "other"])) == ["Control", "T1DPN"]
    assert shared_cohorts(known, none) == ["all"]
    assert shared_cohorts(known, np.array(["T1NoDPN"])) == []


@pytest.mark.parametrize(("threshold", "found"), [(1, 2), (2, 2), (3, 3), (57, 57), (64, 64), (70, None)])
def test_the_least_count_that_is_enough(threshold, found):
    assert least_count(lambda count: count >= threshold, 2, 64) == found


def test_the_least_count_is_found_up_to_the_most_itself():
    found = [least_count(lambda count, at=at: count >= at, 3, 10) for at in range(1, 13)]
    assert found == [3, 3, 3, 4, 5, 6, 7, 8, 9, 10, None, None]
