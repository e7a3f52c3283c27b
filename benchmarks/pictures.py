"""The pictures of docs/reference/biomarkers.md, docs/guides/phantoms.md and docs/guides/tracing.md.

`python -m benchmarks.pictures` draws them anew from the seeds below.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.anatomy import foreign_phantom
from wdlora.anatomy import phantom, sample_mask, trace
from wdlora.anatomy.biomarkers.plotting import annotated_picture
from wdlora.anatomy.phantoms.cornea.model import CorneaModel
from wdlora.anatomy.tracing.choices import NAMES
from wdlora.cohorts import COHORTS

IMAGES = Path(__file__).parents[1] / "docs" / "images"
GAP = 6
AMPLITUDES = (1.0, 0.6, 0.4)
BOTH, TRACED_ONLY, DRAWN_ONLY = (60, 205, 110), (240, 70, 50), (70, 120, 255)


def sheet(rows: list[list[np.ndarray]], side: int) -> Image.Image:
    """Pictures [H, W] or [H, W, 3] of one size in rows, `side` pixels each, white lines between them."""
    height, width = len(rows), len(rows[0])
    canvas = Image.new("RGB", (width * (side + GAP) - GAP, height * (side + GAP) - GAP), "white")
    for r, row in enumerate(rows):
        for c, pixels in enumerate(row):
            picture = Image.fromarray(pixels).convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
            canvas.paste(picture, (c * (side + GAP), r * (side + GAP)))
    return canvas


def marked(image: np.ndarray, traced: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """A tracing against the truth, over the image: uint8 [H, W, 3]."""
    colours = np.repeat(image[..., None], 3, -1)
    for where, colour in (
        (traced & drawn, BOTH),
        (traced & ~drawn, TRACED_ONLY),
        (drawn & ~traced, DRAWN_ONLY),
    ):
        colours[where] = (0.25 * colours[where] + 0.75 * np.array(colour)).astype(np.uint8)
    return colours


def biomarkers() -> Image.Image:
    """The panel of one phantom: Control, seed 3, measured on its mask."""
    mask = sample_mask("Control", 3)
    assert mask.biomarkers is not None
    picture = annotated_picture(mask.biomarkers, mask.mask, phantom(mask, 3), "Control, seed 3 (phantom 2)")
    return Image.fromarray(picture).resize((1280, 720))


def phantoms() -> Image.Image:
    """Masks of the three cohorts, their phantoms, and those of the common appearance: seed 40 (phantom 2)."""
    masks = [sample_mask(name, 40) for name in COHORTS]
    return sheet(
        [
            [np.where(mask.mask, 255, 120 * mask.all_fibres).astype(np.uint8) for mask in masks],
            [phantom(mask, 40) for mask in masks],
            [phantom(mask, 40, appearance="common") for mask in masks],
        ],
        300,
    )


def tracing() -> Image.Image:
    """Both image models at three nerve amplitudes, and what the network and the filters draw of them: seed 40."""
    own, other = sample_mask("Control", 40), foreign_phantom.spline_plexus(40)
    rows = []
    for truth, images in (
        (own.mask, [phantom(own, 40, model=CorneaModel(nerve_amplitude=a)) for a in AMPLITUDES]),
        (other.mask, [foreign_phantom.foreign_image(other, 40, a) for a in AMPLITUDES]),
    ):
        traced = [[marked(image, trace(image, segmenter=name), truth) for image in images] for name in NAMES]
        rows += [images, *traced]
    return sheet(rows, 300)


def main() -> None:
    """Draw all three."""
    for draw in (biomarkers, phantoms, tracing):
        draw().save(IMAGES / f"{draw.__name__}.jpg", quality=88)


if __name__ == "__main__":
    main()
