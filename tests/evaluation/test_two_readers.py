"""Bland–Altman, ICC and their units: published tables, closed forms, simulations."""

import numpy as np
import pytest

from wdlora.evaluation.two_readers import icc_2_1, spread_of_differences, two_readers

SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
"""Table 2 of Shrout & Fleiss 1979; Table 4 gives ICC(2,1) = .29."""


def test_icc_of_the_published_table():
    assert icc_2_1(SHROUT_FLEISS) == pytest.approx(0.2898, abs=5e-5)


def test_icc_of_known_variances():
    """Images vary by 4, readings by 1: 4 / 5. A constant offset of one reader by 2 adds 2 to the denominator."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 20_000)
    readings = true[:, None] + rng.normal(0, 1, (20_000, 2))
    assert icc_2_1(readings) == pytest.approx(0.8, abs=0.01)
    assert icc_2_1(readings + np.array([0, 2])) == pytest.approx(4 / 7, abs=0.01)
    assert icc_2_1(np.repeat(true[:, None], 2, 1)) == pytest.approx(1)
    assert np.isnan(icc_2_1([[1, 2]])) and np.isnan(icc_2_1([[3, 3], [3, 3]]))


def test_bland_altman_by_hand():
    """Differences 1, −1, 3, 1: bias 1, SD √(8/3)."""
    found = two_readers([10, 20, 30, 40], [11, 19, 33, 41], [1, 2, 3, 4])
    reach = 1.96 * np.sqrt(8 / 3)
    assert found.bias[0] == 1 and found.mean_absolute_error == 1.5 and (found.n, found.units) == (4, 4)
    assert [limit[0] for limit in found.limits] == pytest.approx([1 - reach, 1 + reach])
    assert found.bias[1] <= 1 <= found.bias[2]


def test_limits_of_several_images_a_patient():
    """Patients differ by SD 3, their images by SD 1: a new image of a new patient by √10, not by less."""
    rng = np.random.default_rng(1)
    unit = np.repeat(np.arange(3000), 4)
    difference = rng.normal(0, 3, 3000)[unit] + rng.normal(0, 1, 12_000)
    assert spread_of_differences(difference, unit) == pytest.approx(np.sqrt(10), rel=0.02)
    few = spread_of_differences(np.array([0.0, 0.0, 4.0, 4.0]), np.array([0, 0, 1, 1]))
    assert few == pytest.approx(np.sqrt(8))  # within 0; between: SD of 0 and 4
    assert spread_of_differences(np.array([1.0, 3.0]), np.array([0, 1])) == pytest.approx(np.sqrt(2))
    assert np.isnan(spread_of_differences(np.array([1.0]), np.array([0])))


def test_intervals_resample_patients():
    """Ten images a patient that hardly differ are one: the interval is that of 30 patients, not of 300 images."""
    rng = np.random.default_rng(2)
    unit = np.repeat(np.arange(30), 10)
    true = rng.normal(20, 4, 300)
    measured = true + rng.normal(0, 2, 30)[unit] + rng.normal(0, 0.1, 300)
    by_patient, by_image = two_readers(true, measured, unit, 500), two_readers(true, measured, np.arange(300), 500)
    width = [one.bias[2] - one.bias[1] for one in (by_patient, by_image)]
    assert width[0] == pytest.approx(2 * 1.96 * 2 / np.sqrt(30), rel=0.25) and width[0] > 2.5 * width[1]
    assert (by_patient.units, by_image.units) == (30, 300)


def test_what_is_not_defined():
    found = two_readers([1, np.nan, 3], [2, 5, np.nan], ["a", "b", "c"])
    assert found.n == 1 and found.bias[0] == 1 and np.isnan(found.bias[1]) and np.isnan(found.icc[0])
    nothing = two_readers([np.nan], [1], ["a"])
    assert nothing.n == 0 and nothing.to_dict()["bias"] == [None, None, None]
