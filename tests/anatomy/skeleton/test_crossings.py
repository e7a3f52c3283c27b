"""What counts as the place where two fibres pass over each other, on drawings whose length is known."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tests.anatomy.drawings import draw, length_inside, line, ring
from wdlora.anatomy import measure
from wdlora.anatomy.biomarkers.rules import ACC_LIKE

MM_PER_MM2 = 400 / 384 * 1e-3 / 0.16
"""CNFL of one pixel of length in a field of 384 × 384 pixels of 400/384 µm."""


def drawn(strokes):
    return sum(length_inside(points) for points, _ in strokes) * MM_PER_MM2


def eyelet(half, height):
    """A nerve from side to side that parts into two and joins again round a hole 2 × `half` pixels wide."""
    x = np.linspace(-half, half, 200)
    y = height * np.cos(np.pi * x / (2 * half))
    sides = [(np.stack([192 + x, 192 + sign * y], 1), 3.0) for sign in (1, -1)]
    return [*sides, line(-10, 192, 192 - half, 192, 3), line(192 + half, 192, 394, 192, 3)]


def loop(radius):
    """One fibre that comes round in a circle and passes over itself, at 60°."""
    t = np.radians(np.linspace(-60, 240, 400))
    circle = np.stack([192 + radius * np.cos(t), 150 - radius * np.sin(t)], 1)
    lead = 300 * np.array([np.sin(t[0]), np.cos(t[0])])
    return [(np.concatenate([[circle[0] + lead], circle, [circle[-1] + lead * (-1, 1)]]), 4.0)]


@pytest.mark.parametrize("apart", [104, 105, 106])
def test_two_rings_that_touch_keep_their_length(apart):
    strokes = [ring(192 - apart / 2, 192, 50, 6), ring(192 + apart / 2, 192, 50, 6)]
    assert measure(draw(strokes)).cnfl == pytest.approx(drawn(strokes), rel=0.02)


@pytest.mark.parametrize("bottom", [245, 246, 248])
def test_a_ring_on_a_nerve_keeps_its_length(bottom):
    """Where they touch, both share a stretch of up to 20 pixels, which is read once or twice."""
    strokes = [ring(192, 192, 50, 5), line(-10, bottom, 394, bottom, 5)]
    assert measure(draw(strokes)).cnfl == pytest.approx(drawn(strokes), rel=0.03)


@pytest.mark.parametrize(("half", "height"), [(6, 5), (8, 5), (8, 6), (9, 4), (10, 5), (12, 4)])
def test_an_eyelet_has_two_sides_and_two_branch_points(half, height):
    mask = draw(eyelet(half, height))
    result = measure(mask)
    assert result.cnfl == measure(mask, rules=replace(ACC_LIKE, crossings="branch")).cnfl
    assert result.cnfl == pytest.approx(drawn(eyelet(half, height)), rel=0.01)
    assert (result.trunks, result.branch_points) == (1, 2)


@pytest.mark.parametrize("radius", [20, 30, 45])
def test_a_fibre_that_passes_over_itself_has_no_branch_point(radius):
    result = measure(draw(loop(radius)))
    assert (result.trunks, result.branch_points) == (1, 0)
    assert result.cnfl == pytest.approx(drawn(loop(radius)), rel=0.01)


def bezier(rng, points=5):
    """A curve through the field, 200 points."""
    t, corners = np.linspace(0, 1, 200)[:, None], rng.uniform(-40, 424, (points, 2))
    while len(corners) > 1:  # de Casteljau
        corners = [(1 - t) * a + t * b for a, b in pairwise(corners)]
    return corners[0]


def test_passing_over_never_costs_length():
    """Random curves and rings that cross, touch and coincide: beside every junction counted as a branch."""
    rng = np.random.default_rng(9)
    lost = []
    for _ in range(40):
        width = rng.uniform(3, 6)
        strokes = [(bezier(rng), width) for _ in range(rng.integers(2, 5))]
        strokes += [ring(*rng.uniform(30, 354, 2), rng.uniform(8, 70), width) for _ in range(rng.integers(2, 6))]
        mask = draw(strokes)
        lost.append(1 - measure(mask).cnfl / measure(mask, rules=replace(ACC_LIKE, crossings="branch")).cnfl)
    assert max(lost) < 0.03
