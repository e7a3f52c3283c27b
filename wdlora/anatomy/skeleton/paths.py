"""Smooth paths from pixel paths, all at once; their length, chord and curvature inside the image."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import correlate1d

from .arms import arm_nodes
from .chains import Chains
from .graph import SkeletonGraph


@dataclass(frozen=True)
class Paths:
    """Polylines in an image."""

    points: np.ndarray
    """float64 [n, 2]: path p is points[offsets[p]:offsets[p + 1]], (row, column) in pixels."""
    offsets: np.ndarray
    """int [paths + 1]: where each path begins in `points`."""
    shape: tuple[int, int]
    """Height and width of the image; paths may run beyond it."""
    pixel_um: tuple[float, float]
    """Height and width of a pixel in µm."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.points[self.offsets[index] : self.offsets[index + 1]]

    @property
    def owner(self) -> np.ndarray:
        """int [n]: the path that each point belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


def join(graph: SkeletonGraph, chains: Chains) -> Paths:
    """String the segments' points together along chains of half-edges, one path a chain."""
    segment, back = chains.half_edges // 2, chains.half_edges % 2
    size = graph.offsets[segment + 1] - graph.offsets[segment]
    start = np.where(back, graph.offsets[segment + 1] - 1, graph.offsets[segment])
    step = 1 - 2 * back
    inner = np.ones(len(segment), bool)  # not the first of its chain: its first point is there already
    inner[chains.offsets[:-1]] = False
    start, size = start + step * inner, size - inner
    total = np.concatenate([[0], np.cumsum(size)])
    index = np.repeat(start, size) + np.repeat(step, size) * (np.arange(total[-1]) - np.repeat(total[:-1], size))
    return Paths(graph.points[index], total[chains.offsets], graph.shape, graph.pixel_um)


def reach_parents(paths: Paths, graph: SkeletonGraph, chains: Chains, direction: np.ndarray, bend: int) -> Paths:
    """Lead branches straight back to the axis of the nerve that they leave.

    Where two strips part at an acute angle, thinning leaves one line until they are apart, and the branch loses
    what lies before. The last `bend` points of a branch are replaced by the line on which its next `bend`
    points lie, up to the axis of the nerve that runs on at the junction. `direction` float64 [2S, 2] are the arms'.
    """
    partner = chains.partner
    arm = np.concatenate([chains.first, chains.last ^ 1])  # the arm at either end of each path
    path = np.tile(np.arange(len(paths)), 2)
    inward = np.repeat([1, -1], len(paths))
    tip = np.where(inward > 0, paths.offsets[path], paths.offsets[path + 1] - 1)
    node = arm_nodes(graph)[arm]
    through = np.full(len(graph.node), -1)
    linked = np.flatnonzero(partner >= 0)
    through[arm_nodes(graph)[linked]] = linked
    axis_arm = through[node]
    ready = (partner[arm] < 0) & (axis_arm >= 0) & (np.diff(paths.offsets)[path] > 2 * bend + 2)
    tip, inward, node, axis_arm = tip[ready], inward[ready], node[ready], axis_arm[ready]
    if not len(tip):
        return paths
    near, far = paths.points[tip + inward * bend], paths.points[tip + inward * 2 * bend]
    along = near - far
    along /= np.maximum(np.hypot(*along.T), 1e-9)[:, None]
    axis = direction[axis_arm] - direction[partner[axis_arm]]
    axis /= np.maximum(np.hypot(*axis.T), 1e-9)[:, None]
    sine = along[:, 0] * axis[:, 1] - along[:, 1] * axis[:, 0]
    gap = graph.node[node] - near
    with np.errstate(divide="ignore", invalid="ignore"):
        go = (gap[:, 0] * axis[:, 1] - gap[:, 1] * axis[:, 0]) / sine
    good = (np.abs(sine) > 0.25) & (go > 0) & (go < 3 * bend)
    tip, inward, near, along, go = tip[good], inward[good], near[good], along[good], go[good]
    points = paths.points.copy()
    fraction = 1 - np.arange(bend) / bend
    index = tip[:, None] + inward[:, None] * np.arange(bend)
    points[index] = near[:, None] + along[:, None] * (go[:, None] * fraction)[..., None]
    return replace(paths, points=points)


