"""The images on which tracer and annotation differ most, as one picture, which shows real patients' images."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from ...anatomy.overlap import skeleton_of
from ...clinic.images import as_uint8
from ...files import atomic_write
from ..tracing_check import Pair, TracingCheck, both_masks
from .sheet import FOLDER

PICTURE = "worst.png"
SIDE, GAP, HEAD, LINE, COLUMNS = 384, 8, 66, 22, 2
BOTH, TRACED, ANNOTATED = (0, 205, 90), (255, 70, 60), (80, 150, 255)


def write_worst(found: TracingCheck, out: Path) -> Path:
    """Draw the worst images beside their overlays into a folder that is named for its content."""
    pairs = found.worst()
    rows = -(-len(pairs) // COLUMNS)
    wide = 2 * SIDE + 2 * GAP
    page = Image.new("RGB", (COLUMNS * wide + GAP, HEAD + rows * (SIDE + LINE + GAP)), (16, 20, 26))
    draw = ImageDraw.Draw(page)
    draw.text((GAP, 8), "CONTAINS REAL PATIENTS' IMAGES: do not pass on with the report", (255, 140, 120), _font(17))
    said = f"Green: both; red: {found.tracer} alone; blue: annotated alone; within {found.choices.tolerance_um:g} µm"
    draw.text((GAP, 36), said, (200, 208, 218), _font(14))
    for place, pair in enumerate(pairs):
        left, top = GAP + place % COLUMNS * wide, HEAD + place // COLUMNS * (SIDE + LINE + GAP)
        for column, picture in enumerate(_pictures(found, pair)):
            page.paste(_fitted(picture), (left + column * (SIDE + GAP // 2), top))
        overlap = f"precision {pair.precision:.2f}   recall {pair.recall:.2f}   clDice {pair.cl_dice:.2f}"
        said = f"image {pair.number:04d}   {overlap}"
        draw.text((left, top + SIDE + 3), said, (200, 208, 218), _font(13))
    target = out / FOLDER / PICTURE
    with atomic_write(target) as temporary:
        page.save(temporary, format="PNG")
    return target


def _pictures(found: TracingCheck, pair: Pair) -> tuple[NDArray, NDArray]:
    """The image and its overlay, uint8 [H, W, 3]."""
    image, traced, annotated = both_masks(pair.source, found.choices)
    size = image.require_pixel_size()
    grey = np.repeat(_stretched(as_uint8(image.pixels))[..., None], 3, 2)
    ours, theirs = skeleton_of(traced), skeleton_of(annotated)
    near = [
        ndimage.distance_transform_edt(~line, sampling=size) <= found.choices.tolerance_um if line.any() else line
        for line in (ours, theirs)
    ]
    drawn = grey.copy()
    for line, colour in ((ours & near[1], BOTH), (ours & ~near[1], TRACED), (theirs & ~near[0], ANNOTATED)):
        drawn[ndimage.binary_dilation(line)] = colour
    return grey, drawn


def _stretched(grey: NDArray) -> NDArray:
    """Brighter where the image is dark, for the eye."""
    high = max(float(np.percentile(grey, 99.5)), 1.0)
    return np.clip(grey * (230 / high), 0, 255).astype(np.uint8)


def _fitted(picture: NDArray) -> Image.Image:
    """A picture within a square of `SIDE` px on black."""
    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    square = Image.new("RGB", (SIDE, SIDE))
    square.paste(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2))
    return square


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
