"""Views keep image and mask registered and depend on nothing but their arguments."""

import numpy as np
import pytest

from training.views import View, draw_view
from wdlora.errors import InputError


def test_views_keep_image_and_mask_registered_and_are_reproducible():
    image = np.arange(100 * 120).reshape(100, 120)
    for index in range(16):
        view = draw_view(image.shape, 64, True, 1, "a", index)
        assert view == draw_view(image.shape, 64, True, 1, "a", index)
        assert np.array_equal(view.of(image) % 7 == 0, view.of(image % 7 == 0))
        assert view.of(image).shape == (64, 64)
    assert len({draw_view(image.shape, 64, True, 1, "a", index) for index in range(16)}) > 12
    assert draw_view(image.shape, 64, True, 1, "b", 0) != draw_view(image.shape, 64, True, 1, "a", 0)


def test_a_view_by_hand():
    array = np.array([[1, 2], [3, 4]])
    assert View(0, 0, 2, 2, quarter_turns=1).of(array).tolist() == [[2, 4], [1, 3]]
    assert View(0, 0, 2, 2, quarter_turns=1, mirror=True).of(array).tolist() == [[4, 2], [3, 1]]


def test_whole_images_are_cut_to_multiples_of_32():
    view = draw_view((100, 70), None, False, 0, "a", 0)
    assert (view.row, view.column, view.height, view.width) == (2, 3, 96, 64)
    with pytest.raises(InputError, match="smaller than the crop"):
        draw_view((20, 70), None, False, 0, "small", 0)
