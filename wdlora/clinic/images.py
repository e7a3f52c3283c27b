"""Reading images as clinics have them: BMP, TIFF, PNG, JPEG and DICOM, 8 or 16 bits, with or without a pixel size.

Only pixels, pixel size and the area that holds image leave this module: no names, tags, comments, EXIF or paths.
"""

import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from ..anatomy.scale import PIXEL_SIZE_UM, pixel_sides
from ..errors import InputError
from .dicom import decode_dicom
from .field import plainness, valid_area
from .masks import OUTLINED, binary_mask, drawn_as_outlines, grey_of_mask
from .pictures import Decoded, decode_picture

MOST_ANISOTROPIC = 2.0
"""Ratio of a pixel's sides beyond which a given size is a slip of the pen: 1,04 for 1.04."""

HOW_TO_GIVE = 'give it: --pixel-size-um 1.04, or ROW,COLUMN, or "hrt" for a 384 × 384 image of a 400 µm HRT field'


@dataclass(frozen=True)
class ClinicImage:
    """A grey image as read.

    `pixels` [H, W] is uint8, uint16 or float32. `pixel_size_um` is (row, column), None where neither the file nor
    the caller gave it; `unusable_size` is then what the file says of it, if anything. `valid` bool [H, W] is false in
    the black surroundings of a mosaic and in an information bar inside the frame. `cropped` says what was cut off or
    left out, None where nothing was.
    """

    pixels: np.ndarray
    pixel_size_um: tuple[float, float] | None
    valid: np.ndarray
    cropped: str | None = None
    unusable_size: str = ""

    def require_pixel_size(self, name: str = "the image") -> tuple[float, float]:
        """The pixel size (row, column) in µm. Raises InputError, saying how to give it, where it is unknown."""
        return _required(self.pixel_size_um, self.unusable_size, name)


def parse_pixel_size(text: str) -> tuple[float, float] | str:
    """`"1.04"`, `"1.04,1.10"` (row, column) or `"hrt"` from a command line. Raises InputError on anything else."""
    if text.strip().lower() == "hrt":
        return "hrt"
    try:
        values = [float(part) for part in re.split(r"[,x×]", text)]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or not all(0 < v < np.inf for v in values):
        raise InputError(f"{text!r} is not a pixel size; {HOW_TO_GIVE}")
    if max(values) > MOST_ANISOTROPIC * min(values):
        raise InputError(
            f"{text!r} would be pixels of {values[0]:g} by {values[1]:g} µm: write decimals with a point, such as 1.04"
        )
    return pixel_sides(values[0] if len(values) == 1 else (values[0], values[1]))


def read_image(path: str | PathLike, pixel_size_um: float | tuple[float, float] | str | None = None) -> ClinicImage:
    """Read one image file.

    `pixel_size_um` in µm, one number or (row, column), overrides the file's metadata; `"hrt"` states that the image
    is a 400 µm field of the HRT Rostock module, and is refused on an image that is not 384 × 384. Without it the size
    comes from the metadata (resolution tags, ImageJ, OME, DICOM) where that is plausible, else it stays None. What the
    file says of orientation and of what is bright is obeyed (`decode_picture`, `decode_dicom`); colour is converted to
    grey; an HRT information bar is cut off and said. Raises InputError where the file is absent, empty, truncated, no
    image, of several frames, transparent in parts, or larger than `pictures.MAX_PIXELS`.
    """
    file = Path(path)
    decoded = decode(file)
    pixels = grey_of_colours(decoded.pixels) if decoded.pixels.ndim == 3 else decoded.pixels
    pixels, cropped = _without_bar(pixels)
    size = _given(pixel_size_um, pixels.shape, file) if pixel_size_um is not None else decoded.pixel_size_um
    valid, left_out = valid_area(pixels)
    return ClinicImage(pixels, size, valid, cropped or left_out, "" if size else decoded.unusable_size)


def decode(path: str | PathLike) -> Decoded:
    """The picture in a file: grey or in colour, with its bar of text. Raises InputError as `read_image` does."""
    file = Path(path)
    try:
        if file.is_dir():
            raise InputError(f"{file} is a folder: give an image file")
        if not file.exists():
            raise InputError(f"there is no file {file}: check the path")
        with open(file, "rb") as handle:
            head = handle.read(132)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{file} cannot be read ({reason}): check its name and permissions") from error
    if not head:
        raise InputError(f"{file} is empty: export or copy it again")
    if head[128:132] == b"DICM" or file.suffix.lower() in (".dcm", ".dicom"):
        return decode_dicom(file)
    return decode_picture(file)


@dataclass(frozen=True)
class ClinicMask:
    """A mask as read: `mask` bool [H, W], `pixel_size_um` and `cropped` as of `ClinicImage`.

    `notes` are sentences for whoever uses the mask.
    """

    mask: np.ndarray
    pixel_size_um: tuple[float, float] | None
    cropped: str | None = None
    unusable_size: str = ""
    notes: tuple[str, ...] = ()

    def require_pixel_size(self, name: str = "the mask") -> tuple[float, float]:
        """As `ClinicImage.require_pixel_size`."""
        return _required(self.pixel_size_um, self.unusable_size, name)


def read_mask(path: str | PathLike, pixel_size_um: float | tuple[float, float] | str | None = None) -> ClinicMask:
    """Read one mask of nerves, in grey or in colour, from an image file; `pixel_size_um` as for `read_image`.

    Raises InputError, besides what `read_image` raises, where the picture is no mask (`binary_mask`, `grey_of_mask`).
    """
    file = Path(path)
    decoded = decode(file)
    pixels, said = grey_of_mask(decoded.pixels) if decoded.pixels.ndim == 3 else (decoded.pixels, "")
    pixels, cropped = _without_bar(pixels)
    mask = binary_mask(pixels)
    size = _given(pixel_size_um, mask.shape, file) if pixel_size_um is not None else decoded.pixel_size_um
    hollow = OUTLINED if drawn_as_outlines(mask, size) else ""
    return ClinicMask(mask, size, cropped, decoded.unusable_size, tuple(filter(None, (said, hollow))))


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


def _required(size: tuple[float, float] | None, unusable: str, name: str) -> tuple[float, float]:
    if size is not None:
        return size
    if unusable:
        raise InputError(f"{name} says that {unusable}, which cannot be used; {HOW_TO_GIVE}")
    raise InputError(f"{name} does not say its pixel size; {HOW_TO_GIVE}")


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


def grey_of_colours(rgb: np.ndarray) -> np.ndarray:
    """Integers [H, W, 3] → [H, W]: one channel where all are equal, else the luma."""
    if (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 0] == rgb[..., 2]).all():
        return rgb[..., 0].copy()
    return _luma(rgb)


def _luma(rgb: np.ndarray) -> np.ndarray:
    """Grey of a colour image, ITU-R BT.601 weights, in its own integer type."""
    return np.rint(rgb[..., :3] @ np.array([0.299, 0.587, 0.114])).astype(rgb.dtype)


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
