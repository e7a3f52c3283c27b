"""Measured nerves drawn over the picture that they were measured in."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .biomarkers import Biomarkers

COLOURS = {"trunk": (255, 92, 92), "branch": (92, 160, 255), "free": (255, 196, 64)}
"""Main trunks, branches, and fibres that are connected to no trunk (red, blue, amber)."""

BRANCH_POINT = (96, 232, 130)
FINENESS = 3  # drawn so many times larger, then reduced: smooth lines on the picture's own grid


def overlay(picture: np.ndarray, biomarkers: "Biomarkers", width_px: float = 1.6) -> np.ndarray:
    """The nerves of `biomarkers` as coloured lines and their branch points as green rings: uint8 [H, W, 3].

    `picture` is uint8 grey [H, W] on the grid that was measured; a mask may be given as 0 and 255. Points are x
    (column) and y (row) with pixel centres at integers.
    """
    from PIL import Image, ImageDraw

    height, width = picture.shape
    ground = Image.fromarray(np.repeat(picture[..., None], 3, -1))
    layer = Image.new("RGBA", (width * FINENESS, height * FINENESS), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    for nerve in sorted(biomarkers.nerves, key=lambda nerve: nerve.kind == "trunk"):
        points = [tuple(point) for point in ((nerve.path + 0.5) * FINENESS).tolist()]
        draw.line(points, fill=(*COLOURS[nerve.kind], 255), width=max(1, round(width_px * FINENESS)), joint="curve")
    radius = 2.6 * FINENESS
    for x, y in (np.asarray(biomarkers.branch_xy).reshape(-1, 2) + 0.5) * FINENESS:
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, outline=(*BRANCH_POINT, 255), width=FINENESS + 2)
    small = layer.resize((width, height), Image.Resampling.BOX)
    ground.paste(small, (0, 0), small)
    return np.asarray(ground)
