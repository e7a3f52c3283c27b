"""One grid for all images of an evaluation: pixel size, field, and 8 bits of grey.

Features, neighbours and biomarkers depend on the pixel size and on the field, so images that differ are brought to the
coarsest pixel size and the smallest field that all share, which is said, or are refused where too little would be left.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..anatomy.scale import PIXEL_SIZE_UM, pixel_sides
from ..clinic.images import ClinicImage, as_uint8, decode, read_image
from ..errors import InputError
from .sets import ImageSet, Item

Size = float | tuple[float, float] | str
"""µm a pixel, (row, column), or "hrt", as `wdlora.clinic.images.read_image` takes it."""

SAME = 0.01
"""Pixel sizes within 1 % are one: 1.04 and 400/384."""

MOST_RATIO = 2.0
"""Coarser by more, images would lose the nerves that the others show."""

LEAST_SHARE = 0.25
"""A field smaller than this share of the largest image's is no common field."""

LEAST_SIDE = 64

COLOURED, COLOURED_SHARE = 16, 0.001
"""An image is coloured where the channels of more than a thousandth of its pixels differ by more than 16 levels."""

NEARLY_BLACK = 16

USUAL = (PIXEL_SIZE_UM, PIXEL_SIZE_UM)
"""µm a pixel (row, column) of 384 × 384 images that do not say it: those of the HRT's field."""


@dataclass(frozen=True)
class Seen:
    """What a first look at an image tells: enough to choose the grid."""

    shape: tuple[int, int]
    pixel_size_um: tuple[float, float] | None
    kind: str
    highest: float
    cropped: str
    surroundings: bool
    """Part of it is the black surroundings of a mosaic."""


@dataclass(frozen=True)
class CommonGrid:
    """What images become: `shape` (rows, columns) at `pixel_size_um`; `white` of 16-bit images by role."""

    shape: tuple[int, int]
    pixel_size_um: float
    white: tuple[tuple[str, float], ...] = ()


def look(item: Item, size: Size | None) -> Seen:
    """Read an image for its size, grey range and pixel size. Raises InputError, also where it is coloured."""
    image = _read(item, size)
    if image.unusable_size:
        image.require_pixel_size(str(item.source))  # a size of its own that cannot be used: none is assumed for it
    pixels = image.pixels
    return Seen(
        (pixels.shape[0], pixels.shape[1]),
        image.pixel_size_um,
        str(pixels.dtype),
        float(pixels.max()),
        image.cropped or "",
        not image.valid.all(),
    )


def choose(sets: Sequence[ImageSet], seen: Sequence[Sequence[Seen]]) -> tuple[CommonGrid, list[str]]:
    """The grid of all images, and notes on what is done to bring them there.

    Raises InputError where pixel sizes are known of some images alone or of none but 384 × 384 ones, where sizes
    differ too much, and where a set is nearly black.
    """
    notes: list[str] = []
    looks = [one for part in seen for one in part]
    sizes, assumed = _pixel_sizes(looks)
    if assumed:
        notes.append(f"{assumed} images do not say their pixel size: 400 µm fields of the HRT were assumed")
    coarsest = float(sizes.max())
    if (ratio := coarsest / float(sizes.min())) > MOST_RATIO:
        raise InputError(
            f"pixel sizes from {sizes.min():.3g} to {coarsest:.3g} µm differ {ratio:.1f}-fold: compare images of one "
            "magnification"
        )
    fields = np.array([one.shape for one in looks]) * sizes
    if ratio > 1 + SAME:
        changed = int((sizes < coarsest / (1 + SAME)).any(1).sum())
        notes.append(f"{changed} images with finer pixels were brought to {coarsest:.3g} µm a pixel, which blurs them")
        shapes = np.round(fields / coarsest).astype(int)
    else:
        shapes = np.array([one.shape for one in looks])
    common = shapes.min(0)
    if min(common) < LEAST_SIDE or common.prod() < LEAST_SHARE * shapes.prod(1).max():
        raise InputError(
            f"images from {_size(shapes[shapes.prod(1).argmin()])} to {_size(shapes[shapes.prod(1).argmax()])} pixels "
            "share too small a field: compare single frames of one size, not mosaics or crops"
        )
    if larger := int((shapes > common).any(1).sum()):
        notes.append(f"{larger} larger images were cropped to the central {_size(common)} pixels that all have")
    white = []
    for image_set, part in zip(sets, seen, strict=True):
        notes += _remarks(image_set, part)
        white.append((image_set.role, _white(image_set, part, notes)))
    return CommonGrid((int(common[0]), int(common[1])), coarsest, tuple(white)), notes


