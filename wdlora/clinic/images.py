"""Reading images as clinics have them: BMP, TIFF, PNG, JPEG and DICOM, 8 or 16 bits, with or without a pixel size.

Only pixels, pixel size and the area that holds image leave this module: no names, tags, comments, EXIF or paths.
"""

import re
import struct
import warnings
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from ..anatomy.scale import PIXEL_LIMITS_UM, PIXEL_SIZE_UM, pixel_sides
from ..errors import InputError
from .field import plainness, valid_area

MAX_PIXELS = 150_000_000
"""Larger images are refused before they are decoded."""

WITH_ALPHA = ("L", "LA", "P", "PA", "RGB", "RGBA")
"""Modes of Pillow that may hold transparency and become RGBA."""

LABELS = 16
"""Whole numbers below this, if there are more than two, are labels and not brightness."""

RIM_PIXELS = 2
"""How far grey rims of nerves reach: those of smoothed, threefold enlarged and JPEG masks stay within."""

MOST_ANISOTROPIC = 2.0
"""Ratio of a pixel's sides beyond which a given size is a slip of the pen: 1,04 for 1.04."""

HOW_TO_GIVE = 'give it: --pixel-size-um 1.04, or ROW,COLUMN, or "hrt" for a 384 × 384 image of a 400 µm HRT field'


@dataclass(frozen=True)
class ClinicImage:
    """A grey image as read.

    `pixels` [H, W] is uint8, uint16 or float32. `pixel_size_um` is (row, column), None where neither the file nor
    the caller gave it. `valid` bool [H, W] is false in the black surroundings of a mosaic and in an information bar
    inside the frame. `cropped` says what was cut off or left out, None where nothing was.
    """

    pixels: np.ndarray
    pixel_size_um: tuple[float, float] | None
    valid: np.ndarray
    cropped: str | None = None

    def require_pixel_size(self, name: str = "the image") -> tuple[float, float]:
        """The pixel size (row, column) in µm. Raises InputError, saying how to give it, where it is unknown."""
        if self.pixel_size_um is None:
            raise InputError(f"{name} does not say its pixel size; {HOW_TO_GIVE}")
        return self.pixel_size_um


def parse_pixel_size(text: str) -> tuple[float, float] | str:
    """`"1.04"`, `"1.04,1.10"` (row, column) or `"hrt"` from a command line. Raises InputError on anything else."""
    if text.strip().lower() == "hrt":
        return "hrt"
    try:
        values = [float(part) for part in re.split(r"[,x×]", text)]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or not all(0 < v < np.inf for v in values):
        raise InputError(f"{text!r} is no pixel size; {HOW_TO_GIVE}")
    if max(values) > MOST_ANISOTROPIC * min(values):
        raise InputError(
            f"{text!r} would be pixels of {values[0]:g} by {values[1]:g} µm: write decimals with a point, such as 1.04"
        )
    return values[0], values[-1]


def read_image(path: str | PathLike, pixel_size_um: float | tuple[float, float] | str | None = None) -> ClinicImage:
    """Read one image file.

    `pixel_size_um` in µm, one number or (row, column), overrides the file's metadata; `"hrt"` states that the image
    is a 400 µm field of the HRT Rostock module, and is refused on an image that is not 384 × 384. Without it the size
    comes from the metadata (resolution tags, ImageJ, OME, DICOM PixelSpacing) where that is plausible, else it
    stays None. Colour is converted to grey; an HRT information bar is cut off and said. Raises InputError where the
    file is absent, empty, truncated, no image, of several frames, transparent in parts, or larger than `MAX_PIXELS`.
    """
    file = Path(path)
    if file.is_dir():
        raise InputError(f"{file} is a folder: give an image file")
    if not file.exists():
        raise InputError(f"there is no file {file}: check the path")
    try:
        with open(file, "rb") as handle:
            head = handle.read(132)
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): check its permissions") from error
    if not head:
        raise InputError(f"{file} is empty: export or copy it again")
    if head[128:132] == b"DICM" or file.suffix.lower() in (".dcm", ".dicom"):
        pixels, metadata_um = _read_dicom(file)
    else:
        pixels, metadata_um = _read_picture(file)
    pixels, cropped = _without_bar(pixels)
    size = _given(pixel_size_um, pixels.shape, file) if pixel_size_um is not None else metadata_um
    valid, left_out = valid_area(pixels)
    return ClinicImage(pixels, size, valid, cropped or left_out)


