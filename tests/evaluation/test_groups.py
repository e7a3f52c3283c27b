"""Two groups by hand, where nothing varies, and names that are no formulas."""

import math

import numpy as np
import pytest
from scipy import stats

from wdlora.errors import InputError
from wdlora.evaluation.groups import contrast, contrasts, group_picture


def test_welch_and_hedges_by_hand():
    a, b = np.array([1.0, 2.0, 3.0]), np.array([3.0, 5.0, 7.0, 9.0])
    found = contrast("cnfl", a, b)
    # variances 1 and 20/3: error² 1/3 + 5/3 = 2; freedom 4 / ((1/9)/2 + (25/9)/3) = 4.0755
    assert found.difference == 4
    assert found.high - 4 == pytest.approx(stats.t.ppf(0.975, 4 / (1 / 18 + 25 / 27)) * math.sqrt(2))
    assert found.effect == pytest.approx((1 - 3 / 19) * 4 / math.sqrt(22 / 5))


def test_pairs_by_hand():
    a, b = np.array([1.0, 2.0, 3.0, np.nan]), np.array([1.5, 2.4, 3.6, 9.0])
    found = contrast("cnfl", a, b, paired=True)
    # differences .5, .4, .6: mean .5, variance .01; pooled variance (1 + 1.11) / 2
    assert found.n == (3, 3) and found.difference == pytest.approx(0.5)
    assert found.high - found.difference == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)
    assert found.effect == pytest.approx((1 - 3 / 7) * 0.5 / math.sqrt((1 + 1.11) / 2))
    assert math.isnan(contrast("cnfl", np.array([1.0, 2.0]), np.array([3.0, 4.1]), paired=True).effect)
    with pytest.raises(InputError, match="2 and 1 images are not pairs"):
        contrasts([{"cnfl": 1.0}] * 2, [{"cnfl": 1.0}], paired=True)
    # Each defined somewhere, but nowhere both.
    assert contrasts([{"cnfl": 1.0}, {}], [{}, {"cnfl": 1.0}], paired=True) == []


def test_where_nothing_varies_there_is_no_interval():
    found = contrast("cnfd", np.array([12.5, 12.5]), np.array([6.25, 6.25]))
    assert found.difference == -6.25 and math.isnan(found.low) and math.isnan(found.high) and math.isnan(found.effect)
    assert found.to_dict()["difference_95"] == [None, None]


def test_a_name_is_no_formula():
    rows = [{"cnfl": 10.0}, {"cnfl": 12.0}]
    assert group_picture(rows, rows, ("$x^$", "a_$b"), {"cnfl": "CNFL"}).ndim == 3
