"""Thinning keeps pieces and holes and ends one pixel thin, on any mask."""

import numpy as np
import pytest
from scipy import ndimage

from wdlora.anatomy.skeleton.thinning import thin

EIGHT = np.ones((3, 3))


def pieces_and_holes(mask):
    return ndimage.label(mask, EIGHT)[1], ndimage.label(~mask)[1]


@pytest.mark.parametrize("share", [0.02, 0.2, 0.4, 0.6, 0.8, 0.95])
def test_topology_of_noise(share):
    mask = np.pad(np.random.default_rng(int(100 * share)).random((90, 120)) < share, 1)
    line = thin(mask)
    assert not (line & ~mask).any()
    assert pieces_and_holes(line) == pieces_and_holes(mask)


def test_nothing_left_to_remove():
    """Removing any pixel that is not an end or a lone point would change pieces or holes."""
    mask = np.pad(ndimage.gaussian_filter(np.random.default_rng(1).random((40, 40)), 1.5) > 0.5, 1)
    line = thin(mask)
    neighbours = ndimage.convolve(line.astype(int), EIGHT) - 1
    for row, column in np.argwhere(line & (neighbours >= 2)):
        without = line.copy()
        without[row, column] = False
        assert pieces_and_holes(without) != pieces_and_holes(line)


def test_bar_becomes_its_middle_line():
    mask = np.zeros((15, 40), bool)
    mask[5:10, 3:37] = True
    line = thin(mask)
    assert line[7, 6:34].all()
    assert line.sum() <= 34
