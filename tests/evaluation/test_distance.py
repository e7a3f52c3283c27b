"""Distances against closed forms, by-hand sums and known populations."""

import numpy as np
import pytest
from scipy import stats

from wdlora.errors import InputError
from wdlora.evaluation.agreement import agreement
from wdlora.evaluation.distance import kid, kid_estimate
from wdlora.evaluation.features import texture_features
from wdlora.evaluation.two_sample import auc_interval, two_sample_auc


def test_kid_by_hand_in_one_dimension():
    a, b = np.array([[0.0], [1.0]]), np.array([[2.0], [0.0]])
    # k(x, y) = (xy + 1)³: within a k(0,1) = 1, within b k(2,0) = 1; between 1, 1, 27, 1
    assert kid(a, b) == pytest.approx(1 + 1 - 2 * (1 + 1 + 27 + 1) / 4)
    # Of the four between the sets, k(0, 0) = 1 and k(1, 2) = 27 are of different indices.
    assert kid(a, b, paired=True) == pytest.approx(1 + 1 - 2 * (1 + 27) / 2)
    # A feature that stands twice weighs half: xᵀy/d.
    assert kid(a.repeat(2, axis=1), b.repeat(2, axis=1)) == pytest.approx(kid(a, b))
    with pytest.raises(InputError, match="2 and 3 images are not pairs"):
        kid(a, np.zeros((3, 1)), paired=True)
    with pytest.raises(InputError, match="at least 4 images"):
        kid_estimate(a, b)


def test_kid_is_unbiased_for_one_distribution():
    """Mean over 400 draws of n = 12 lies within 4 standard errors of 0; the biased statistic does not."""
    generator = np.random.default_rng(0)
    values = [kid(*generator.standard_normal((2, 12, 5))) for _ in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20


def test_pairs_of_one_distribution_are_not_told_apart_and_not_alike():
    """Pictures of the same masks (correlated at .9): means of 60 draws of n = 60 within 4 standard errors of chance.

    Taken for independent, both figures come out far too small.
    """
    generator = np.random.default_rng(6)
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for _ in range(60):
        common, one, other = generator.standard_normal((3, 60, 5))
        a, b = (np.sqrt(0.9) * common + np.sqrt(0.1) * own for own in (one, other))
        for paired, values in found.items():
            values.append((kid(a, b, paired), two_sample_auc(a, b, paired).value))
    for paired, values in found.items():
        off = (np.mean(values, 0) - (0, 0.5)) / (np.std(values, 0) / np.sqrt(60))
        assert (np.abs(off) < 4).all() if paired else (off < -10).all()


def test_the_interval_of_an_area_is_the_score_intervals_root():
    """At a perfect area (1 − θ) = z²·θ·[1 + (n − 1)((1 − θ)/(2 − θ) + θ/(1 + θ))]/n² has a root below 1."""
    low, high = auc_interval(1.0, 12, 12)
    spread = 1 + 11 * ((1 - low) / (2 - low) + low / (1 + low))
    assert high == 1.0 and 0.6 < low < 0.9
    assert 1 - low == pytest.approx(1.96**2 * low * spread / 144)
    for value in (0.0, 0.3, 0.5, 0.97):
        low, high = auc_interval(value, 40, 25)
        assert low <= value <= high
        assert auc_interval(1 - value, 40, 25) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_the_interval_of_an_area_covers_it_near_1():
    """True area Φ(2.8/√2) = .976, 20 a set: over 92 % of 500 intervals cover it (Wald's, which vanish at 1: 84 %)."""
    generator = np.random.default_rng(7)
    truth, covered = stats.norm.cdf(2.8 / np.sqrt(2)), 0
    for _ in range(500):
        negative, positive = generator.standard_normal(20), generator.standard_normal(20) + 2.8
        low, high = auc_interval(float((positive[:, None] > negative).mean()), 20, 20)
        covered += low <= truth <= high
    assert covered / 500 > 0.92


def test_the_interval_covers_a_difference():
    generator = np.random.default_rng(1)
    a, b = generator.standard_normal((2, 200, 6))
    same, other = kid_estimate(a, b), kid_estimate(a, b + 0.5)
    assert same.low < 0 < same.high
    assert other.low > 0


def test_the_interval_is_as_wide_as_repeated_draws_say():
    """Sets half an SD apart: half-width ÷ 1.96 within a fifth of the SD over 80 draws (its own error is 8 %)."""
    generator = np.random.default_rng(5)
    values, widths = [], []
    for k in range(80):
        a, b = generator.standard_normal((2, 80, 6))
        found = kid_estimate(a, b + 0.5, seed=k, resamples=60)
        values.append(found.value)
        widths.append((found.high - found.low) / 2 / 1.96)
    assert np.mean(widths) == pytest.approx(np.std(values), rel=0.2)


def test_auc_of_two_gaussians_is_its_closed_form():
    """Φ(δ/√2) for unit variances at distance δ along one axis; sampling error at n = 2000 is below .01."""
    generator = np.random.default_rng(2)
    a, b = generator.standard_normal((2, 2000, 4))
    b[:, 0] += 1.0
    assert two_sample_auc(a, b).value == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=0.015)
    assert two_sample_auc(a, generator.standard_normal((2000, 4))).value == pytest.approx(0.5, abs=0.03)


def test_agreement_of_a_line():
    true = np.linspace(5, 25, 50)
    result = agreement(true, 0.9 * true + 1)
    assert result.slope[0] == pytest.approx(0.9) and result.slope[1] == pytest.approx(0.9)
    assert result.bias[0] == pytest.approx(0.9 * 15 + 1 - 15)
    assert result.bias_percent[0] == pytest.approx(100 * -0.5 / 15)
    # Half of the draws of these hold zeros alone, which have neither slope nor percentage.
    sparse = agreement(np.array([0.0, 0, 0, 0, 5]), np.array([0.0, 1, 0, 0, 4]))
    assert np.isfinite([*sparse.slope, *sparse.bias, *sparse.bias_percent]).all()
    assert sparse.slope[1] > 0.5
    with pytest.raises(InputError, match="at least 3 pairs"):
        agreement(true[:2], true[:2])
    with pytest.raises(InputError, match="finite"):
        agreement(true, np.full(50, np.nan))


def test_features_do_not_depend_on_quarter_turns_and_mirrors():
    image = np.random.default_rng(3).integers(0, 255, (64, 96), dtype=np.uint8)
    one = texture_features(image)
    assert one.shape == (60,)
    for other in (np.rot90(image), image[:, ::-1], image[::-1]):
        assert np.allclose(texture_features(np.ascontiguousarray(other)), one, atol=1e-9)
    assert np.allclose(texture_features(image / 255.0), one)


def test_features_see_blur_and_contrast():
    image = np.random.default_rng(4).random((64, 64))
    one = texture_features(image)
    assert np.abs(texture_features(image * 0.5) - one).max() > 0.5
    assert np.isfinite(texture_features(np.zeros((64, 64)))).all()