def smooth(paths: Paths, sigma: float) -> Paths:
    """Smoothed paths, `sigma` in points; ends stay where they are (odd reflection about each end).

    Rings are smoothed all the way round. The kernel is a Gaussian times (3 − t²/σ²)/2, whose second moment is
    0: it does not shrink curves.
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
    ring = (paths.points[paths.offsets[:-1]] == paths.points[paths.offsets[1:] - 1]).all(1) & (size > 2)
    if ring.any():
        around = outside & ring[owner]
        body[around] = paths.points[first[around] + k[around] % last[around]]
    t = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (t / sigma) ** 2) * (3 - (t / sigma) ** 2)
    result = correlate1d(body, kernel / kernel.sum(), axis=0, mode="nearest")
    return replace(paths, points=result[~outside])


def steps(paths: Paths) -> np.ndarray:
    """float64 [n − 1]: length in µm of the part inside the image of every step from point to point.

    Steps from one path to the next are 0. The image spans −0.5 … size − 0.5 (Liang and Barsky 1984).
    """
    start, move = paths.points[:-1], np.diff(paths.points, axis=0)
    enter, leave = np.zeros(len(move)), np.ones(len(move))
    for axis, size in enumerate(paths.shape):
        low, high = -0.5 - start[:, axis], size - 0.5 - start[:, axis]
        speed = np.where(move[:, axis] == 0, 1e-12, move[:, axis])
        np.maximum(enter, np.minimum(low / speed, high / speed), out=enter)
        np.minimum(leave, np.maximum(low / speed, high / speed), out=leave)
    length = np.hypot(move[:, 0] * paths.pixel_um[0], move[:, 1] * paths.pixel_um[1]) * np.maximum(leave - enter, 0)
    length[paths.offsets[1:-1] - 1] = 0
    return length


def lengths(paths: Paths, step: np.ndarray) -> np.ndarray:
    """float64 [paths]: the sum of each path's steps."""
    return np.bincount(paths.owner[:-1], step, minlength=len(paths))


def chords(paths: Paths) -> np.ndarray:
    """float64 [paths]: distance in µm between each path's ends, drawn back to the image's edge."""
    ends = paths.points[np.stack([paths.offsets[:-1], paths.offsets[1:] - 1])]
    span = np.diff(np.clip(ends, -0.5, np.array(paths.shape) - 0.5), axis=0)[0] * paths.pixel_um
    return np.hypot(span[:, 0], span[:, 1])


def mean_curvatures(paths: Paths) -> np.ndarray:
    """float64 [paths]: mean absolute curvature inside the image in 1/mm: the angle turned over the length."""
    step = steps(paths)
    move = np.diff(paths.points, axis=0) * paths.pixel_um
    a, b = move[:-1], move[1:]
    turn = np.abs(np.arctan2(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], (a * b).sum(1)))
    turn[(step[:-1] == 0) | (step[1:] == 0)] = 0  # outside, or from one path to the next
    total = np.bincount(paths.owner[1:-1], turn, minlength=len(paths))
    return 1e3 * total / np.maximum(lengths(paths, step), 1e-9)


def kallinikos(points: np.ndarray) -> float:
    """Tortuosity coefficient of one pixel path [n, 2] (Kallinikos et al. 2004), in pixels; NaN below 3 pixels.

    The path is turned so that its ends lie on the x axis and read as a function there, one value a pixel:
    TC = √ Σ (f′² + f″²). Dominated by the rounding to pixels; for comparison with older figures only.
    """
    chord = points[-1] - points[0]
    reach = float(np.hypot(chord[0], chord[1]))
    if reach < 3:
        return float("nan")
    along = (points - points[0]) @ chord / reach
    across = (points - points[0]) @ np.array([-chord[1], chord[0]]) / reach
    order = np.argsort(along, kind="stable")
    f = np.interp(np.arange(int(reach) + 1), along[order], across[order])
    slope, bend = f[2:] - f[1:-1], f[2:] - 2 * f[1:-1] + f[:-2]
    return float(np.sqrt((slope**2 + bend**2).sum()))
