"""Paths through the skeleton, by hand."""

import numpy as np
import pytest

from wdlora.anatomy.skeleton.paths import kallinikos


def test_kallinikos_by_hand():
    """A tent over 4 steps: slopes 1, −1 (and one at the top), one bend of −2 there."""
    x = np.arange(5.0)
    points = np.stack([np.array([0, 1, 2, 1, 0.0]), x], 1)
    slopes, bends = np.array([1, -1, -1.0]), np.array([0, -2, 0.0])
    assert kallinikos(points) == pytest.approx(np.sqrt((slopes**2 + bends**2).sum()))
