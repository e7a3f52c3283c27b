"""The report's main plots as one picture, for a place that shows a picture and no page."""

import numpy as np
from numpy.typing import NDArray

from ...plotting import pixels
from ..pillars import SetComparison
from .plots import LIGHT, copies_plot, distance_plot, forest_plot, map_plot

GAP, HEADING = 18, 34
"""White pixels between two plots; height of a heading at 100 dpi."""
PARTS = (
    ("Fidelity: synthetic against real (dot); the band is real against real", distance_plot),
    ("Biomarkers: the band is the margin of equivalence, ±10 %", forest_plot),
    ("Map of the images' texture", map_plot),
    ("Copies: similarity to the nearest original", copies_plot),
)


def overview(found: SetComparison, dpi: int = 100) -> NDArray[np.uint8]:
    """Fidelity, biomarkers, map and copies, one below the other under their headings: uint8 [H, W, 3]."""
    drawn = []
    for heading, plot in PARTS:
        if plot is not forest_plot or found.biomarkers:
            drawn += [_heading(heading, dpi), pixels(plot(found, LIGHT), dpi)]
    width = max(one.shape[1] for one in drawn)
    paper = np.full((sum(one.shape[0] + GAP for one in drawn) - GAP, width, 3), 255, np.uint8)
    top = 0
    for one in drawn:
        left = (width - one.shape[1]) // 2
        paper[top : top + one.shape[0], left : left + one.shape[1]] = one
        top += one.shape[0] + GAP
    return paper


def _heading(text: str, dpi: int) -> NDArray[np.uint8]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, HEADING / 100), facecolor=LIGHT.paper)
    figure.text(0.02, 0.3, text, fontsize=12, fontweight="bold", color=LIGHT.ink)
    return pixels(figure, dpi)
