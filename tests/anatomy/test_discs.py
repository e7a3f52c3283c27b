"""Discs against the distance of every pixel from their centres."""

import numpy as np
import pytest

from wdlora.anatomy.discs import AT_ONCE, paint_discs


@pytest.mark.parametrize("pixel", [(1.0, 1.0), (0.5, 0.9), (2.0, 1.3)])
def test_pixels_within_a_radius(pixel):
    rng = np.random.default_rng(3)
    rows, columns, radius = rng.uniform(-8, 48, 40), rng.uniform(-8, 68, 40), rng.uniform(0.2, 6, 40)
    y, x = np.mgrid[:40, :60]
    away = np.hypot((y[..., None] - rows) * pixel[0], (x[..., None] - columns) * pixel[1])
    np.testing.assert_array_equal(paint_discs(rows, columns, radius, (40, 60), pixel), (away <= radius).any(-1))


def test_more_discs_than_are_stamped_together():
    n = 2 * AT_ONCE + 5
    at = np.linspace(3, 96, n)
    mask = paint_discs(at, at, np.full(n, 1.5), (100, 100))
    assert mask[np.arange(3, 97), np.arange(3, 97)].all()
    assert not mask[np.abs(np.subtract.outer(np.arange(100), np.arange(100))) > 3].any()


def test_nothing_to_paint():
    none = np.empty(0)
    assert paint_discs(none, none, none, (3, 5)).tolist() == [[False] * 5] * 3
