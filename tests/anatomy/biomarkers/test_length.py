"""Length against vector truth, rule set `keep_all`, in pixels (pixel size 1 µm)."""

import numpy as np
import pytest

from tests.anatomy.drawings import draw, length_inside
from tests.anatomy.random_plexus import random_plexus
from wdlora.anatomy import measure

WIDTHS = (2, 2.5, 3, 4, 5, 6, 7)


def measured(mask, rules="keep_all"):
    return measure(mask, 1.0, rules).length_mm * 1e3


@pytest.mark.parametrize("width", WIDTHS)
def test_lines_from_border_to_border(width):
    rng = np.random.default_rng(int(width * 10))
    errors = []
    for degrees in np.arange(0, 180, 5) + rng.uniform(-2, 2, 36):
        a = np.radians(degrees)
        centre, along = 191.5 + rng.uniform(-3, 3, 2), np.array([np.cos(a), np.sin(a)])
        points = np.array([centre - 600 * along, centre + 600 * along])
        errors.append(measured(draw([(points, width)])) / length_inside(points) - 1)
    # Required: 1 % and 2 %. Reached: .03 % and .15 %; no single line is off by more than 1 %.
    assert abs(np.mean(errors)) < 0.002
    assert np.std(errors) < 0.004
    assert np.abs(errors).max() < 0.01


@pytest.mark.parametrize("width", WIDTHS)
def test_free_lines_at_all_orientations(width):
    """With round ends, the line's end is the vector's: nothing is lost on average."""
    rng = np.random.default_rng(int(width * 10) + 1)
    errors = []
    for degrees in np.concatenate([np.arange(0, 180, 5) + rng.uniform(-2, 2, 36), [0, 45, 90, 135]]):
        a = np.radians(degrees)
        centre, along = 191.5 + rng.uniform(-3, 3, 2), np.array([np.cos(a), np.sin(a)])
        points = np.array([centre - 100 * along, centre + 100 * along])
        errors.append(measured(draw([(points, width)])) / 200 - 1)
    assert abs(np.mean(errors)) < 0.01
    assert np.std(errors) < 0.02
    assert np.abs(errors).max() < 0.04  # one pixel too few or too many at either end, in steps of the pixel grid


@pytest.mark.parametrize("width", WIDTHS)
def test_circles(width):
    rng = np.random.default_rng(int(width * 10) + 2)
    t = np.linspace(0, 2 * np.pi, 2000)
    errors = []
    for radius in (10, 15, 20, 30, 50, 80, 120):
        centre = 191.5 + rng.uniform(-1, 1, 2)
        points = centre + radius * np.stack([np.cos(t), np.sin(t)], 1)
        errors.append(measured(draw([(points, width)])) / (2 * np.pi * radius) - 1)
    assert abs(np.mean(errors)) < 0.005
    assert np.std(errors) < 0.01
    assert np.abs(errors).max() < 0.02  # the smallest: a ring as wide as its hole


def test_diagonal_lines_survive_thinning():
    """Zhang and Suen's thinning erases many of these partly or wholly."""
    rng = np.random.default_rng(0)
    for degrees in (45, 135):
        along = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
        for width in np.arange(2, 7.6, 0.25):
            centre = np.rint(383 + rng.uniform(-6, 6, 2)) / 2
            mask = draw([(np.array([centre - 100 * along, centre + 100 * along]), width)])
            assert measured(mask) == pytest.approx(200, abs=8)


@pytest.mark.slow
def test_plexus():
    errors, cleaned, widths = [], [], []
    for seed in range(200):
        strokes = random_plexus(seed)
        mask = draw(strokes)
        truth = sum(length_inside(points) for points, _ in strokes)
        result = measure(mask, 1.0, "keep_all")
        errors.append(result.length_mm * 1e3 / truth - 1)
        cleaned.append(measured(mask, "acc_like") / truth - 1)
        inside = [((p > -0.5) & (p < 383.5)).all(1) for p, _ in strokes]
        mean = np.concatenate([w[i] for (_, w), i in zip(strokes, inside, strict=True)]).mean()
        widths.append(result.mean_width_um / mean - 1)
    print(f"keep_all {np.mean(errors):+.4f} ± {np.std(errors):.4f}, acc_like {np.mean(cleaned):+.4f}")
    print(f"width {np.mean(widths):+.4f} ± {np.std(widths):.4f}")
    assert abs(np.mean(errors)) <= 0.01
    assert np.std(errors) <= 0.02
    assert np.mean(cleaned) < np.mean(errors)  # cleaning can only lose
    assert abs(np.mean(widths)) <= 0.02  # widths vary along every fibre; overlaps at branches cost some area
    assert np.std(widths) <= 0.02
