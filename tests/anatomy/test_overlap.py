"""Dice and clDice on masks small enough to count by hand."""

import numpy as np
import pytest

from wdlora.anatomy.overlap import cl_dice, dice


def bar(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((30, 60), bool)
    mask[top:bottom, left:right] = True
    return mask


def test_dice_by_hand():
    a, b = bar(10, 13, 10, 20), bar(10, 13, 15, 25)  # 30 pixels each, 15 shared
    assert dice(a, b) == 0.5
    assert dice(a, a) == 1.0
    assert dice(a, bar(20, 23, 10, 20)) == 0.0


def test_cl_dice_of_half_a_line():
    whole, half = bar(10, 15, 5, 55), bar(10, 15, 5, 30)
    # All of the half's skeleton lies in the whole (precision 1); about half of the whole's lies in the half.
    recall = 0.5
    assert cl_dice(half, whole) == pytest.approx(2 * recall / (1 + recall), abs=0.04)


def test_cl_dice_sees_topology_where_dice_does_not():
    line = bar(10, 15, 5, 55)
    cut = line & ~bar(10, 15, 28, 32)
    assert dice(cut, line) > 0.95
    thick = bar(8, 17, 5, 55)
    assert dice(thick, line) < 0.75
    assert cl_dice(thick, line) > 0.95  # same centreline, other width
    assert cl_dice(line, np.roll(line, 6, 0)) == 0.0  # centrelines outside each other


def test_cl_dice_sees_diagonal_nerves():
    """Straight lines near 45°, of which Zhang's thinning erases some wholly, count with their whole length."""
    row, column = np.mgrid[:200, :200].astype(float)
    for degrees in np.linspace(44, 46, 21):
        for width in (2.0, 2.5, 3.0, 4.0):
            sine, cosine = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
            away = np.abs((row - 99.6) * cosine - (column - 99.6) * sine)
            line = away <= width / 2
            upright = np.zeros_like(line)
            upright[20:180, 15:18] = True
            upright &= away > 10
            both = line | upright
            # The diagonal's skeleton has 198 pixels and more, the upright one at most 160: sensitivity below .46.
            assert cl_dice(upright, both) < 2 * 0.46 / 1.46
            assert cl_dice(both, both) == 1.0


def test_empty_masks():
    nothing, something = np.zeros((9, 9), bool), np.ones((9, 9), bool)
    assert dice(nothing, nothing) == cl_dice(nothing, nothing) == 1.0
    assert dice(nothing, something) == cl_dice(nothing, something) == 0.0


def test_symmetric():
    rng = np.random.default_rng(0)
    a, b = rng.random((40, 40)) < 0.3, rng.random((40, 40)) < 0.3
    assert dice(a, b) == dice(b, a)
    assert cl_dice(a, b) == pytest.approx(cl_dice(b, a), abs=1e-12)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="shape"):
        dice(np.ones((2, 2)), np.ones((2, 3)))
