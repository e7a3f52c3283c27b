"""Measured nerves drawn over the picture that they were measured in."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .panel import Biomarkers

COLOURS = {"free": "#5ec8ff", "branch": "#ffc145", "trunk": "#ff5d5d"}
"""Fibres that are connected to no trunk, branches, and main trunks (blue, amber, red), in the order of drawing."""

ON_TRUNK, ELSEWHERE = "#ffffff", "#b78cff"
"""Rings of branch points on trunks and of all others (white, violet)."""

FINENESS = 3  # drawn so many times larger, then reduced: smooth lines on the picture's own grid


def overlay(picture: np.ndarray, biomarkers: "Biomarkers", width_px: float = 1.6) -> np.ndarray:
    """The nerves of `biomarkers` as coloured lines and their branch points as rings: uint8 [H, W, 3].

    `picture` is uint8 grey [H, W] on the grid that was measured; a mask may be given as 0 and 255. Points are x
    (column) and y (row) with pixel centres at integers.
    """
    from PIL import Image, ImageDraw

    height, width = picture.shape
    ground = Image.fromarray(np.repeat(picture[..., None], 3, -1))
    layer = Image.new("RGBA", (width * FINENESS, height * FINENESS), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    for nerve in sorted(biomarkers.nerves, key=lambda nerve: list(COLOURS).index(nerve.kind)):
        points = [tuple(point) for point in ((nerve.path + 0.5) * FINENESS).tolist()]
        draw.line(points, fill=COLOURS[nerve.kind], width=max(1, round(width_px * FINENESS)), joint="curve")
    radius = 2.6 * FINENESS
    places = ((biomarkers.branch_xy + 0.5) * FINENESS).tolist()
    for (x, y), on_trunk in zip(places, biomarkers.branch_on_trunk, strict=True):
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, outline=ON_TRUNK if on_trunk else ELSEWHERE, width=FINENESS + 2)
    small = layer.resize((width, height), Image.Resampling.BOX)
    ground.paste(small, (0, 0), small)
    return np.asarray(ground)
