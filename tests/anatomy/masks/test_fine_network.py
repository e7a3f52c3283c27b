"""The fine network: how much there is, what it rests on, what is left of it, and that it leaves the mask alone."""

from dataclasses import replace

import numpy as np
import pytest

from wdlora.anatomy import degenerate, measure, sample_mask
from wdlora.anatomy.fibre import Fibre
from wdlora.anatomy.masks.fine_decline import fine_remaining
from wdlora.anatomy.masks.fine_network import FINE_SHARE, SHARE_SPREAD, drawn_share, fine_network
from wdlora.errors import InputError


def visible(fibres, shape) -> float:
    """Length of fibres within an image, pixels."""
    total = 0.0
    for fibre in fibres:
        middle = (fibre.points[1:] + fibre.points[:-1]) / 2
        inside = ((middle >= -0.5) & (middle <= np.array(shape[::-1]) - 0.5)).all(1)
        total += float((np.hypot(*np.diff(fibre.points, axis=0).T) * inside).sum())
    return total


def line(x0: float, y0: float, x1: float, y1: float, n: int = 200) -> Fibre:
    points = np.stack([np.linspace(x0, x1, n), np.linspace(y0, y1, n)], 1)
    return Fibre(points, np.full(n, 3.0), "fine")


@pytest.mark.parametrize("cohort", ["Control", "T1NoDPN", "T1DPN"])
def test_the_mask_is_that_of_recipe_1(cohort):
    both, first = sample_mask(cohort, 11), sample_mask(cohort, 11, targets={"fine_share": 0})
    assert (both.mask == first.mask).all() and both.target == first.target
    assert first.fine == () and (first.all_fibres == first.mask).all()
    assert (both.all_fibres & both.mask == both.mask).all()


def test_the_length_is_the_share_that_was_asked_for():
    """Within a fibre's length where there is place; the mean over masks within 5 %."""
    for share in (0.15, 0.3, 0.6):
        found = []
        for seed in range(12):
            nerves = sample_mask("Control", seed, targets={"fine_share": share})
            found.append(visible(nerves.fine, nerves.mask.shape) / visible(nerves.centrelines, nerves.mask.shape))
        assert np.mean(found) == pytest.approx(share, rel=0.05)


def test_the_drawn_share_has_the_median_and_spread_that_are_stated():
    drawn = np.log([drawn_share(seed, 0.0) for seed in range(4000)])
    assert np.median(drawn) == pytest.approx(np.log(FINE_SHARE), abs=0.03)
    assert drawn.std() == pytest.approx(SHARE_SPREAD, rel=0.05)
    assert sample_mask("Control", 3).fine_share == drawn_share(3, 0.0)


def test_the_network_branches_as_real_ones_do():
    """Branch points of everything that is there: 244 ± 105 a mm² between groups of real frames."""
    points = [measure(sample_mask("Control", seed).all_fibres, rules="keep_all").ctbd for seed in range(20)]
    assert 140 < np.mean(points) < 350


def test_fibres_are_thin_tortuous_and_of_their_own_kind():
    nerves = sample_mask("Control", 4)
    assert {fibre.kind for fibre in nerves.fine} == {"fine"}
    assert max(fibre.width_um.mean() for fibre in nerves.fine) < 4.0
    assert all(fibre.kind != "fine" for fibre in nerves.centrelines)

    def winding(fibres) -> float:
        arcs = sum(np.hypot(*np.diff(fibre.points, axis=0).T).sum() for fibre in fibres)
        return arcs / sum(np.hypot(*(fibre.points[-1] - fibre.points[0])) for fibre in fibres)

    assert winding(nerves.fine) > 1.08 > winding(nerves.centrelines)


def test_same_seed_same_network_and_no_other():
    first, second, other = (sample_mask("Control", seed).fine for seed in (6, 6, 7))
    assert all((a.points == b.points).all() for a, b in zip(first, second, strict=True))
    assert len(other) != len(first) or any((a.points != b.points).any() for a, b in zip(first, other, strict=True))


def test_without_nerves_there_is_no_network():
    assert fine_network((), (200, 200), 1.0, 0.3, 1) == ()


def test_a_share_that_finds_no_place_is_refused():
    with pytest.raises(InputError, match="longer than 2 times"):
        sample_mask("Control", 1, targets={"fine_share": 3.0})


def test_what_rests_on_what_is_gone_goes_too():
    """Two nerves, a connection, a sprout of the connection, and a loose piece: drawn by hand."""
    left, right = line(20, 0, 20, 100), line(80, 0, 80, 100)
    bridge, sprout, loose = line(20, 50, 80, 50), line(50, 50, 50, 80), line(130, 20, 130, 60)
    fine, nerves = (bridge, sprout, loose), [left.points, right.points]
    assert fine_remaining(fine, nerves, nerves, 1.0, 1.0, 0) == fine
    assert fine_remaining(fine, nerves, nerves[:1], 1.0, 1.0, 0) == (loose,)
    assert fine_remaining(fine, nerves, [left.points[:120], right.points], 1.0, 1.0, 0) == fine  # down to y = 60
    assert fine_remaining(fine, nerves, [left.points[:80], right.points], 1.0, 1.0, 0) == (loose,)  # to y = 40
    assert fine_remaining(fine, nerves, nerves, 0.0, 1.0, 0) == ()


def test_states_of_a_declining_plexus_are_nested():
    origin = sample_mask("Control", 2)
    before = origin.fine
    for severity in (0.25, 0.75, 1.0, 1.5, 2.0):
        now = degenerate(origin, severity).fine
        assert {id(fibre) for fibre in now} <= {id(fibre) for fibre in before}
        before = now
    assert visible(before, origin.mask.shape) < 0.5 * visible(origin.fine, origin.mask.shape)
    assert degenerate(replace(origin, fine_share=0.0), 1.0).fine == ()
