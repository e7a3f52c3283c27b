"""K-structures: dark bands of Bowman's layer with fainter ridges inside, which hide the nerves that they cross."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..optics import along, smooth_field
from .model import drawn

BANDS = (1, 5)
HALF_WIDTH_UM = (8.0, 26.0)
DEPTH = (0.15, 0.46)
"""How much darker than the background."""

RIDGES = (2, 6)
SHOULDERS = 0.4
"""Share of the bands with a bright shoulder on either side."""

HIDDEN = (0.2, 0.9)
"""Share of a nerve's light that a band takes."""

COARSE_UM = 2.0
"""Bands are drawn on a grid of such pixels: nothing in them is finer."""

MARKED = 0.3
"""The truth holds where a band has at least this share of its strength."""


@dataclass(frozen=True)
class Overlay:
    """Something in front of the nerves."""

    change: np.ndarray
    """float32 [H, W]: relative change of the background."""
    hidden: np.ndarray
    """float32 [H, W]: share of the nerves' light that it takes."""
    truth: np.ndarray
    """bool [H, W]: where it is."""


def nothing(shape: tuple[int, int]) -> Overlay:
    """No overlay."""
    return Overlay(np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, bool))


def k_structures(shape: tuple[int, int], um: float, chance: float, seed: int) -> Overlay:
    """The K-structures of a frame, or nothing; `um` is pixels a µm."""
    rng = drawn(seed, "k-structures", chance)
    if rng is None:
        return nothing(shape)
    zoom = max(COARSE_UM * um, 1.0)
    small = (int(np.ceil(shape[0] / zoom)) + 1, int(np.ceil(shape[1] / zoom)) + 1)
    change, hidden, mark = (np.zeros(small, np.float32) for _ in range(3))
    for _ in range(int(rng.integers(*BANDS))):
        band, shape_of = _band(small, um / zoom, rng)
        change += band
        hidden = np.maximum(hidden, shape_of * np.float32(rng.uniform(*HIDDEN)))
        mark = np.maximum(mark, shape_of)
    change, hidden, mark = (_enlarged(field, shape, zoom) for field in (change, hidden, mark))
    return Overlay(change, np.clip(hidden, 0, 1), mark > MARKED)


def _band(shape: tuple[int, int], um: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Relative change of one band [H, W] and its strength from 0 to 1."""
    side = _side(_path(shape, um, rng), shape) / np.float32(um)  # µm from the axis, signed
    width = np.float32(rng.uniform(*HALF_WIDTH_UM)) * (1 + np.float32(0.3) * smooth_field(shape, 50 * um, rng))
    width = np.maximum(width, 4)
    side = side + np.float32(2.5) * smooth_field(shape, 12 * um, rng)  # frayed edges
    strength = np.exp(-(np.abs(side / width) ** 3))
    depth = np.float32(rng.uniform(*DEPTH))
    change = -depth * strength
    for _ in range(int(rng.integers(*RIDGES))):
        at, sigma = rng.uniform(-0.75, 0.75) * width, rng.choice([rng.uniform(1.4, 2.5), rng.uniform(2.5, 5.5)])
        ridge = np.exp(-(((side - at) / sigma) ** 2) / 2) * np.clip(
            0.6 + 0.6 * smooth_field(shape, 30 * um, rng), 0, 1.5
        )
        change += np.float32(rng.uniform(0.35, 0.95)) * depth * ridge * strength
    if rng.random() < SHOULDERS:
        change += depth * np.float32(rng.uniform(0.1, 0.4)) * np.exp(-(((np.abs(side) / width - 1.3) / 0.35) ** 2))
    fade = np.clip(0.85 + 0.5 * smooth_field(shape, 70 * um, rng), 0, 1)
    return (change * fade).astype(np.float32), (strength * fade).astype(np.float32)


def _path(shape: tuple[int, int], um: float, rng: np.random.Generator) -> np.ndarray:
    """Points [n, 2] (x, y) of a winding line through the frame, a third of them ending within it."""
    reach = 1.1 * float(np.hypot(*shape))
    t = np.arange(-reach, reach, 0.7)
    angle, centre = rng.uniform(0, np.pi), rng.uniform(0.1, 0.9, 2) * (shape[1], shape[0])
    off = rng.uniform(3, 20) * um * along(len(t), 70 * um / 0.7, rng)
    off += rng.uniform(1, 5) * um * along(len(t), 24 * um / 0.7, rng)
    x = centre[0] + t * np.cos(angle) - off * np.sin(angle)
    y = centre[1] + t * np.sin(angle) + off * np.cos(angle)
    ends = int(rng.integers(len(t) // 3, 2 * len(t) // 3)) if rng.random() < 0.35 else len(t)
    return np.stack([x, y], 1)[:ends]


def _side(path: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Signed distance float32 [H, W] in pixels from a path: positive to the left of it."""
    margin = 24  # what lies beyond the frame has a band that reaches into it
    grid = tuple(n + 2 * margin for n in shape)
    row, column = (np.rint(path[:, k]).astype(int) + margin for k in (1, 0))
    inside = (row >= 0) & (column >= 0) & (row < grid[0]) & (column < grid[1])
    if not inside.any():
        return np.full(shape, 1e3, np.float32)
    row, column, heading = row[inside], column[inside], np.gradient(path, axis=0)[inside]
    on = np.zeros(grid, bool)
    on[row, column] = True
    along_x, along_y = np.zeros(grid, np.float32), np.zeros(grid, np.float32)
    along_x[row, column], along_y[row, column] = heading.T
    distance, (i, j) = ndimage.distance_transform_edt(~on, return_indices=True)
    y, x = np.mgrid[: grid[0], : grid[1]]
    left = along_x[i, j] * (y - i) - along_y[i, j] * (x - j) >= 0
    inner = np.s_[margin:-margin, margin:-margin]
    return np.where(left, distance, -distance)[inner].astype(np.float32)


def _enlarged(field: np.ndarray, shape: tuple[int, int], zoom: float) -> np.ndarray:
    """A field on the coarse grid on the fine one, linearly."""
    for axis, n in enumerate(shape):
        at = np.arange(n, dtype=np.float32) / np.float32(zoom)
        low = np.minimum(at.astype(int), field.shape[axis] - 2)
        share = (at - low).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        field = np.take(field, low, axis) * (1 - share) + np.take(field, low + 1, axis) * share
    return field
