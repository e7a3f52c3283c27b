"""Broad ridges: which lines are dropped, against the closed form of blurred Gaussian ridges."""

import numpy as np
import pytest

from wdlora.anatomy import trace
from wdlora.anatomy.tracing.broad import AROUND_UM, TIGHT_UM, WIDE_UM, Broad, broad_segments

SIZE, NERVE, RIDGE = 200, 1.2, 5.0
BETWEEN = 3.2
COLUMNS = {NERVE: 60, BETWEEN: 140, RIDGE: 140}


def ridges(*sds):
    """Vertical Gaussian ridges of these SDs in px, and their centrelines."""
    across = np.arange(SIZE, dtype=float)
    image = sum(np.exp(-(((across - COLUMNS[sd]) / sd) ** 2) / 2) for sd in sds)
    skeleton = np.zeros((SIZE, SIZE), bool)
    skeleton[:, [COLUMNS[sd] for sd in sds]] = True
    return np.tile(image, (SIZE, 1)), skeleton


def fine_share(sd):
    """A Gaussian ridge of SD s, blurred by b, keeps s / √(s² + b²) of its height."""
    tight, wide, around = (sd / np.hypot(sd, um) for um in (TIGHT_UM, WIDE_UM, AROUND_UM))
    return (tight - wide) / (tight - around)


def dropped(image, skeleton, width_um=9.0, **limits):
    rows, columns = np.nonzero(skeleton)
    score = np.where(columns == COLUMNS[NERVE], 2.0, 1.0)
    lines = rows.astype(float), columns.astype(float), np.full(len(rows), width_um), score
    broad = broad_segments(image, (1.0, 1.0), skeleton, lines, Broad(**limits), 1.0)
    return set(columns[broad].tolist())


@pytest.mark.parametrize("sd", [NERVE, RIDGE])
def test_the_share_is_that_of_the_closed_form(sd):
    image, skeleton = ridges(sd)
    share = fine_share(sd)
    assert dropped(image, skeleton, least=share * 1.02, of_typical=0) == {COLUMNS[sd]}
    assert dropped(image, skeleton, least=share * 0.98, of_typical=0) == set()


def test_a_broad_ridge_goes_and_a_nerve_stays():
    assert fine_share(NERVE) == pytest.approx(0.61, abs=0.01) and fine_share(RIDGE) == pytest.approx(0.23, abs=0.01)
    for image, skeleton in (ridges(NERVE, RIDGE), ridges(RIDGE)):
        assert dropped(image, skeleton) == {COLUMNS[RIDGE]}
        assert dropped(image, skeleton, width_um=4.4) == set()  # as narrow as a nerve
        assert dropped(image, skeleton, shortest_um=SIZE + 1) == set()


def test_what_is_typical_of_the_image_counts():
    """Beside a nerve a ridge of little more than half its share goes; alone it stays."""
    assert Broad().least < fine_share(BETWEEN) < Broad().of_typical * fine_share(NERVE)
    assert dropped(*ridges(NERVE, BETWEEN)) == {COLUMNS[BETWEEN]}
    assert dropped(*ridges(BETWEEN)) == set()


def test_nothing_and_brightness():
    assert dropped(np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE), bool)) == set()
    image, skeleton = ridges(NERVE, RIDGE)
    assert dropped(7 * image, skeleton) == dropped(image, skeleton)


def test_the_filters_leave_out_a_ridge_under_noise():
    rng = np.random.default_rng(3)
    image, _ = ridges(NERVE, RIDGE)
    mask = trace(100 + 60 * image + rng.normal(0, 6, image.shape), 1.0, segmenter="lines")
    assert mask[:, 57:64].any(1).mean() > 0.9 and not mask[:, 130:151].any()
