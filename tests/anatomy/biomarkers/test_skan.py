"""An independent reading of the same masks: skan (Nunez-Iglesias et al. 2018) on scikit-image's skeleton."""

import numpy as np
import pytest

from tests.anatomy.drawings import DRAWINGS, draw
from tests.anatomy.random_plexus import random_plexus
from wdlora.anatomy import measure

skan = pytest.importorskip("skan")


def read_with_skan(mask):
    """Length in pixels, and junctions: groups of touching pixels of three and more neighbours."""
    from scipy import ndimage
    from skimage.morphology import skeletonize

    line = skeletonize(mask, method="lee") > 0  # Zhang's thinning loses lines near 45°
    length = skan.summarize(skan.Skeleton(line), separator="_")["branch_distance"].sum()
    neighbours = ndimage.convolve(line.astype(int), np.ones((3, 3), int)) - 1
    return length, ndimage.label(line & (neighbours >= 3), np.ones((3, 3)))[1]


def test_lengths_differ_by_the_chain_code_alone():
    ratios, chain_ratios = [], []
    for seed in range(12):
        mask = draw(random_plexus(seed))
        theirs, _ = read_with_skan(mask)
        ratios.append(theirs / (measure(mask, 1.0, "keep_all").length_mm * 1e3))
        chain_ratios.append(theirs / (measure(mask, 1.0, "chain_code").length_mm * 1e3))
    # Steps of 1 and √2 read 4 to 5.5 % too much; nerves end a few pixels short of the border.
    assert 1.03 < np.mean(ratios) < 1.06
    assert np.std(ratios) < 0.01
    assert np.mean(chain_ratios) == pytest.approx(1, abs=0.03)  # the rest: spurs, and pieces the rules drop


@pytest.mark.parametrize("name", ["Y", "T", "H", "ladder", "three branches", "branch on branch", "dense"])
def test_branch_counts_agree_without_crossings(name):
    drawing = next(d for d in DRAWINGS if d.name == name)
    mask = drawing.mask()
    theirs, ours = read_with_skan(mask)[1], measure(mask).branch_points
    # They count spurs and pixel clusters that we prune: never fewer, at most one in five more.
    assert ours <= theirs <= ours + max(1, ours // 5)
