"""The windows in which trunks are counted: one for a usual field, several for a mosaic.

What a trunk is depends on the field: it runs from border to border of 400 µm. A mosaic is therefore divided
into windows of about that size, and its nerves are cut at their borders for the count.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..scale import FIELD_UM
from ..skeleton.graph import SkeletonGraph

LEAST_SEEN = 0.75
"""A window of a mosaic counts when at least this part of it was seen."""


@dataclass(frozen=True)
class Windows:
    """A grid of windows, numbered row by row."""

    rows: np.ndarray
    """int [down + 1]: the grid's lines in pixels, top to bottom."""
    columns: np.ndarray
    """int [across + 1]: the same from left to right."""
    counted: np.ndarray
    """bool [windows]: holds enough of the seen area."""
    area_px: int
    """Seen pixels in all windows that count."""

    @property
    def boxes(self) -> np.ndarray:
        """float64 [windows, 4]: top, bottom, left, right edge in pixel coordinates (pixel centres at integers)."""
        top, left = np.meshgrid(self.rows[:-1], self.columns[:-1], indexing="ij")
        bottom, right = np.meshgrid(self.rows[1:], self.columns[1:], indexing="ij")
        return np.stack([top, bottom, left, right], -1).reshape(-1, 4) - 0.5

    def number(self, points: np.ndarray) -> np.ndarray:
        """int [n]: the window of each (row, column); what lies outside the image belongs to the nearest."""
        row = np.searchsorted(self.rows[1:-1] - 0.5, points[:, 0], "right")
        column = np.searchsorted(self.columns[1:-1] - 0.5, points[:, 1], "right")
        return row * (len(self.columns) - 1) + column


def windows_along(length_um: float) -> int:
    """How many windows of about 400 µm lie along a side: one below 600 µm."""
    return max(1, round(length_um / FIELD_UM))


def windows_of(shape: tuple[int, int], pixel_um: tuple[float, float], valid: np.ndarray | None) -> Windows:
    """Divide an image into equal windows as near to 400 µm as whole numbers of them allow."""
    rows, columns = (
        np.rint(np.linspace(0, size, windows_along(size * um) + 1)).astype(int)
        for size, um in zip(shape, pixel_um, strict=True)
    )
    whole = np.outer(np.diff(rows), np.diff(columns))
    if valid is None:
        seen = whole
    else:
        seen = np.add.reduceat(np.add.reduceat(valid.astype(int), rows[:-1], 0), columns[:-1], 1)
    counted = ((seen >= LEAST_SEEN * whole) | (seen.size == 1)).ravel()
    return Windows(rows, columns, counted, int(seen.ravel()[counted].sum()))


def cut(graph: SkeletonGraph, windows: Windows) -> tuple[SkeletonGraph, np.ndarray, np.ndarray]:
    """Cut the graph's segments where they pass from one window into the next.

    Returns the graph, int [N], the window of each node, and int [cuts, 2], the arms that were one.
    """
    of_node = windows.number(graph.node)
    if len(windows.counted) == 1:
        return graph, of_node, np.empty((0, 2), int)
    of_point = windows.number(graph.points)
    passes = of_point[1:] != of_point[:-1]
    passes[graph.offsets[1:-1] - 1] = False
    at = np.flatnonzero(passes)  # the last point before each border; it also starts the next piece
    twice = np.ones(len(graph.points), int)
    twice[at] = 2
    source = np.repeat(np.arange(len(graph.points)), twice)
    begin = at + np.arange(len(at)) + 1  # where the next pieces start
    offsets = np.sort(np.concatenate([graph.offsets + np.searchsorted(at, graph.offsets, "left"), begin]))
    segment = np.searchsorted(graph.offsets, source[offsets[:-1]], "right") - 1
    piece = np.searchsorted(offsets, begin)  # the piece after each cut; the one before is piece − 1
    nodes = len(graph.node)
    ends = graph.ends[segment].copy()
    ends[piece - 1, 1] = nodes + 2 * np.arange(len(at))
    ends[piece, 0] = nodes + 2 * np.arange(len(at)) + 1
    pixel = graph.pixel[source]
    pixel[begin] = -1
    joined = np.stack([2 * (piece - 1) + 1, 2 * piece], 1)
    new = replace(
        graph,
        points=graph.points[source],
        offsets=offsets,
        ends=ends,
        node=np.concatenate([graph.node, np.repeat(graph.points[at], 2, axis=0)]),
        degree=np.concatenate([graph.degree, np.ones(2 * len(at), int)]),
        component=graph.component[segment],
        bridge=graph.bridge[segment],
        pixel=pixel,
    )
    return new, np.concatenate([of_node, np.stack([of_point[at], of_point[at + 1]], 1).ravel()]), joined


@dataclass(frozen=True)
class Border:
    """How the N nodes of a graph lie to the border of the window that each is in."""

    near: np.ndarray
    """bool [N]: in the border zone."""
    side: np.ndarray
    """int [N]: the nearest side; 0: top, 1: bottom, 2: left, 3: right."""
    side_um: np.ndarray
    """float64 [N]: mean of the window's height and width."""


def border(graph: SkeletonGraph, of_node: np.ndarray, boxes: np.ndarray, fraction: float) -> Border:
    """How each node lies to its window's border; `fraction` is the zone's depth in sides.

    `of_node` int [N] is the window of each node; `boxes` [windows, 4] as `Windows.boxes`.
    """
    box = boxes[of_node]
    row, column = graph.node[:, 0], graph.node[:, 1]
    row_um, column_um = graph.pixel_um
    distance = np.stack([row - box[:, 0], box[:, 1] - row, column - box[:, 2], box[:, 3] - column], 1)
    distance = distance * (row_um, row_um, column_um, column_um)
    side_um = ((box[:, 1] - box[:, 0]) * row_um + (box[:, 3] - box[:, 2]) * column_um) / 2
    return Border(distance.min(1) <= fraction * side_um, distance.argmin(1), side_um)