def binary_mask(pixels: np.ndarray) -> np.ndarray:
    """bool [H, W] from a mask read as an image: above half of its largest value.

    Grey rims of nerves, as smoothing, scaling and JPEG leave them, are cut there. Raises InputError where that is no
    mask: for small whole numbers (labels), where more than a tenth of the pixels are neither dark nor bright, and
    where whole nerves are so grey that the cut would take them away.
    """
    largest = float(pixels.max())
    if largest <= 0:
        return np.zeros(pixels.shape, bool)
    if largest < LABELS and pixels.dtype.kind in "iu" and len(levels := np.unique(pixels)) > 2:
        named = ", ".join(str(level) for level in levels)
        raise InputError(f"its values {named} are labels, not a mask of nerves: make nerves 255 and all else 0")
    share = pixels / largest
    if np.mean((share > 0.2) & (share < 0.8)) > 0.1:
        raise InputError("this is a grey image, not a mask of nerves: trace it first, as measure --image does")
    nerve = share > 0.5
    rim = ndimage.binary_dilation(nerve, np.ones((2 * RIM_PIXELS + 1,) * 2))
    drawn = nerve | (share > 0.2)
    if (lost := (drawn & ~rim).sum() / drawn.sum()) > 0.05:
        raise InputError(f"{lost:.0%} of what is drawn is grey and would not count as nerve: draw all nerves white")
    return nerve


def as_uint8(pixels: np.ndarray) -> np.ndarray:
    """Grey values as 8 bits: uint8 unchanged, uint16 and floats in [0, 1] scaled by their full range.

    Raises InputError for floats beyond that range, of which nobody can tell what is white.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return np.round(pixels / 257).astype(np.uint8)
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 1):
        raise InputError(f"grey values from {low:g} to {high:g} do not say what is white: save them in 8 or 16 bits")
    return np.round(pixels * 255).astype(np.uint8)


def _given(value: float | tuple[float, float] | str, shape: tuple[int, ...], file: Path) -> tuple[float, float]:
    if isinstance(value, str):
        value = parse_pixel_size(value)
        if isinstance(value, str):
            if shape != (384, 384):
                raise InputError(
                    f'{file} is {shape[1]} × {shape[0]} pixels; "hrt" stands for 384 × 384: give its pixel size in µm'
                )
            return PIXEL_SIZE_UM, PIXEL_SIZE_UM
    return pixel_sides(value)


def _read_picture(file: Path) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Grey pixels and metadata pixel size of a BMP, TIFF, PNG or JPEG."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own limit is stricter than Pillow's error, looser than its warning
            with Image.open(file, formats=("PNG", "TIFF", "BMP", "JPEG")) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise _too_large(file, image.width, image.height)
                frames = getattr(image, "n_frames", 1)
                if frames > 1:
                    raise InputError(f"{file} holds {frames} frames: save each as a file of its own")
                size = _metadata_size(image)
                image.load()
                return _grey(image, file), size
    except UnidentifiedImageError as error:
        raise InputError(f"{file} is not an image: give BMP, TIFF, PNG, JPEG or DICOM") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{file} has more than {MAX_PIXELS} pixels: give a part of it") from error
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, MemoryError) as error:
        raise InputError(f"{file} is truncated or damaged ({error}): export or copy it again") from error


def _too_large(file: Path, width: int, height: int) -> InputError:
    return InputError(f"{file} is {width} × {height} pixels; the limit is {MAX_PIXELS} in all: give a part of it")


def _grey(image: Any, file: Path) -> np.ndarray:
    """Grey pixels of a decoded Pillow image: uint8, uint16 or float32."""
    if image.mode in WITH_ALPHA and image.has_transparency_data:
        lowest, highest = image.convert("RGBA").getchannel("A").getextrema()
        if highest == 0:
            raise InputError(f"{file} is transparent all over: save it without alpha")
        if lowest < highest:
            raise InputError(
                f"{file} is transparent in parts, which may stand for black or white: save it without alpha"
            )
    if image.mode.startswith("I;16"):
        return np.asarray(image, np.uint16)
    if image.mode == "I":
        values = np.asarray(image)
        if values.min() >= 0 and values.max() <= 65535:
            return values.astype(np.uint16)
        return values.astype(np.float32)
    if image.mode == "F":
        values = np.asarray(image, np.float32)
        if not np.isfinite(values).all():
            raise InputError(f"{file} has values that are not finite: export it again as integers")
        return values
    if image.mode in ("L", "LA"):
        return np.array(image.getchannel(0))
    return grey_of_colours(np.asarray(image.convert("RGB")))


def grey_of_colours(rgb: np.ndarray) -> np.ndarray:
    """Integers [H, W, 3] → [H, W]: one channel where all are equal, else the luma."""
    if (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 0] == rgb[..., 2]).all():
        return rgb[..., 0].copy()
    return _luma(rgb)


def _luma(rgb: np.ndarray) -> np.ndarray:
    """Grey of a colour image, ITU-R BT.601 weights, in its own integer type."""
    return np.rint(rgb[..., :3] @ np.array([0.299, 0.587, 0.114])).astype(rgb.dtype)


def _metadata_size(image: Any) -> tuple[float, float] | None:
    """Pixel size (row, column) in µm from ImageJ, OME or resolution tags, where plausible."""
    text = ""
    if image.format == "TIFF":
        text = str(image.tag_v2.get(270, ""))
        with suppress(UnicodeError):
            text = text.encode("latin-1").decode("utf-8")  # Pillow reads text tags as Latin-1
        sizes = [re.search(rf'PhysicalSize{axis}="([0-9.eE+-]+)"', text) for axis in "YX"]
        units = [re.search(rf'PhysicalSize{axis}Unit="([^"]+)"', text) for axis in "YX"]
        if sizes[0] and sizes[1]:
            factors = [_unit_um(unit.group(1) if unit else "µm") for unit in units]
            return _plausible(float(sizes[0].group(1)) * factors[0], float(sizes[1].group(1)) * factors[1])
        resolution = image.tag_v2.get(282), image.tag_v2.get(283)  # pixels a unit, x and y
        if not (resolution[0] and resolution[1]):
            return None
        named = re.search(r"^unit=(.+)$", text, re.MULTILINE) if text.startswith("ImageJ") else None
        unit = _unit_um(named.group(1)) if named else {2: 25400.0, 3: 10000.0}.get(image.tag_v2.get(296, 2), 0.0)
        return _plausible(unit / float(resolution[1]), unit / float(resolution[0]))
    dpi = image.info.get("dpi")
    if not dpi or not dpi[0] or not dpi[1]:
        return None
    return _plausible(25400.0 / float(dpi[1]), 25400.0 / float(dpi[0]))


def _unit_um(name: str) -> float:
    """A unit's length in µm, 0 where it is unknown."""
    name = name.strip().lower().replace("\\u00b5", "µ").replace("μ", "µ")
    return {"µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "inch": 25400.0}.get(
        name, 0.0
    )


