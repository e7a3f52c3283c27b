"""The pixels of PNG, TIFF, BMP and JPEG files as their makers meant them: upright, and bright where it is bright.

Pillow decodes; what it does not read of TIFF (two channels, 16 bits with alpha, raw ones on their side) tifffile does.
"""

import re
import struct
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..anatomy.scale import PIXEL_LIMITS_UM
from ..errors import InputError

MAX_PIXELS = 150_000_000
"""Larger images are refused before they are decoded."""

DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    struct.error,
    MemoryError,
    RuntimeError,
)
"""What decoders raise on damaged files."""

_WITH_ALPHA = ("L", "LA", "P", "PA", "RGB", "RGBA")
"""Modes of Pillow that may hold transparency and become RGBA."""

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PHOTOMETRIC, _BITS, _SAMPLES, _FORMAT, _ORIENTATION, _TEXT = 262, 258, 277, 339, 274, 270
_STRAIGHT_LINE, _NO_CALIBRATION = "0", "20"
"""Numbers of the functions in ImageJ's Calibration.java; others are curves and optical density."""

_UNITS_UM = {"µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "inch": 25400.0}


@dataclass(frozen=True)
class Decoded:
    """A file's picture: `pixels` [H, W] in grey (uint8, uint16 or float32), or uint8 [H, W, 3] in colour."""

    pixels: np.ndarray
    pixel_size_um: tuple[float, float] | None = None
    """(row, column), None where the file does not say it, or says what no microscope has."""
    unusable_size: str = ""
    """What the file says of its pixel size where that cannot be used: "its pixels are 200 × 200 µm"."""


def decode_picture(file: Path) -> Decoded:
    """The picture in a BMP, TIFF, PNG or JPEG file.

    EXIF and TIFF orientation, TIFF's sense of brightness (0 is white) and signed values are obeyed. Raises InputError
    for several frames (also ImageJ's stacks behind one directory), a calibration of ImageJ's by which grey values stand
    for others, transparency in parts, values that are not finite, and what is damaged or too large.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own limit is stricter than Pillow's error, looser than its warning
            with open(file, "rb") as handle:
                tiff = handle.read(4) in _TIFF_MAGIC
            try:
                with Image.open(file, formats=("PNG", "TIFF", "BMP", "JPEG")) as image:
                    check_pixels(file, image.width, image.height)
                    if not (tiff and _tags(image).get(_SAMPLES) == 2) and not misread(image):
                        return _decoded(image, file)
            except UnidentifiedImageError:
                if not tiff:
                    raise
            return _by_tifffile(file)
    except UnidentifiedImageError as error:
        raise InputError(f"{file} is not an image: give BMP, TIFF, PNG, JPEG or DICOM") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{file} has more than {MAX_PIXELS} pixels: give a part of it") from error
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(f"{file} is truncated or damaged ({error}): export or copy it again") from error


def check_pixels(file: Path, width: int, height: int) -> None:
    """Raise InputError for a picture of no or of too many pixels."""
    if width < 1 or height < 1:
        raise InputError(f"{file} is {width} × {height} pixels: export or copy it again")
    if width * height > MAX_PIXELS:
        raise InputError(f"{file} is {width} × {height} pixels; the limit is {MAX_PIXELS} in all: give a part of it")


def turn_left(image: Any) -> int:
    """The EXIF orientation (1 to 8) by which a Pillow image is still to be turned; Pillow turns TIFF by itself."""
    return 1 if image.format == "TIFF" else _orientation(image)


def misread(image: Any) -> bool:
    """Whether Pillow (13 at least) would take rows for columns: an uncompressed TIFF that is to be laid on its side."""
    return image.format == "TIFF" and _orientation(image) > 4 and image.info.get("compression") == "raw"


def deep_grey(image: Any, name: str) -> np.ndarray | None:
    """uint16 or float32 [H, W] of a decoded Pillow image in grey of more than 8 bits, or signed; None for others.

    `name` is the file's in errors. A TIFF in which 0 is white is turned round. Raises InputError where that is floating
    point beyond [0, 1], of which nobody knows what is white, and for values that are not finite.
    """
    tags = _tags(image)
    signed = tags.get(_FORMAT, (1,))[0] == 2
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        bits = int(tags.get(_BITS, (16,))[0])
        if bits == 32 and not signed:
            values &= 0xFFFFFFFF
    elif image.mode == "F":
        values, bits = np.asarray(image, np.float32), 0
    elif image.mode == "L" and signed:
        values, bits = np.asarray(image).view(np.int8).astype(np.int64), 8
    else:
        return None
    if tags.get(_PHOTOMETRIC) == 0:
        values = turned_round(values, bits, signed, name)
    return values.astype(np.uint8) if bits == 8 and values.min() >= 0 else as_grey(values, name)


def turned_round(values: np.ndarray, bits: int, signed: bool, name: str) -> np.ndarray:
    """Values in which the largest is black, as values in which it is white: integers of `bits`, or floats in [0, 1]."""
    if values.dtype.kind != "f":
        return (-1 if signed else 2**bits - 1) - values.astype(np.int64)  # signed values turn about −½
    if not (values.min() >= 0 and values.max() <= 1):
        raise InputError(f"{name} says that 0 is white, and holds no values from 0 to 1: save it in 8 or 16 bits")
    return 1 - values


def as_grey(values: np.ndarray, name: str) -> np.ndarray:
    """Grey values in the narrowest of uint8 (if they are), uint16 and float32. Raises InputError unless finite."""
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise InputError(f"{name} has values that are not finite: export it again as integers")
        return values.astype(np.float32)
    if values.dtype == np.uint8:
        return values
    inside = values.min() >= 0 and values.max() <= 65535
    return values.astype(np.uint16 if inside else np.float32)


def _decoded(image: Any, file: Path) -> Decoded:
    frames = getattr(image, "n_frames", 1)
    text = _description(image) if image.format == "TIFF" else ""
    _check_frames(file, frames, text)
    _check_calibration(file, text)
    turn = _orientation(image)
    size, unusable = _tiff_size(_tags(image), text) if image.format == "TIFF" else _picture_size(image)
    image.load()
    _refuse_transparency(image, file)
    pixels = deep_grey(image, str(file))
    if pixels is None:
        if image.mode in ("L", "LA", "La", "LAB"):
            pixels = np.array(image.getchannel(0))
        else:
            pixels = np.asarray(image.convert("RGB"))
    if image.format != "TIFF":
        pixels = turned_array(pixels, turn)
    return Decoded(np.ascontiguousarray(pixels), size[::-1] if size and turn > 4 else size, unusable)


def _check_frames(file: Path, frames: int, text: str) -> None:
    """Refuse several frames, also those that ImageJ writes behind one directory and names in the description."""
    if text.startswith("ImageJ"):
        named = [
            int(found) for found in re.findall(r"^(?:images|slices|frames|channels)=(\d{1,9})", text, re.MULTILINE)
        ]
        frames = max([frames, *named])
    if frames > 1:
        raise InputError(f"{file} holds {frames} frames: save each as a file of its own")


def _check_calibration(file: Path, text: str) -> None:
    """Refuse grey values that stand for others by a curve or a falling line, as ImageJ's Calibrate… states it.

    A rising line, as of signed values, leaves the picture as it is.
    """
    if not text.startswith("ImageJ"):
        return
    told = dict(re.findall(r"^(cf|c0|c1)=(.+)$", text, re.MULTILINE))
    kind = told.get("cf", _NO_CALIBRATION).strip()
    if kind == _NO_CALIBRATION or (kind == _STRAIGHT_LINE and _number(told.get("c1")) > 0):
        return
    raise InputError(
        f"{file} says that its grey values stand for others (a calibration of ImageJ's, cf={kind}), so that it is "
        "unclear what is bright: choose the function None in Analyze › Calibrate…, and save it again"
    )


def _orientation(image: Any) -> int:
    """EXIF orientation 1 to 8; 1 where there is none or an unknown one."""
    value = image.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def turned_array(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels [H, W, …] as stored → as they are to be shown, by an EXIF orientation of 1 to 8."""
    if orientation > 4:
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return pixels[::rows, ::columns]


def _refuse_transparency(image: Any, file: Path) -> None:
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in _WITH_ALPHA and image.has_transparency_data:
        lowest, highest = image.convert("RGBA").getchannel("A").getextrema()
        _refuse_alpha(lowest, highest, file)


def _refuse_alpha(lowest: float, highest: float, file: Path) -> None:
    if highest == 0:
        raise InputError(f"{file} is transparent all over: save it without alpha")
    if lowest < highest:
        raise InputError(f"{file} is transparent in parts, which may stand for black or white: save it without alpha")


def _by_tifffile(file: Path) -> Decoded:
    """A TIFF that Pillow does not read, or of which it would leave out a second channel."""
    import tifffile

    try:
        with tifffile.TiffFile(file) as handle:
            page: Any = handle.pages[0]
            check_pixels(file, page.imagewidth, page.imagelength)
            _check_frames(file, len(handle.pages), page.description or "")
            tags = {code: tag.value for code in (282, 283, 296, _ORIENTATION) if (tag := page.tags.get(code))}
            values, axes, extra = page.asarray(), page.axes, tuple(page.extrasamples)
            sense, bits, signed = int(page.photometric), int(page.bitspersample), page.sampleformat == 2
            text = page.description or ""
            _check_calibration(file, text)
    except InputError:
        raise
    except Exception as error:  # tifffile raises many kinds on damaged files, and for codecs that are not installed
        raise InputError(f"{file} cannot be decoded ({error}): save it uncompressed, in 8 or 16 bits") from error
    if axes == "SYX":
        values = np.moveaxis(values, 0, 2)
    elif axes not in ("YX", "YXS"):
        raise InputError(f"{file} has the axes {axes}: give one grey or RGB image per file")
    values = values[..., None] if values.ndim == 2 else values
    colours = values.shape[2] - len(extra)
    if (sense, colours) not in ((0, 1), (1, 1), (2, 3)):
        raise InputError(f"{file} has {values.shape[2]} channels: give one grey or RGB image per file")
    for kind, channel in zip(extra, np.moveaxis(values[..., colours:], 2, 0), strict=True):
        if int(kind):
            _refuse_alpha(channel.min(), channel.max(), file)
        elif channel.min() < channel.max():
            raise InputError(f"{file} has a further channel without a meaning: save the image alone")
    if colours == 3:
        white = 255 / np.iinfo(values.dtype).max if values.dtype.kind == "u" else 255.0
        pixels = np.clip(np.rint(values[..., :3] * white), 0, 255).astype(np.uint8)
    else:
        grey = values[..., 0]
        pixels = as_grey(turned_round(grey, bits, signed, str(file)) if sense == 0 else grey, str(file))
        pixels = pixels.astype(np.uint8) if bits == 8 and not signed else pixels
    turn = int(tags.get(_ORIENTATION, 1))
    size, unusable = _tiff_size(tags, text)
    return Decoded(turned_array(pixels, turn), size[::-1] if size and turn > 4 else size, unusable)


def _tags(image: Any) -> dict[int, Any]:
    """The tags of a TIFF by number; none of other formats."""
    return dict(getattr(image, "tag_v2", {}))


def _description(image: Any) -> str:
    """The text tag of a TIFF, in which ImageJ and OME keep what they know."""
    text = str(_tags(image).get(_TEXT, ""))
    with suppress(UnicodeError):
        text = text.encode("latin-1").decode("utf-8")  # Pillow reads text tags as Latin-1
    return text


Size = tuple[float, float] | None


def _tiff_size(tags: dict[int, Any], text: str) -> tuple[Size, str]:
    """Pixel size (row, column) in µm from OME, ImageJ or resolution tags; and what they say that cannot be used."""
    sizes = [re.search(rf'PhysicalSize{axis}="([0-9.eE+-]+)"', text) for axis in "YX"]
    units = [re.search(rf'PhysicalSize{axis}Unit="([^"]+)"', text) for axis in "YX"]
    if sizes[0] and sizes[1]:
        factors = [_unit_um(unit.group(1) if unit else "µm") for unit in units]
        return stated_size(float(sizes[0].group(1)) * factors[0], float(sizes[1].group(1)) * factors[1])
    resolution = [_number(tags.get(283)), _number(tags.get(282))]  # pixels a unit, y and x
    if not (resolution[0] > 0 and resolution[1] > 0):
        return None, ""
    named = re.search(r"^unit=(.+)$", text, re.MULTILINE) if text.startswith("ImageJ") else None
    if named:
        unit = _unit_um(named.group(1))
        return stated_size(unit / resolution[0], unit / resolution[1])
    unit = {2: 25400.0, 3: 10000.0}.get(tags.get(296, 2), 0.0)
    return _plausible(unit / resolution[0], unit / resolution[1]), _not_square(resolution)


def _picture_size(image: Any) -> tuple[Size, str]:
    """Pixel size (row, column) in µm from the resolution of a PNG, BMP or JPEG: print resolutions are none."""
    column, row = (_number(value) for value in (image.info.get("dpi") or image.info.get("aspect") or (0, 0))[:2])
    if not (row > 0 and column > 0):
        return None, ""
    found = _plausible(25400.0 / row, 25400.0 / column) if image.info.get("dpi") else None
    return found, "" if found else _not_square([row, column])


def _not_square(resolution: list[float]) -> str:
    """What resolutions (y, x) say where they give the shape of a pixel but not its size."""
    ratio = resolution[1] / resolution[0]
    return "" if abs(ratio - 1) < 0.01 else f"its pixels are {ratio:.3g} times as high as wide"


def _number(value: Any) -> float:
    """A tag's number, also as numerator and denominator; 0 where it is none."""
    with suppress(TypeError, ValueError, ArithmeticError):
        return value[0] / value[1] if isinstance(value, tuple) and len(value) == 2 else float(value)
    return 0.0


def stated_size(row: float, column: float) -> tuple[Size, str]:
    """A pixel size in µm that a file states: as it is where it is plausible, else None and what was stated."""
    found = _plausible(row, column)
    stated = max(row, column) > 0
    return found, "" if found or not stated else f"its pixels are {row:.4g} × {column:.4g} µm"


def _unit_um(name: str) -> float:
    """A unit's length in µm, 0 where it is unknown."""
    return _UNITS_UM.get(name.strip().lower().replace("\\u00b5", "µ").replace("μ", "µ"), 0.0)


def _plausible(row: float, column: float) -> Size:
    low, high = PIXEL_LIMITS_UM
    return (row, column) if low <= row <= high and low <= column <= high else None
