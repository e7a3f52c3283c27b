"""The nearest pairs of synthetic and original images as one picture, which shows real patients' images."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ...files import atomic_write
from ..copies.search import turned
from ..pillars import SetComparison

FOLDER, PICTURE = "contains-real-images", "nearest-pairs.png"
PAIRS, COLUMNS = 8, 2
SIDE, GAP, HEAD, LINE = 240, 10, 64, 22


def write_sheet(found: SetComparison, out: Path) -> Path:
    """Draw the most similar pairs, each original turned to its synthetic image, into a folder named for its content."""
    nearest = found.copies.images.found
    order = np.argsort(-np.where(np.isfinite(nearest.similarity), nearest.similarity, -1.0))[:PAIRS]
    originals = found.training or found.real
    rows = -(-len(order) // COLUMNS)
    wide = 2 * SIDE + 3 * GAP
    page = Image.new("RGB", (COLUMNS * wide + GAP, HEAD + rows * (SIDE + LINE + GAP)), (16, 20, 26))
    draw = ImageDraw.Draw(page)
    large, small = _font(17), _font(13)
    name = "training" if found.copies.trained else "real"
    draw.text((GAP, 8), "CONTAINS REAL PATIENTS' IMAGES: do not pass on with the report", (255, 140, 120), large)
    draw.text(
        (GAP, 34),
        f"The most similar pairs: synthetic image left, nearest {name} image right, turned to match",
        (200, 208, 218),
        small,
    )
    for number, place in enumerate(order.tolist()):
        left, top = GAP + number % COLUMNS * wide, HEAD + number // COLUMNS * (SIDE + LINE + GAP)
        original = int(nearest.place[place])
        if original < 0:
            continue
        synthetic = _square(found.reader.pixels(found.synthetic.images.items[place], "synthetic")[0])
        other = _square(found.reader.pixels(originals.images.items[original], originals.images.role)[0])
        other = turned(other, int(nearest.turn[place]))
        for column, image in enumerate((synthetic, other)):
            tile = Image.fromarray(np.ascontiguousarray(image)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            page.paste(tile, (left + column * (SIDE + GAP), top))
        alike = float(nearest.similarity[place])
        said = f"similarity {alike:.2f}" + (", above the threshold" if alike > found.copies.images.threshold else "")
        draw.text((left, top + SIDE + 3), said, (200, 208, 218), small)
    target = out / FOLDER / PICTURE
    with atomic_write(target) as temporary:
        page.save(temporary, format="PNG")
    return target


def _square(image: NDArray) -> NDArray:
    side = min(image.shape)
    top, left = ((length - side) // 2 for length in image.shape)
    return image[top : top + side, left : left + side]


def _font(size: int) -> ImageFont.FreeTypeFont:
    from matplotlib import get_data_path

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)  # Pillow's own lacks signs
