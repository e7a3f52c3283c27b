"""Images as clinics have them: formats, pixel sizes, information bars, mosaics, and files that are none."""

import contextlib
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tests.clinic.nerve_strokes import nerves
from wdlora.clinic.images import as_uint8, parse_pixel_size, read_image
from wdlora.errors import InputError


@pytest.fixture
def picture():
    """A textured grey image without black, uint8 [96, 128]."""
    rng = np.random.default_rng(0)
    return rng.integers(20, 230, (96, 128)).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["bmp", "png", "tif", "jpg"])
def test_eight_bits(tmp_path, picture, suffix):
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(picture).save(file, **({"quality": 100} if suffix == "jpg" else {}))
    image = read_image(file)
    assert image.pixels.dtype == np.uint8 and image.pixels.shape == (96, 128)
    assert np.abs(image.pixels.astype(int) - picture).max() <= (3 if suffix == "jpg" else 0)
    assert image.pixel_size_um is None and image.cropped is None and image.valid.all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits(tmp_path, picture, suffix):
    deep = picture.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / f"a.{suffix}")
    image = read_image(tmp_path / f"a.{suffix}")
    assert image.pixels.dtype == np.uint16 and (image.pixels == deep).all()


def test_float_tiff(tmp_path, picture):
    Image.fromarray(picture.astype(np.float32) / 255).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif").pixels.dtype == np.float32
    Image.fromarray(np.full((9, 9), np.nan, np.float32)).save(tmp_path / "nan.tif")
    with pytest.raises(InputError, match="not finite"):
        read_image(tmp_path / "nan.tif")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA"])
def test_grey_stored_as_colour_comes_back_unchanged(tmp_path, picture, mode):
    Image.fromarray(picture).convert(mode).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png").pixels == picture).all()


