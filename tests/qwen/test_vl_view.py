"""The one VL view."""

import numpy as np
import pytest
import torch

from wdlora.errors import InputError
from wdlora.qwen.pixels import as_picture, crop, pad_to_grid, to_uint8
from wdlora.qwen.vl_view import patches, view_size, vl_view


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((384, 384), (392, 392)),
        ((392, 392), (392, 392)),
        ((1024, 1024), (392, 392)),
        ((64, 96), (56, 84)),
        ((32, 32), (56, 56)),
        ((512, 256), (504, 252)),
        ((1024, 512), (560, 280)),  # 554.4 × 277.2 keeps 392² pixels
    ],
)
def test_sizes_are_multiples_of_28(size, expected):
    assert view_size(*size) == expected


def test_transformers_would_not_resize_a_view():
    """Its own rule (multiples of 28, at least 56² pixels) is the identity on every size that comes out."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    for height in range(1, 700, 23):
        for width in range(1, 2500, 87):
            size = view_size(height, width)
            if max(size) / min(size) < 200:  # beyond that transformers refuses
                assert smart_resize(*size, factor=28, min_pixels=56 * 56, max_pixels=12845056) == size


def test_a_picture_that_fits_is_left_alone():
    picture = torch.rand(1, 3, 392, 392)
    assert torch.equal(vl_view(picture), picture)


def test_view_keeps_range_and_constants():
    assert torch.allclose(vl_view(torch.full((384, 384), 0.25)), torch.tensor(0.25), atol=1e-6)  # fp32 weights
    view = vl_view(torch.rand(100, 130) > 0.5)
    assert view.min() >= 0
    assert view.max() <= 1


def test_reduction_is_antialiased():
    """One-pixel stripes at 1024 pixels are grey at 392, where plain bilinear sampling would alias."""
    stripes = (torch.arange(1024) % 2).float().expand(1024, 1024)
    inside = vl_view(stripes)[..., 10:-10, 10:-10]
    assert float((inside - 0.5).abs().max()) < 0.12


def test_patches_equal_those_of_transformers():
    from PIL import Image
    from transformers import Qwen2VLImageProcessor

    pixels = torch.randint(0, 256, (56, 84, 3), dtype=torch.uint8)
    processor = Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=56 * 84)
    theirs = processor(images=[Image.fromarray(pixels.numpy())], return_tensors="pt")
    values, grid = patches(vl_view(pixels))
    assert grid.tolist() == theirs["image_grid_thw"].tolist() == [[1, 4, 6]]
    assert torch.allclose(values, theirs["pixel_values"], atol=1e-6)  # fp32


def test_patches_of_several_views_lie_one_after_the_other():
    views = torch.rand(2, 3, 56, 84)
    both, grid = patches(views)
    assert grid.tolist() == [[1, 4, 6], [1, 4, 6]]
    assert torch.equal(both, torch.cat([patches(view[None])[0] for view in views]))


def test_pictures_of_every_kind_become_one():
    mask = np.zeros((4, 6), bool)
    mask[1, 2] = True
    kinds = [mask, mask.astype(np.uint8) * 255, mask.astype(np.float32), torch.from_numpy(mask)]
    kinds += [np.repeat(mask[..., None], 3, axis=2), torch.from_numpy(mask)[None, None]]
    for kind in kinds:
        image = as_picture(kind)
        assert image.shape == (1, 3, 4, 6)
        assert image.dtype == torch.float32
        assert image.sum() == 3
        assert (image[0, :, 1, 2] == 1).all()


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((2, 3, 4, 5, 6), np.float32),
        np.zeros((5, 4, 2), np.float32),
        np.full((4, 4), 255.0),
        np.full((4, 4), np.nan),
        np.zeros((4, 4), np.int64),
        np.zeros((0, 4), np.float32),
        np.array(["a"]),
    ],
)
def test_other_pictures_are_refused(picture):
    with pytest.raises(InputError):
        as_picture(picture)


def test_padding_is_undone():
    image = torch.rand(1, 3, 50, 70)
    padded = pad_to_grid(image)
    assert padded.shape[-2:] == (64, 96)
    assert float(padded[..., 50:, :].abs().max()) == 0
    assert torch.equal(crop(padded, 50, 70), image)


def test_bytes_survive_the_round_trip():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(to_uint8(as_picture(pixels)[0])[..., 0], pixels)
