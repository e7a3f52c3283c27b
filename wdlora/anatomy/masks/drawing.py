"""Fibres drawn into a mask."""

from collections.abc import Iterable

import numpy as np

from ..nerve_mask import Fibre

STEP_PX = 0.6
LEAST_RADIUS_PX = 0.75


def draw(fibres: Iterable[Fibre], shape: tuple[int, int], pixel_size_um: float) -> np.ndarray:
    """Mask bool [H, W] of the pixels whose centre lies within half a width of a centreline.

    Discs are stamped at most 0.6 px apart along every centreline; no fibre is thinner than 1.5 px, so that it
    stays connected on coarse grids.
    """
    height, width = shape
    centres, radii = _samples(fibres, pixel_size_um)
    # A margin all round lets stamps overhang; what lies farther outside is not drawn.
    reach = int(np.ceil(radii.max())) + 1 if len(radii) else 1
    near = (
        (centres[:, 0] > -reach)
        & (centres[:, 0] < width - 1 + reach)
        & (centres[:, 1] > -reach)
        & (centres[:, 1] < height - 1 + reach)
    )
    centres, radii = centres[near], radii[near]
    stride = width + 4 * reach
    canvas = np.zeros((height + 4 * reach) * stride, bool)
    columns, rows = np.floor(centres + 0.5).T.astype(np.int64)
    offset_x, offset_y = columns - centres[:, 0], rows - centres[:, 1]
    place = (rows + 2 * reach) * stride + columns + 2 * reach
    # Thin stamps take small windows: group by the window that the radius needs.
    window = np.ceil(radii + 0.5).astype(int)
    for half in np.unique(window):
        chosen = window == half
        step = np.arange(-half, half + 1)
        x2 = (offset_x[chosen, None] + step) ** 2
        y2 = (offset_y[chosen, None] + step) ** 2
        room = radii[chosen] ** 2
        inside = y2[:, :, None] <= (room[:, None] - x2)[:, None, :]
        around = (step[:, None] * stride + step[None, :])[None]
        canvas[(place[chosen, None, None] + around)[inside]] = True
    return _filled(canvas.reshape(-1, stride)[2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width])


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
