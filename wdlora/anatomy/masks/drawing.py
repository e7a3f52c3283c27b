"""Fibres drawn into a mask."""

from collections.abc import Iterable

import numpy as np

from ..discs import paint_discs
from ..fibre import Fibre

STEP_PX = 0.6
"""Greatest distance of discs along a centreline."""

LEAST_RADIUS_PX = 0.75
"""No fibre is drawn thinner, so that it stays connected on coarse grids."""


def mask_of_fibres(fibres: Iterable[Fibre], shape: tuple[int, int], pixel_size_um: float) -> np.ndarray:
    """Mask bool [H, W] of the pixels whose centre lies within half a width of a centreline.

    Discs lie at most `STEP_PX` apart along every centreline.
    """
    centres, radii = _samples(fibres, pixel_size_um)
    return _filled(paint_discs(centres[:, 1], centres[:, 0], radii, shape))


def _filled(mask: np.ndarray) -> np.ndarray:
    """`mask` without holes of one or two pixels: in the notch of a branch they would read as a loop."""
    padded = np.pad(mask, 2, constant_values=True)
    inner = padded[1:-1, 1:-1]
    up, down, left, right = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    beside, above = ~inner & up & down, ~inner & left & right
    hole = beside & above
    ends = beside & left, beside & right, above & up, above & down
    hole[:, :-1] |= ends[0][:, :-1] & ends[1][:, 1:]
    hole[:, 1:] |= ends[0][:, :-1] & ends[1][:, 1:]
    hole[:-1] |= ends[2][:-1] & ends[3][1:]
    hole[1:] |= ends[2][:-1] & ends[3][1:]
    return (inner | hole)[1:-1, 1:-1]


def _samples(fibres: Iterable[Fibre], pixel_size_um: float) -> tuple[np.ndarray, np.ndarray]:
    """Disc centres [n, 2] and radii [n] in pixels along all fibres."""
    centres, radii = [np.zeros((0, 2))], [np.zeros(0)]
    for fibre in fibres:
        points = fibre.points
        if len(points) == 0:
            continue
        along = np.r_[0.0, np.cumsum(np.hypot(*np.diff(points, axis=0).T))]
        at = np.linspace(0.0, along[-1], max(int(np.ceil(along[-1] / STEP_PX)), 1) + 1)
        centres.append(np.stack([np.interp(at, along, points[:, 0]), np.interp(at, along, points[:, 1])], axis=1))
        radii.append(np.maximum(np.interp(at, along, fibre.width_um) / (2 * pixel_size_um), LEAST_RADIUS_PX))
    return np.concatenate(centres), np.concatenate(radii)
