"""Trunks and branch points on drawings that were counted by eye."""

import numpy as np
import pytest

from tests.anatomy.drawings import DRAWINGS, line
from tests.anatomy.drawings import draw as draw_strokes
from wdlora.anatomy import measure

VIEWS = {
    "as drawn": lambda m: m,
    "turned by 90°": np.rot90,
    "turned by 180°": lambda m: m[::-1, ::-1],
    "mirrored": lambda m: m[:, ::-1],
    "transposed": lambda m: m.T,
}


def counts(mask, **options):
    result = measure(mask, **options)
    return result.trunks, result.branch_points_on_trunks, result.branch_points


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda d: d.name)
def test_counts(drawing):
    mask = drawing.mask()
    expected = drawing.trunks, drawing.on_trunks, drawing.branch_points
    assert {name: counts(view(mask)) for name, view in VIEWS.items()} == dict.fromkeys(VIEWS, expected)


def test_densities_are_counts_over_area():
    ladder = next(d for d in DRAWINGS if d.name == "ladder").mask()
    result = measure(ladder)
    assert (result.cnfd, result.cnbd, result.ctbd) == pytest.approx((2 / 0.16, 8 / 0.16, 8 / 0.16))


def test_two_branches_are_not_a_crossing_when_they_bend_away():
    """Opposite branches that both climb: two junctions close together, but no fibre passes straight over."""
    mask = draw_strokes([line(190, -10, 190, 394), line(190, 226, 260, 150, 3), line(190, 214, 120, 138, 3)])
    assert counts(mask) == (1, 2, 2)


def test_chain_code_counts_a_crossing_as_others_do():
    cross = next(d for d in DRAWINGS if d.name == "crossing at 90°").mask()
    assert counts(cross, rules="chain_code")[2] >= 1


def test_the_brighter_path_is_the_trunk():
    """A fork with equal arms: an image decides which arm the trunk takes."""
    left, right = line(190, 188, 150, 394), line(190, 188, 230, 394)
    mask = draw_strokes([line(190, -10, 190, 190), left, right])
    for arm, other in ((left, right), (right, left)):
        image = np.where(draw_strokes([arm]), 250, np.where(draw_strokes([other]), 120, 180)).astype(np.uint8)
        result = measure(mask, image=image)
        trunk = next(n for n in result.nerves if n.kind == "trunk")
        assert np.abs(trunk.path[:, 0] - arm[0][1, 0]).min() < 3