def _plausible(row: float, column: float) -> tuple[float, float] | None:
    low, high = PIXEL_LIMITS_UM
    return (row, column) if low <= row <= high and low <= column <= high else None


def _read_dicom(file: Path) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Grey pixels and PixelSpacing of a DICOM file of one frame."""
    try:
        import pydicom
    except ImportError as error:
        raise InputError(f'{file} is DICOM, which needs pydicom: python -m pip install "pydicom>=3.0"') from error
    try:
        data = pydicom.dcmread(file)
        frames, rows, columns = int(data.get("NumberOfFrames") or 1), int(data.Rows), int(data.Columns)
    except InputError:
        raise
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise InputError(f"{file} is no DICOM image or is damaged ({type(error).__name__}): export it again") from error
    if frames > 1:
        raise InputError(f"{file} holds {frames} frames: save each as a file of its own")
    if rows * columns > MAX_PIXELS:
        raise _too_large(file, columns, rows)
    if data.PhotometricInterpretation == "PALETTE COLOR":
        raise InputError(f"{file} holds numbers of colours, not grey values: export it in grey")
    try:
        pixels = np.asarray(data.pixel_array)
    except Exception as error:
        raise InputError(
            f"the pixels of {file} cannot be decoded ({type(error).__name__}): export it uncompressed, or again"
        ) from error
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        if str(data.PhotometricInterpretation).startswith("YBR"):
            pixels = pixels[..., 0]
        else:
            pixels = _luma(pixels)
    if pixels.ndim != 2:
        raise InputError(f"{file} is {pixels.ndim}-dimensional: give one grey image a file")
    if data.PhotometricInterpretation == "MONOCHROME1":  # the largest value is black
        darkest = -1 if data.PixelRepresentation else 2 ** int(data.BitsStored) - 1  # signed values turn about −½
        pixels = darkest - pixels.astype(np.int64)
    if pixels.dtype != np.uint8:
        inside = pixels.min() >= 0 and pixels.max() <= 65535
        pixels = pixels.astype((np.uint8 if pixels.max() < 256 else np.uint16) if inside else np.float32)
    return pixels, _spacing(data)


def _spacing(data: Any) -> tuple[float, float] | None:
    """PixelSpacing in µm, where it is stated and plausible; a spacing with decimal commas is none."""
    try:
        spacing = data.get("PixelSpacing")
        return _plausible(float(spacing[0]) * 1e3, float(spacing[1]) * 1e3) if spacing and len(spacing) == 2 else None
    except (ValueError, TypeError):
        return None


def _without_bar(pixels: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Cut off the information bar of an HRT export: a plain strip of text below or above the square image."""
    height, width = pixels.shape
    extra = height - width
    if not (width >= 200 and 8 <= extra <= 0.4 * width):
        return pixels, None
    for bar, rest, where in (
        (pixels[width:], pixels[:width], "bottom"),
        (pixels[:extra], pixels[extra:], "top"),
    ):
        if plainness(bar) > 0.5 and plainness(rest) < 0.35:
            return np.ascontiguousarray(rest), f"an information bar of {extra} rows at the {where} was cut off"
    return pixels, None
