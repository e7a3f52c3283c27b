"""What pictures say of themselves is obeyed: orientation, what is white, signed values, alpha, stacks, pixel shape.

`tifffile` writes what Pillow cannot; it is no part of how these files are read by Pillow.
"""

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from wdlora.clinic.images import read_image
from wdlora.clinic.pictures import turned_array
from wdlora.errors import InputError


@pytest.fixture
def picture():
    """A textured grey image without black, uint8 [96, 128]."""
    return np.random.default_rng(0).integers(20, 230, (96, 128)).astype(np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_arrays_turn_as_pillow_turns_pictures(picture, orientation):
    image = Image.fromarray(picture)
    image.getexif()[274] = orientation
    assert (turned_array(picture, orientation) == np.asarray(ImageOps.exif_transpose(image))).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "lzw.tif"])
@pytest.mark.parametrize("deep", [False, True])
def test_orientation_is_obeyed_in_pixels_and_pixel_size(tmp_path, picture, orientation, suffix, deep):
    """The size is that of the pixels as stored: columns of 1.04 µm become rows where a picture is laid on its side."""
    if suffix == "jpg" and deep:
        return
    pixels = picture.astype(np.uint16) * 257 if deep else picture
    exif = Image.Exif()
    exif[274] = orientation
    form = {"quality": 100} if suffix == "jpg" else {}
    if suffix.endswith("tif"):
        form = {"tiffinfo": {274: orientation}} | ({"compression": "tiff_lzw"} if suffix == "lzw.tif" else {})
    else:
        form["exif"] = exif
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(file, dpi=(25400 / 1.04, 25400 / 1.3), **form)
    image = read_image(file)
    expected = turned_array(pixels, orientation)
    assert image.pixels.dtype == pixels.dtype and image.pixels.shape == expected.shape
    assert np.abs(image.pixels.astype(int) - expected).max() <= (4 if suffix == "jpg" else 0)
    size = (1.3, 1.04) if orientation < 5 else (1.04, 1.3)
    assert image.pixel_size_um == pytest.approx(size, rel=1e-3)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_in_which_zero_is_white(tmp_path, picture, compression):
    """8 bits Pillow turns round; of 16 bits and floating point it hands out the stored values."""
    for stored, white in ((picture, 255), (picture.astype(np.uint16) * 257, 65535)):
        tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite", compression=compression)
        assert (read_image(tmp_path / "a.tif").pixels == white - stored.astype(int)).all()
    tifffile.imwrite(tmp_path / "f.tif", (picture / np.float32(255)), photometric="miniswhite")
    assert read_image(tmp_path / "f.tif").pixels == pytest.approx(1 - picture / 255, abs=1e-6)
    tifffile.imwrite(tmp_path / "g.tif", picture.astype(np.float32), photometric="miniswhite")
    with pytest.raises(InputError, match=r"says that 0 is white, and holds no values from 0 to 1"):
        read_image(tmp_path / "g.tif")


