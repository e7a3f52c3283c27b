"""Drawn targets: published moments, the zero without trunks, conditioning, interpolation."""

import numpy as np
import pytest

from wdlora.anatomy.masks.targets import count_distribution, draw_targets, drawable, target_table, tilted
from wdlora.cohorts import COHORTS
from wdlora.errors import InputError

KEYS = ("cnfl", "cnfd", "cnbd", "cnfw")
PER_COUNT = np.array([1.0, 1 / 0.16, 1 / 0.16, 1.0])


def uniform(n, seed=0):
    return np.random.default_rng(seed).random((n, 4))


@pytest.mark.parametrize("name", list(COHORTS))
def test_published_moments(name):
    """10⁵ targets: means within 1 %, SDs within 2 %; sampling alone moves the worst of them by 0.4 %."""
    drawn = target_table(name).draw(uniform(100_000)) * PER_COUNT
    for column, key in enumerate(KEYS):
        mean, sd = COHORTS[name].distributions[key]
        assert drawn[:, column].mean() == pytest.approx(mean, rel=0.01), key
        assert drawn[:, column].std() == pytest.approx(sd, rel=0.02), key


@pytest.mark.parametrize("name", list(COHORTS))
def test_marginals_of_the_table_are_exact(name):
    lengths, trunks, branch_points = target_table(name).marginals()
    n = np.arange(len(trunks))
    mean, sd = COHORTS[name].distributions["cnfd"]
    assert trunks @ n == pytest.approx(0.16 * mean, rel=1e-6)
    assert trunks @ n**2 - (trunks @ n) ** 2 == pytest.approx((0.16 * sd) ** 2, rel=1e-6)
    n = np.arange(len(branch_points))
    mean, sd = COHORTS[name].distributions["cnbd"]
    assert branch_points @ n == pytest.approx(0.16 * mean, rel=1e-6)
    assert branch_points @ n**2 - (branch_points @ n) ** 2 == pytest.approx((0.16 * sd) ** 2, rel=1e-6)
    assert lengths.sum() == pytest.approx(1)


@pytest.mark.parametrize("name", list(COHORTS))
def test_every_draw_can_be_drawn(name):
    cnfl, trunks, branch_points, _ = target_table(name).draw(uniform(20_000, 1)).T
    assert drawable(trunks, branch_points, cnfl).all()
    assert (branch_points[trunks == 0] == 0).all()


def test_trunkless_share_of_neuropathy():
    trunks = target_table("T1DPN").draw(uniform(50_000, 2))[:, 1]
    assert np.mean(trunks == 0) == pytest.approx(0.30, abs=0.02)


def test_tilted_moments():
    # Four values, mean 1.2 and SD 0.9, from a flat start.
    p = tilted(np.zeros(4), np.arange(4.0), 1.2, 0.9)
    assert p.sum() == pytest.approx(1)
    assert p @ np.arange(4) == pytest.approx(1.2)
    assert p @ np.arange(4) ** 2 == pytest.approx(0.81 + 1.44)


def test_tilted_refuses_what_no_distribution_has():
    with pytest.raises(InputError, match=r"no distribution from 0 to 3 has mean 1.5 and SD 2"):
        tilted(np.zeros(4), np.arange(4.0), 1.5, 2.0)


def test_counts_without_truncation_are_negative_binomial():
    from scipy.stats import nbinom

    mean, sd = 3.0, 2.5
    r = mean**2 / (sd**2 - mean)
    p = count_distribution(mean, sd, 60)
    np.testing.assert_allclose(p, nbinom.pmf(np.arange(61), r, r / (r + mean)), atol=1e-7)


def test_fixed_values_are_kept():
    drawn = target_table("Control").draw(uniform(500), {"cnfl": 20.0, "trunks": 3})
    assert (drawn[:, 0] == 20).all() and (drawn[:, 1] == 3).all()
    assert drawn[:, 2].std() > 1
    drawn = target_table("T1DPN").draw(uniform(500), {"trunks": 0})
    assert (drawn[:, 2] == 0).all() and drawn[:, 0].std() > 0.5


@pytest.mark.parametrize(
    "fixed",
    [{"trunks": 0, "branch_points": 3}, {"cnfl": 5.0, "trunks": 6}, {"cnfl": 80.0}, {"trunks": 40}, {"cnfl": 0.0}],
)
def test_what_cannot_be_drawn_is_refused(fixed):
    with pytest.raises(InputError):
        target_table("Control").draw(uniform(1), fixed)


def test_shifts_move_the_mean_and_keep_the_sd():
    mean, sd = COHORTS["Control"].distributions["cnfl"]
    drawn = target_table("Control", {"cnfl": -2.0}).draw(uniform(50_000))[:, 0]
    assert drawn.mean() == pytest.approx(mean - 2, rel=0.01)
    assert drawn.std() == pytest.approx(sd, rel=0.02)
    with pytest.raises(InputError, match=r"takes the mean CNFL of T1DPN to -0.24"):
        target_table("T1DPN", {"cnfl": -10.0})


def test_severity_interpolates_quantiles():
    numbers = uniform(20_000, 3)
    ends = [draw_targets(severity, numbers) for severity in (0.0, 1.0)]
    middle = draw_targets(0.5, numbers)
    np.testing.assert_allclose(middle, (ends[0] + ends[1]) / 2)
    # CNFL is drawn first, so its interpolated draw is the interpolated quantile.
    sorted_ends = (np.sort(ends[0][:, 0]) + np.sort(ends[1][:, 0])) / 2
    np.testing.assert_allclose(np.sort(middle[:, 0]), sorted_ends)
