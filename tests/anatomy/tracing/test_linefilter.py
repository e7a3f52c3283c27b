"""The line filters' grid and normalisation."""

import numpy as np
import pytest
from scipy import ndimage

from wdlora.anatomy.tracing.linefilter import line_score, normalise, working_grid


def test_the_grid_maps_back_to_the_image():
    """A dot's strongest score lies where the dot is, on grids finer and coarser than the image."""
    for pixel_size_um in (0.4, 1.0, 2.5):
        image = np.zeros((150, 130), np.float32)
        image[70, 41] = 1.0
        pixels = (pixel_size_um, pixel_size_um)
        score, _, grid = line_score(ndimage.gaussian_filter(image, 2.0 / pixel_size_um), pixels)
        assert score.shape == grid.shape == working_grid(image.shape, pixels).shape
        row, column = grid.to_image(*(np.array([v]) for v in np.unravel_index(score.argmax(), score.shape)))
        assert np.hypot(row[0] - 70, column[0] - 41) * pixel_size_um < 1.6  # one step of the grid


def test_normalised_grain_is_even():
    """Speckle grows with the brightness; after normalisation both halves have the same grain."""
    speckle = np.random.default_rng(0).gamma(16, 1 / 16, (256, 256))
    image = speckle * np.where(np.arange(256) < 128, 40.0, 160.0)
    even = normalise(image, (1.0, 1.0))
    assert even[:, 20:100].std() / even[:, 156:236].std() == pytest.approx(1, abs=0.1)
