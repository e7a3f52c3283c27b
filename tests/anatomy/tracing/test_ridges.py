"""Skeleton pixels as a graph."""

import numpy as np
import pytest

from wdlora.anatomy.tracing.ridges import Pixels


def test_skeleton_pixels_as_a_graph():
    skeleton = np.zeros((20, 20), bool)
    skeleton[10, 2:18] = True
    skeleton[3:10, 9] = True  # a T
    pixels = Pixels(skeleton)
    count, label = pixels.labels(pixels.degree < 3)
    assert count == 3 and (pixels.degree == 1).sum() == 3
    total = pixels.lengths(np.zeros(len(pixels), int), 1)[0]
    assert total == pytest.approx(15 + 7)
    assert sorted(np.bincount(label[label >= 0])) == [7, 7, 8]
