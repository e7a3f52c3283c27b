"""The report's main plots as one picture, for a place that shows a picture and no page."""

import numpy as np
from numpy.typing import NDArray

from ...plotting import pixels
from ..pillars import SetComparison
from .plots import LIGHT, copies_plot, distance_plot, forest_plot, map_plot

GAP = 18
"""White pixels between two plots."""


def overview(found: SetComparison, dpi: int = 100) -> NDArray[np.uint8]:
    """Fidelity beside its baseline, the biomarkers' differences, the map and the copies, one below the other:
    uint8 [H, W, 3].
    """
    shown = [distance_plot, *([forest_plot] if found.biomarkers else []), map_plot, copies_plot]
    drawn = [pixels(plot(found, LIGHT), dpi) for plot in shown]
    width = max(one.shape[1] for one in drawn)
    paper = np.full((sum(one.shape[0] + GAP for one in drawn) - GAP, width, 3), 255, np.uint8)
    top = 0
    for one in drawn:
        left = (width - one.shape[1]) // 2
        paper[top : top + one.shape[0], left : left + one.shape[1]] = one
        top += one.shape[0] + GAP
    return paper