def test_colour_becomes_luma(tmp_path):
    Image.fromarray(np.full((8, 8, 3), (200, 100, 50), np.uint8)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png").pixels == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)).all()


def test_pixel_size_from_resolution_tags(tmp_path, picture):
    grey = Image.fromarray(picture)
    grey.save(tmp_path / "a.png", dpi=(25400 / 1.04, 25400 / 1.3))  # columns 1.04 µm, rows 1.3 µm
    assert read_image(tmp_path / "a.png").pixel_size_um == pytest.approx((1.3, 1.04), rel=1e-3)
    grey.save(tmp_path / "a.tif", tiffinfo={282: 10000 / 0.5, 283: 10000 / 0.5, 296: 3})
    assert read_image(tmp_path / "a.tif").pixel_size_um == pytest.approx((0.5, 0.5), rel=1e-4)


def test_pixel_size_from_imagej_and_ome(tmp_path, picture):
    grey = Image.fromarray(picture)
    grey.save(tmp_path / "j.tif", tiffinfo={270: "ImageJ=1.53\nunit=micron\n", 282: 2.0, 283: 2.0, 296: 1})
    assert read_image(tmp_path / "j.tif").pixel_size_um == pytest.approx((0.5, 0.5))
    text = '<OME><Pixels PhysicalSizeX="0.8" PhysicalSizeXUnit="µm" PhysicalSizeY="900" PhysicalSizeYUnit="nm"/></OME>'
    grey.save(tmp_path / "o.tif", tiffinfo={270: text.encode()})
    assert read_image(tmp_path / "o.tif").pixel_size_um == pytest.approx((0.9, 0.8))


@pytest.mark.parametrize("dpi", [72, 96, 300, 1])
def test_print_resolutions_are_no_pixel_size(tmp_path, picture, dpi):
    Image.fromarray(picture).save(tmp_path / "a.png", dpi=(dpi, dpi))
    image = read_image(tmp_path / "a.png")
    assert image.pixel_size_um is None
    with pytest.raises(InputError, match=r"--pixel-size-um"):
        image.require_pixel_size("a.png")


def test_an_argument_overrides_the_metadata(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png", dpi=(25400, 25400))
    assert read_image(tmp_path / "a.png", 0.7).pixel_size_um == (0.7, 0.7)
    assert read_image(tmp_path / "a.png", (0.7, 0.9)).pixel_size_um == (0.7, 0.9)
    assert read_image(tmp_path / "a.png", "0.7,0.9").require_pixel_size() == (0.7, 0.9)
    with pytest.raises(InputError, match="pixel size"):
        read_image(tmp_path / "a.png", -1.0)


def test_hrt_must_be_said_and_must_fit(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "small.png")
    with pytest.raises(InputError, match="384 × 384"):
        read_image(tmp_path / "small.png", "hrt")
    Image.fromarray(np.tile(picture, (4, 3))).save(tmp_path / "field.png")
    assert read_image(tmp_path / "field.png").pixel_size_um is None  # never assumed
    assert read_image(tmp_path / "field.png", "hrt").pixel_size_um == (400 / 384, 400 / 384)


@pytest.mark.parametrize("text", ["", "a", "0", "-1", "1,2,3", "nan", "inf"])
def test_pixel_sizes_that_are_none(text):
    with pytest.raises(InputError):
        parse_pixel_size(text)
    assert parse_pixel_size("HRT") == "hrt" and parse_pixel_size("1.5") == (1.5, 1.5)
    assert parse_pixel_size("1.04,1.10") == (1.04, 1.10)
    with pytest.raises(InputError, match="would be pixels of 1 by 4 µm: write decimals with a point"):
        parse_pixel_size("1,04")


def test_grey_values_of_unknown_range_are_refused():
    levels = np.array([[0, 0.5, 1]], np.float32)
    assert as_uint8(levels).tolist() == [[0, 128, 255]]
    for pixels in (255 * levels, levels - 0.5, np.array([[np.nan, 1]], np.float32)):
        with pytest.raises(InputError, match="do not say what is white"):
            as_uint8(pixels)


@pytest.mark.parametrize("where", ["bottom", "top"])
def test_an_information_bar_is_cut_off_and_said(tmp_path, picture, where):
    field = np.tile(picture, (4, 3))
    bar = np.full((66, 384), 236, np.uint8)
    bar[10:50:4, 20:300:3] = 0  # something like text
    Image.fromarray(np.vstack([field, bar] if where == "bottom" else [bar, field])).save(tmp_path / "a.bmp")
    image = read_image(tmp_path / "a.bmp", "hrt")
    assert (image.pixels == field).all()
    assert image.cropped == f"an information bar of 66 rows at the {where} was cut off"


def test_a_tall_image_without_a_bar_stays(tmp_path, picture):
    tall = np.tile(picture, (5, 3))[:450]
    Image.fromarray(tall).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.pixels.shape == (450, 384) and image.cropped is None


def test_the_black_surroundings_of_a_mosaic_are_not_valid(tmp_path, picture):
    mosaic = np.zeros((300, 400), np.uint8)
    mosaic[60:156, 40:168] = picture
    mosaic[140:236, 150:278] = picture
    mosaic[100:110, 80:90] = 0  # a hole inside is image
    Image.fromarray(mosaic).save(tmp_path / "m.png")
    valid = read_image(tmp_path / "m.png").valid
    expected = np.zeros_like(mosaic, bool)
    expected[60:156, 40:168] = expected[140:236, 150:278] = True
    assert (valid != expected).mean() < 0.002  # corners of the outline, by the opening
    assert valid[100:110, 80:90].all()


def test_dark_and_black_images_are_valid_everywhere(tmp_path, picture):
    dark = np.clip(picture.astype(int) - 120, 0, 255).astype(np.uint8)  # half of the pixels clip to 0
    Image.fromarray(dark).save(tmp_path / "dark.png")
    assert read_image(tmp_path / "dark.png").valid.mean() > 0.99
    Image.fromarray(np.zeros((50, 50), np.uint8)).save(tmp_path / "black.png")
    assert read_image(tmp_path / "black.png").valid.all()


@pytest.mark.parametrize("suffix", ["bmp", "png", "tif", "jpg"])
def test_truncated_files_are_refused_by_name(tmp_path, picture, suffix):
    whole = tmp_path / f"whole.{suffix}"
    Image.fromarray(picture).save(whole)
    data = whole.read_bytes()
    for share in (0.02, 0.3, 0.7):
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(data[: max(int(len(data) * share), 3)])
        with pytest.raises(InputError, match=rf"cut\.{suffix}"):
            read_image(cut)


def test_damaged_bytes_never_escape_as_another_error(tmp_path, picture):
    rng = np.random.default_rng(1)
    for suffix in ("bmp", "png", "tif", "jpg"):
        Image.fromarray(picture).save(tmp_path / f"a.{suffix}")
        data = np.frombuffer((tmp_path / f"a.{suffix}").read_bytes(), np.uint8)
        for _ in range(40):
            broken = data.copy()
            places = rng.integers(0, min(len(data), 400), 6)
            broken[places] = rng.integers(0, 256, 6)
            (tmp_path / f"b.{suffix}").write_bytes(broken.tobytes())
            with contextlib.suppress(InputError):
                assert read_image(tmp_path / f"b.{suffix}").pixels.ndim == 2


def test_what_is_no_image(tmp_path, picture):
    with pytest.raises(InputError, match="no file"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(InputError, match="folder"):
        read_image(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(InputError, match="empty"):
        read_image(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("not an image at all, but long enough to have a header\n" * 9)
    with pytest.raises(InputError, match="not an image"):
        read_image(tmp_path / "text.png")
    frames = [Image.fromarray(picture), Image.fromarray(picture)]
    frames[0].save(tmp_path / "stack.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="2 frames"):
        read_image(tmp_path / "stack.tif")


@pytest.mark.parametrize("side", [13_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, side):
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(InputError, match="150000000"):
        read_image(tmp_path / "bomb.png")


def test_nothing_personal_leaves_the_reader(tmp_path, picture):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Patient", "Miller")
    exif = Image.Exif()
    exif[0x010E] = "Miller"
    Image.fromarray(picture).save(tmp_path / "miller.png", pnginfo=notes, exif=exif)
    image = read_image(tmp_path / "miller.png")
    assert "iller" not in repr(image)
    assert set(vars(image)) == {"pixels", "pixel_size_um", "valid", "cropped", "unusable_size"}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_pictures_that_are_transparent_in_parts_are_refused(tmp_path, mode):
    """Black strokes on a transparent ground: every channel but alpha is empty."""
    strokes = Image.merge("LA", (Image.new("L", (192, 192)), nerves())).convert("RGBA")
    if mode == "P":
        Image.fromarray(np.asarray(nerves()) // 255, "P").save(tmp_path / "a.png", transparency=0)
    else:
        strokes.convert(mode).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png is transparent in parts"):
        read_image(tmp_path / "a.png")
    Image.new("RGBA", (192, 192), (90, 90, 90, 0)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png is transparent all over"):
        read_image(tmp_path / "a.png")
