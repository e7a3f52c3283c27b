"""Which part of an image is image: mosaics as PNG and JPEG, information bars inside the frame, and what is neither."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from wdlora.clinic.field import valid_area
from wdlora.clinic.images import read_image


def tissue(shape=(384, 384), level=70.0, seed=0) -> np.ndarray:
    """Speckle of 12 % with dark corners, uint8."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_gamma(1.7, shape), 0.62)
    y, x = (np.linspace(-1, 1, n) for n in shape)
    light = np.exp(-0.6 * np.add.outer(y * y, x * x))
    return np.clip(level * light * (1 + 0.12 * (noise - noise.mean()) / noise.std()), 0, 255).astype(np.uint8)


def as_jpeg(image: np.ndarray, quality=85) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def barred(height: int, shade: int, at_top=False, seed=0) -> np.ndarray:
    """Tissue under a bar with text."""
    image = tissue(seed=seed)
    bar = Image.new("L", (384, height), shade)
    text = ImageDraw.Draw(bar)
    text.text(
        (4, 1),
        "OD  Depth 54 µm  012  ART 3",
        fill=255 if shade < 128 else 0,
        font=ImageFont.load_default(min(height * 0.6, 14)),
    )
    image[slice(height) if at_top else slice(-height, None)] = np.asarray(bar)
    return image


@pytest.mark.parametrize("quality", [None, 75, 95])
@pytest.mark.parametrize("shade", [0, 8, 60, 200, 255])
@pytest.mark.parametrize(("height", "at_top"), [(13, False), (20, True), (27, False), (60, False)])
def test_a_bar_inside_the_frame_is_left_out(height, at_top, shade, quality):
    """All of it, and of the image at most the block of JPEG that it shares."""
    image = barred(height, shade, at_top)
    valid, note = valid_area(image if quality is None else as_jpeg(image, quality))
    rows = valid.all(1)
    assert (rows == valid.any(1)).all()
    left = 384 - rows.sum()
    assert height <= left + (quality is not None) * 2 and left <= height + 4
    assert rows[-1 if at_top else 0] and not rows[0 if at_top else -1]
    assert note == f"an information bar of {left} rows at the {'top' if at_top else 'bottom'} was left out"


@pytest.mark.parametrize("level", [4, 8, 15, 30, 70, 200])
def test_tissue_is_image_everywhere(level):
    for image in (tissue(level=level), as_jpeg(tissue(level=level), 70), tissue((500, 300), level)):
        valid, note = valid_area(image)
        assert valid.all() and note is None


def test_what_is_flat_all_over_has_no_bar():
    for image in (np.zeros((100, 100), np.uint8), np.full((100, 100), 80, np.uint8), np.eye(384, dtype=np.uint8) * 255):
        assert valid_area(image)[1] is None
    assert valid_area(np.zeros((100, 100), np.uint8))[0].all()


def mosaic(seed=3) -> tuple[np.ndarray, np.ndarray]:
    """Three tiles of different brightness on black, and where they are."""
    image, valid = np.zeros((800, 900), np.uint8), np.zeros((800, 900), bool)
    for k, (row, column) in enumerate(((37, 51), (211, 333), (405, 120))):
        image[row : row + 384, column : column + 384] = tissue(level=50 + 20 * k, seed=seed + k)
        valid[row : row + 384, column : column + 384] = True
    return image, valid


def test_the_outline_of_a_mosaic():
    """As PNG to the pixel but for corners; as JPEG nothing of the black, and a rim of 8 px less at most."""
    image, expected = mosaic()
    found, note = valid_area(image)
    assert note is None and (found != expected).mean() < 0.001
    for quality in (75, 85, 95):
        found, _ = valid_area(as_jpeg(image, quality))
        assert not found[~ndimage.binary_dilation(expected, iterations=1)].any()
        assert found[ndimage.binary_erosion(expected, iterations=8)].all()


def test_sixteen_bits_and_floats():
    image, _ = mosaic()
    expected = valid_area(image)[0]
    for other in (image.astype(np.uint16) * 16, image / 255.0):
        assert np.array_equal(valid_area(other)[0], expected)
    bar = barred(20, 40)
    assert valid_area(bar.astype(np.uint16) * 257)[1] == valid_area(bar)[1] is not None


def test_a_file_says_what_was_left_out(tmp_path):
    Image.fromarray(barred(20, 0)).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png", 1.04)
    assert read.pixels.shape == (384, 384) and not read.valid[-20:].any()
    assert "information bar" in read.cropped and "left out" in read.cropped