def test_signed_values_keep_their_order(tmp_path, picture):
    for dtype, shift in ((np.int8, 128), (np.int16, 500), (np.int32, 70000)):
        stored = (picture.astype(np.int64) - shift).astype(dtype)
        tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack")
        assert (read_image(tmp_path / "a.tif").pixels == stored).all()
    large = picture.astype(np.uint32) * 2**24
    tifffile.imwrite(tmp_path / "a.tif", large, photometric="minisblack")
    assert read_image(tmp_path / "a.tif").pixels == pytest.approx(large.astype(float), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha", "unspecified"])
def test_grey_with_a_second_channel(tmp_path, picture, dtype, kind):
    """Read where the second says nothing, refused where it may; 16 bits with alpha were called no image."""
    white = np.iinfo(dtype).max
    pixels = picture.astype(dtype) * (white // 255)
    full = np.stack([pixels, np.full_like(pixels, white)], 2)
    write = {"photometric": "minisblack", "extrasamples": [kind], "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", full, **write)
    image = read_image(tmp_path / "a.tif")
    assert image.pixels.dtype == dtype and (image.pixels == pixels).all()
    full[:40, :, 1] = 0
    tifffile.imwrite(tmp_path / "a.tif", full, **write)
    with pytest.raises(InputError, match="transparent in parts" if "alpha" in kind else "a further channel"):
        read_image(tmp_path / "a.tif")


def test_sixteen_bits_with_alpha_as_png(tmp_path, picture):
    """Pillow reads them with 8 bits; they are grey, not colour."""
    import struct
    import zlib

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    stored = np.stack([picture.astype(">u2") * 257, np.full(picture.shape, 65535, ">u2")], 2).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in stored)
    header = struct.pack(">IIBBBBB", 128, 96, 16, 4, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    assert (read_image(tmp_path / "a.png").pixels == picture).all()


@pytest.mark.parametrize("said", ["images=7", "slices=7", "frames=7", "channels=7"])
def test_a_stack_of_imagej_behind_one_directory_is_refused(tmp_path, picture, said):
    Image.fromarray(picture).save(tmp_path / "s.tif", tiffinfo={270: f"ImageJ=1.54\n{said}\nunit=micron\n"})
    with pytest.raises(InputError, match="7 frames"):
        read_image(tmp_path / "s.tif")
    Image.fromarray(picture).save(tmp_path / "s.tif", tiffinfo={270: "ImageJ=1.54\nimages=1\n"})
    assert (read_image(tmp_path / "s.tif").pixels == picture).all()


def test_a_written_stack_of_imagej_is_refused(tmp_path, picture):
    tifffile.imwrite(tmp_path / "s.tif", np.stack([picture] * 3), imagej=True)
    with pytest.raises(InputError, match="3 frames"):
        read_image(tmp_path / "s.tif")


def test_a_pixel_size_that_cannot_be_used_is_said(tmp_path, picture):
    text = "ImageJ=1.54\nunit=mm\n"
    Image.fromarray(picture).save(tmp_path / "a.tif", tiffinfo={270: text, 282: 5.0, 283: 5.0, 296: 1})
    with pytest.raises(InputError, match=r"its pixels are 200 × 200 µm"):
        read_image(tmp_path / "a.tif").require_pixel_size()
    Image.fromarray(picture).save(tmp_path / "b.tif", dpi=(204, 98))
    with pytest.raises(InputError, match=r"its pixels are 2\.08 times as high as wide"):
        read_image(tmp_path / "b.tif").require_pixel_size()


def imagej(tmp_path, pixels, *lines, **form):
    """A TIFF with the text that ImageJ writes."""
    file = tmp_path / "j.tif"
    tifffile.imwrite(file, pixels, description="\n".join(("ImageJ=1.53t", *lines, "")), metadata=None, **form)
    return file


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_calibration_of_imagejs_that_rises_in_a_line_changes_nothing(tmp_path, picture, compression):
    """As of signed values, which ImageJ keeps as unsigned ones, and the function None."""
    for lines in (("cf=0", "c0=-32768", "c1=1", "vunit=Gray Value"), ("cf=20",), ("min=0", "max=200")):
        assert (read_image(imagej(tmp_path, picture, *lines, compression=compression)).pixels == picture).all()


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    "lines", [("cf=0", "c0=255", "c1=-1"), ("cf=0",), ("cf=21",), ("cf=8", "c0=1", "c1=2"), ("cf=1",)]
)
def test_a_calibration_of_imagejs_that_bends_or_falls_is_refused(tmp_path, picture, lines, deep):
    """Optical density, curves, falling lines, and a line without its slope; also where tifffile reads the file."""
    pixels = np.stack([picture, np.full_like(picture, 255)], -1).astype(np.uint16) * 257 if deep else picture
    form = {"extrasamples": ["unspecified"], "photometric": "minisblack", "planarconfig": "contig"} if deep else {}
    with pytest.raises(InputError, match=r"j\.tif says that its grey values stand for others .*, cf="):
        read_image(imagej(tmp_path, pixels, *lines, **form))
