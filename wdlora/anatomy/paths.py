"""Smooth paths from pixel paths, all at once: length, chord, curvature, and what of them lies in the image."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate1d

from .graph import SkeletonGraph


@dataclass(frozen=True)
class Paths:
    """Polylines, one after the other: path p is points[offsets[p]:offsets[p + 1]], (row, column) in pixels."""

    points: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.points[self.offsets[index] : self.offsets[index + 1]]

    @property
    def owner(self) -> np.ndarray:
        """int [n]: the path that each point belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


def join(graph: SkeletonGraph, courses: np.ndarray, offsets: np.ndarray) -> Paths:
    """String the segments' points together along the nerves that `courses` and `offsets` describe."""
    segment, back = courses // 2, courses % 2
    size = graph.offsets[segment + 1] - graph.offsets[segment]
    start = np.where(back, graph.offsets[segment + 1] - 1, graph.offsets[segment])
    step = 1 - 2 * back
    inner = np.ones(len(courses), bool)  # not the first of its nerve: its first point is there already
    inner[offsets[:-1]] = False
    start, size = start + step * inner, size - inner
    total = np.concatenate([[0], np.cumsum(size)])
    index = np.repeat(start, size) + np.repeat(step, size) * (np.arange(total[-1]) - np.repeat(total[:-1], size))
    return Paths(graph.points[index], total[offsets])


def smooth(paths: Paths, sigma: float, closed: np.ndarray | None = None) -> Paths:
    """Gaussian-smoothed paths, `sigma` in points; ends stay where they are (odd reflection about each end).

    `closed` bool [paths]: rings, which are smoothed all the way round.
    """
    radius = max(1, int(4 * sigma + 0.5))
    size = np.diff(paths.offsets)
    padded = size + 2 * radius
    bounds = np.concatenate([[0], np.cumsum(padded)])
    owner = np.repeat(np.arange(len(paths)), padded)
    k = np.arange(bounds[-1]) - bounds[owner] - radius  # −radius … size − 1 + radius
    last = size[owner] - 1
    first = paths.offsets[owner]
    mirrored = np.where(k < 0, -k, np.where(k > last, 2 * last - k, k))
    body = paths.points[first + np.clip(mirrored, 0, last)]
    end = paths.points[first + np.where(k < 0, 0, last)]
    outside = (k < 0) | (k > last)
    body = np.where(outside[:, None], 2 * end - body, body)
    if closed is not None and closed.any():
        ring = closed[owner] & outside
        body[ring] = paths.points[first[ring] + k[ring] % np.maximum(last[ring], 1)]
    t = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (t / sigma) ** 2)
    result = correlate1d(body, kernel / kernel.sum(), axis=0, mode="nearest")
    return Paths(result[~outside], paths.offsets)


def steps(paths: Paths, pixel_um: tuple[float, float], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Length in µm of the part inside the image of every step between two points, float64 [n − 1], and its path.

    Steps from one path to the next are 0. The image spans −0.5 … size − 0.5.
    """
    start, move = paths.points[:-1], np.diff(paths.points, axis=0)
    enter, leave = np.zeros(len(move)), np.ones(len(move))
    for axis, size in enumerate(shape):
        with np.errstate(divide="ignore", invalid="ignore"):
            low = (-0.5 - start[:, axis]) / move[:, axis]
            high = (size - 0.5 - start[:, axis]) / move[:, axis]
        still = move[:, axis] == 0
        inside = (start[:, axis] >= -0.5) & (start[:, axis] <= size - 0.5)
        enter = np.maximum(enter, np.where(still, np.where(inside, 0.0, 2.0), np.minimum(low, high)))
        leave = np.minimum(leave, np.where(still, 1.0, np.maximum(low, high)))
    length = np.hypot(move[:, 0] * pixel_um[0], move[:, 1] * pixel_um[1]) * np.maximum(leave - enter, 0)
    length[paths.offsets[1:-1] - 1] = 0
    return length, paths.owner[:-1]
