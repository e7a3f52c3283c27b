"""Distances against closed forms, by-hand sums and known populations."""

import numpy as np
import pytest
from scipy import stats

from wdlora.errors import InputError
from wdlora.evaluation.agreement import agreement
from wdlora.evaluation.distance import kid, kid_estimate, two_sample_auc
from wdlora.evaluation.features import texture_features


def test_kid_by_hand_in_one_dimension():
    a, b = np.array([[0.0], [1.0]]), np.array([[2.0], [0.0]])
    # k(x, y) = (xy + 1)³: within a k(0,1) = 1, within b k(2,0) = 1; between 1, 1, 27, 1
    assert kid(a, b) == pytest.approx(1 + 1 - 2 * (1 + 1 + 27 + 1) / 4)


def test_kid_is_unbiased_for_one_distribution():
    """Mean over 400 draws of n = 12 lies within 4 standard errors of 0; the biased statistic does not."""
    generator = np.random.default_rng(0)
    values = [kid(*generator.standard_normal((2, 12, 5))) for _ in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20


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
