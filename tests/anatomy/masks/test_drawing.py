"""Rasterised fibres against areas and distances known in closed form."""

import numpy as np
import pytest

from wdlora.anatomy.fibre import Fibre
from wdlora.anatomy.masks.drawing import mask_of_fibres


def line(start, end, width, n=200):
    points = np.linspace(start, end, n)
    return Fibre(points, np.full(n, float(width)), "trunk")


@pytest.mark.parametrize("width", [2.0, 3.3, 5.0, 7.0])
@pytest.mark.parametrize("angle", [0.0, 17.0, 45.0, 71.0, 90.0])
def test_area_is_length_times_width(width, angle):
    """A line through the field at 25 places on the pixel grid. 3 %: stamps 0.6 px apart round its edge."""
    direction = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    centre = np.array([150.27, 149.64])
    drawn = [
        mask_of_fibres(
            [line(centre + shift - 400 * direction, centre + shift + 400 * direction, width, 900)], (300, 300), 1.0
        )
        for shift in np.stack([np.arange(25), np.arange(25) * 7 % 25], axis=1) / 25
    ]
    length = 300 / max(abs(direction))
    # The far corners of an oblique line are cut off by the frame; both edges together lose nothing on average.
    assert np.mean([mask.sum() for mask in drawn]) == pytest.approx(length * width, rel=0.03)


def test_pixels_within_half_a_width():
    """Against the distance of every pixel centre to a line; stamps 0.6 px apart may miss 0.03 px at the edge."""
    mask = mask_of_fibres([line((10.3, 12.2), (50.9, 41.7), 6.0)], (60, 64), 1.0)
    rows, columns = np.mgrid[:60, :64]
    a, b = np.array([10.3, 12.2]), np.array([50.9, 41.7])
    along = np.clip(((columns - a[0]) * (b - a)[0] + (rows - a[1]) * (b - a)[1]) / ((b - a) @ (b - a)), 0, 1)
    distance = np.hypot(columns - a[0] - along * (b - a)[0], rows - a[1] - along * (b - a)[1])
    assert mask[distance < 2.96].all()
    assert not mask[distance > 3.0].any()


def test_pixel_size_scales():
    fine = mask_of_fibres([line((20, 20), (180, 150), 6.0)], (200, 200), 0.5)
    coarse = mask_of_fibres([line((10, 10), (90, 75), 6.0)], (100, 100), 1.0)
    assert fine.sum() * 0.25 == pytest.approx(coarse.sum(), rel=0.02)


def test_nothing_and_outside():
    assert not mask_of_fibres([], (20, 30), 1.0).any()
    assert mask_of_fibres([], (20, 30), 1.0).shape == (20, 30)
    assert not mask_of_fibres([line((-90, -90), (-50, -40), 5)], (20, 30), 1.0).any()


def test_thin_fibres_stay_connected():
    from scipy.ndimage import label

    mask = mask_of_fibres([line((3.2, 4.4), (90.1, 61.8), 0.4)], (80, 100), 1.0)
    assert label(mask, np.ones((3, 3)))[1] == 1


def test_pinholes_are_filled():
    """Holes of one and two pixels go, one of four and notches open to the outside stay, also at the frame."""
    from wdlora.anatomy.masks.drawing import _filled

    mask = np.zeros((12, 24), bool)
    mask[1:9, 1:20] = True
    mask[3, 3] = mask[3, 6:8] = mask[5:7, 10] = False
    kept = mask.copy()
    kept[3, 3] = kept[3, 6:8] = kept[5:7, 10] = True
    kept[3:5, 14:16] = mask[3:5, 14:16] = False
    kept[1, 17] = mask[1, 17] = False
    kept[8, 4] = mask[8, 4] = False
    np.testing.assert_array_equal(_filled(mask), kept)