def place(item: Item, size: Size | None, grid: CommonGrid, role: str) -> tuple[NDArray, NDArray]:
    """The image on the grid: pixels uint8 [H, W], and where there is image bool [H, W]."""
    image = _read(item, size)
    pixels = image.pixels
    if pixels.dtype == np.uint16:
        pixels = np.round(np.minimum(pixels / dict(grid.white)[role], 1.0) * 255).astype(np.uint8)
    pixels, valid = as_uint8(pixels), image.valid
    sides = image.pixel_size_um or USUAL
    if max(abs(side / grid.pixel_size_um - 1) for side in sides) > SAME:
        shape = [max(1, round(n * side / grid.pixel_size_um)) for n, side in zip(pixels.shape, sides, strict=True)]
        wanted = (shape[1], shape[0])
        pixels = np.asarray(Image.fromarray(pixels).resize(wanted, Image.Resampling.BICUBIC))
        valid = np.asarray(Image.fromarray(valid).resize(wanted, Image.Resampling.NEAREST))
    top, left = ((have - want) // 2 for have, want in zip(pixels.shape, grid.shape, strict=True))
    window = slice(top, top + grid.shape[0]), slice(left, left + grid.shape[1])
    return np.ascontiguousarray(pixels[window]), np.ascontiguousarray(valid[window])


def _read(item: Item, size: Size | None) -> ClinicImage:
    """The image with its pixel size: as given for all, else the data set's, else the file's, else `otherwise_um`."""
    given = item.pixel_size_um if size is None else size
    if isinstance(item.source, np.ndarray):
        pixels = np.asarray(item.source)
        if pixels.ndim != 2 or pixels.dtype != np.uint8:
            raise InputError(f"images must be uint8 [H, W], not {pixels.dtype} {pixels.shape}")
        if isinstance(given, str):
            raise InputError("give the pixel size of images in memory in µm")
        return ClinicImage(pixels, None if given is None else pixel_sides(given), np.ones(pixels.shape, bool))
    _refuse_colour(item)
    image = read_image(item.source, given)
    if image.pixel_size_um is None and not image.unusable_size and item.otherwise_um is not None:
        return replace(image, pixel_size_um=pixel_sides(item.otherwise_um))
    return image


def _refuse_colour(item: Item) -> None:
    """Raise InputError for a picture whose channels differ: a tracing, an overlay, another modality."""
    rgb = decode(item.source).pixels  # type: ignore[arg-type]
    if rgb.ndim == 3 and (np.ptp(rgb, axis=2) > COLOURED).mean() > COLOURED_SHARE:
        raise InputError(f"{item.source} is coloured: give the grey image as it was exported, without drawings")


def _pixel_sizes(looks: Sequence[Seen]) -> tuple[NDArray, int]:
    """Pixel size (row, column) of every image [n, 2] in µm, and of how many it was taken for granted."""
    known = [one for one in looks if one.pixel_size_um is not None]
    if len(known) == len(looks):
        return np.array([one.pixel_size_um for one in looks]), 0
    others = [one for one in looks if one.pixel_size_um is None]
    if any(one.shape != (384, 384) for one in others):
        raise InputError(
            f"{len(others)} of {len(looks)} images do not say their pixel size: write it into the column "
            "pixel_size_um of dataset.csv, or give --pixel-size-um 1.04, or hrt for 384 × 384 of a 400 µm field"
        )
    return np.array([one.pixel_size_um or USUAL for one in looks]), len(others)


def _remarks(image_set: ImageSet, seen: Sequence[Seen]) -> list[str]:
    """What is odd about the images of one set, with counts."""
    found = []
    for text in sorted({one.cropped for one in seen} - {""}):
        count = sum(one.cropped == text for one in seen)
        found.append(f"{count} {image_set.role} images: {text}")
    if count := sum(one.surroundings for one in seen):
        found.append(
            f"{count} {image_set.role} images have black surroundings, which features and copies count as texture"
        )
    return found


def _white(image_set: ImageSet, seen: Sequence[Seen], notes: list[str]) -> float:
    """The value that is white in the 16-bit images of a set: all ones of as many bits as the set uses."""
    highest = {
        kind: max((one.highest for one in seen if one.kind == kind), default=-1.0) for kind in ("uint8", "uint16")
    }
    if 0 <= highest["uint8"] < NEARLY_BLACK and highest["uint16"] < 0:
        raise InputError(f"the {image_set.role} images are nearly black (highest grey value {highest['uint8']:g})")
    if highest["uint16"] < 0:
        return 65535.0
    bits = next(bits for bits in (8, 10, 12, 14, 16) if highest["uint16"] < 2**bits)
    notes.append(f"{image_set.role} images of {bits} bits were brought to 8")
    return float(2**bits - 1)


def _size(shape: NDArray) -> str:
    return f"{shape[1]} × {shape[0]}"
