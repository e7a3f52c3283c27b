"""From a score map to clean centrelines: hysteresis, thinning, trimming, pruning, bridging gaps.

Every step works on the list of skeleton pixels, not on the image, so the cost follows the length of the nerves.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from ..skeleton.thinning import thin

_OFFSETS = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
_LENGTHS = np.array([1.0] * 4 + [np.sqrt(2)] * 4)

BEYOND_PX = 7
"""How far a mask is continued across the edge while it is thinned: more than half the width of any ridge."""


@dataclass(frozen=True)
class Cleaning:
    """Rules for centrelines; lengths in µm.

    `spur_um`: side branches shorter than this go. `piece_um` and `border_piece_um`: isolated pieces that extend over
    less than this go, the second where they touch the border. `cell_um`: so do side branches shorter than this in the
    surroundings of a bright cell, and pieces there that extend over less than 1.5 × this. `gap_um`: gaps up to this
    are bridged where two ends, or an end and the side of another line, continue one another, the latter only with
    `side_share` of the line's score all the way. `end_share`: a free end reaches to where the score falls to
    this share of its line's. Within `shadow_um` of a stronger line nothing below `shadow_share` of its score is seen.
    """

    spur_um: float = 12.0
    piece_um: float = 45.0
    border_piece_um: float = 20.0
    cell_um: float = 55.0
    gap_um: float = 16.0
    side_share: float = 0.4
    end_share: float = 0.5
    shadow_um: float = 9.0
    shadow_share: float = 0.3


@dataclass(frozen=True)
class Evidence:
    """How much score makes a line, in the score's units.

    A line begins and ends where the score falls to `low`. A connected piece needs `piece` of score above `low`,
    summed along it over µm: a long faint nerve counts as much as a short bright one. A segment between two junctions,
    or between a junction and a free end, needs `segment` in the same way and `mean` above `low` on average.
    """

    low: float = 3.35
    piece: float = 40.0
    segment: float = 23.0
    mean: float = 0.92

    def scaled(self, factor: float) -> "Evidence":
        """The same rules for scores that are `factor` times as high."""
        return Evidence(self.low * factor, self.piece * factor, self.segment * factor, self.mean * factor)


class Pixels:
    """Skeleton pixels [n] as a graph: `rows`, `columns`, `neighbours` [n, 8] (−1 where none), `degree` [n]."""

    def __init__(self, skeleton: np.ndarray) -> None:
        self.shape = skeleton.shape
        self.rows, self.columns = np.nonzero(skeleton)
        n = len(self.rows)
        number = np.full((skeleton.shape[0] + 2, skeleton.shape[1] + 2), -1, np.int32)
        number[self.rows + 1, self.columns + 1] = np.arange(n)
        near = [number[self.rows + 1 + dy, self.columns + 1 + dx] for dy, dx in _OFFSETS]
        # A diagonal step beside a straight detour of the same two pixels is no edge of its own.
        for k, (dy, dx) in enumerate(_OFFSETS[4:], 4):
            beside = (near[_OFFSETS.index((dy, 0))] >= 0) | (near[_OFFSETS.index((0, dx))] >= 0)
            near[k] = np.where(beside, -1, near[k])
        self.neighbours = np.stack(near, 1) if n else np.zeros((0, 8), np.int32)
        self.degree = (self.neighbours >= 0).sum(1)

    def __len__(self) -> int:
        return len(self.rows)

    def labels(self, keep: np.ndarray) -> tuple[int, np.ndarray]:
        """Connected pieces of the pixels in `keep` [n]: their number and a label for every pixel (−1 outside)."""
        linked = (self.neighbours >= 0) & keep[:, None] & keep[self.neighbours]
        ends = np.concatenate([[0], np.cumsum(linked.sum(1))])
        graph = csr_array((np.ones(ends[-1], np.float64), self.neighbours[linked], ends), shape=(len(self), len(self)))
        # Every edge has its way back, so strongly connected is connected; it spares a transposition.
        _, label = connected_components(graph, directed=True, connection="strong")
        used, label[keep] = np.unique(label[keep], return_inverse=True)
        label[~keep] = -1
        return len(used), label

    def lengths(self, label: np.ndarray, count: int) -> np.ndarray:
        """Length in px of every label: half the sum of the steps of its pixels, so junction steps count half."""
        own = ((self.neighbours >= 0) * _LENGTHS).sum(1) / 2
        inside = label >= 0
        return np.bincount(label[inside], own[inside], minlength=count)

    def at_border(self, margin: float) -> np.ndarray:
        """Whether each pixel lies within `margin` px of the border, bool [n]."""
        height, width = self.shape
        least = np.minimum(np.minimum(self.rows, height - 1 - self.rows), self.columns)
        return np.minimum(least, width - 1 - self.columns) < margin

    def image(self, keep: np.ndarray) -> np.ndarray:
        """Skeleton image [H, W] of the pixels in `keep`."""
        skeleton = np.zeros(self.shape, bool)
        skeleton[self.rows[keep], self.columns[keep]] = True
        return skeleton


def centrelines(score: np.ndarray, evidence: Evidence, um: float, rules: Cleaning, cells: np.ndarray) -> np.ndarray:
    """Clean one-pixel centrelines bool [h, w] of the ridges of a score map [h, w].

    `um` is pixels a micrometre; `cells` bool [h, w] marks bright cells and their surroundings.
    """
    size = 2 * round(rules.shadow_um * um) + 1
    shadow = rules.shadow_share * ndimage.maximum_filter(score, size)
    skeleton = _thin((score > evidence.low) & (score > shadow))
    skeleton = _keep_pieces(skeleton, score, evidence, um)
    skeleton = _prune(skeleton, score, evidence, um, rules, cells)
    skeleton = _trim_ends(skeleton, score, rules, um)
    skeleton = _bridge(skeleton, score, evidence.low, rules, um)
    skeleton = _reach_border(skeleton, 6.0 * um)
    skeleton = _prune(skeleton, score, evidence, um, rules, cells)
    return drop_short(skeleton, rules, um, cells)


def _excess(pixels: Pixels, score: np.ndarray, evidence: Evidence, label: np.ndarray, count: int) -> np.ndarray:
    """Score above the lower threshold, summed over the pixels of every label."""
    inside = label >= 0
    above = score[pixels.rows[inside], pixels.columns[inside]] - evidence.low
    return np.bincount(label[inside], above, minlength=count)


def _keep_pieces(skeleton: np.ndarray, score: np.ndarray, evidence: Evidence, um: float) -> np.ndarray:
    """Keep connected pieces with enough evidence."""
    pixels = Pixels(skeleton)
    if not len(pixels):
        return skeleton
    count, label = pixels.labels(np.ones(len(pixels), bool))
    return pixels.image((_excess(pixels, score, evidence, label, count) / um >= evidence.piece)[label])


def segments(pixels: Pixels) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Segments between junctions: count, label of every pixel, number of free ends and of junction contacts."""
    junction = pixels.degree >= 3
    count, label = pixels.labels(~junction)
    inside = label >= 0
    ends = np.bincount(label[inside], (pixels.degree[inside] <= 1), minlength=count)
    touching = (np.where(pixels.neighbours >= 0, junction[pixels.neighbours], False)).sum(1)
    contacts = np.bincount(label[inside], touching[inside], minlength=count)
    return count, label, ends, contacts


def _prune(
    skeleton: np.ndarray, score: np.ndarray, evidence: Evidence, um: float, rules: Cleaning, cells: np.ndarray
) -> np.ndarray:
    """Remove segments that are short with a free end, or faint, until none is left (at most three rounds)."""
    for _ in range(3):
        pixels = Pixels(skeleton)
        if not len(pixels):
            return skeleton
        count, label, ends, contacts = segments(pixels)
        if not count:
            return skeleton
        length = pixels.lengths(label, count) / um
        inside = label >= 0
        excess = _excess(pixels, score, evidence, label, count)
        size = np.bincount(label[inside], minlength=count)
        in_cell = np.bincount(label[inside], cells[pixels.rows[inside], pixels.columns[inside]], minlength=count)
        leaving = np.bincount(label[inside], pixels.at_border(3)[inside], minlength=count) > 0
        at_cell = (in_cell > 0.35 * size) & ~leaving
        faint = (excess / um < evidence.segment) | (excess / size < evidence.mean)
        short = length < np.where(at_cell, rules.cell_um, rules.spur_um)
        drop = (contacts > 0) & np.where(ends > 0, short | faint, faint & (length > 6))
        if not drop.any():
            return skeleton
        skeleton = _thin(pixels.image(~np.where(inside, drop[label], False)))
    return skeleton


def _thin(mask: np.ndarray) -> np.ndarray:
    """The skeleton of a mask, which is continued across the edge meanwhile: lines that leave the image reach it."""
    continued = np.pad(np.pad(mask, BEYOND_PX, mode="edge"), 1)
    cut = slice(BEYOND_PX + 1, -BEYOND_PX - 1)
    return thin(continued)[cut, cut]


def _trim_ends(skeleton: np.ndarray, score: np.ndarray, rules: Cleaning, um: float) -> np.ndarray:
    """Cut free ends back to where the score reaches `end_share` of the median of their segment."""
    pixels = Pixels(skeleton)
    if not len(pixels):
        return skeleton
    count, label, _, _ = segments(pixels)
    values = score[pixels.rows, pixels.columns]
    inside = np.flatnonzero(label >= 0)
    order = inside[np.lexsort((values[inside], label[inside]))]
    size = np.bincount(label[inside], minlength=count)
    first = np.concatenate([[0], np.cumsum(size)[:-1]])
    median = values[order[first + size // 2]] if count else np.zeros(0)
    target = np.where(label >= 0, median[label] * rules.end_share, -np.inf) if count else np.full(len(pixels), -np.inf)
    alive = np.ones(len(pixels), bool)
    near = pixels.neighbours
    border = pixels.at_border(3.0 * um)
    for _ in range(int(np.ceil(14 * um))):
        degree = np.where(near >= 0, alive[near], False).sum(1)
        cut = alive & (degree <= 1) & (values < target) & ~border
        if not cut.any():
            break
        alive &= ~cut
    return pixels.image(alive)


def _tips(pixels: Pixels, reach: int) -> list[tuple[int, int, np.ndarray]]:
    """Free ends, the pixel `reach` steps inward, and the unit direction (row, column) from there to the end."""
    tips = []
    for tip in np.flatnonzero(pixels.degree == 1):
        previous, current = -1, int(tip)
        for _ in range(reach):
            onward = [int(q) for q in pixels.neighbours[current] if q >= 0 and q != previous]
            if len(onward) != 1:
                break
            previous, current = current, onward[0]
        direction = np.array(
            [pixels.rows[tip] - pixels.rows[current], pixels.columns[tip] - pixels.columns[current]], float
        )
        length = np.hypot(*direction)
        if length >= 3:
            tips.append((int(tip), current, direction / length))
    return tips


def _line(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of the straight line between two pixels."""
    n = int(np.abs(b - a).max()) + 1
    return np.linspace(a[0], b[0], n).round().astype(int), np.linspace(a[1], b[1], n).round().astype(int)


def _bridge(skeleton: np.ndarray, score: np.ndarray, low: float, rules: Cleaning, um: float) -> np.ndarray:
    """Join free ends to what continues them within `gap_um` and 40°.

    Two ends that face each other need a mean score of 0.6 `low` between them. An end and the side of another line need
    `side_share` of their own line's throughout: many fibres end beside another without touching it.
    """
    pixels = Pixels(skeleton)
    tips = _tips(pixels, 10)
    if not tips:
        return skeleton
    skeleton = skeleton.copy()
    places = np.stack([pixels.rows, pixels.columns], 1).astype(float)
    _, piece = pixels.labels(np.ones(len(pixels), bool))
    directions = {tip: direction for tip, _, direction in tips}
    done: set[int] = set()
    for tip, inward, direction in tips:
        if tip in done:
            continue
        offset = places - places[tip]
        distance = np.hypot(offset[:, 0], offset[:, 1])
        ahead = offset @ direction
        candidates = np.flatnonzero((distance > 1.5) & (distance <= rules.gap_um * um) & (ahead > 0.77 * distance))
        own = piece[candidates] == piece[tip]
        candidates = candidates[~own]
        if not len(candidates):
            continue
        cost = distance[candidates] * (1 + 2 * (1 - ahead[candidates] / distance[candidates]))
        opposite = np.array([q in directions and float(directions[q] @ direction) < -0.5 for q in candidates])
        other = int(candidates[np.argmin(np.where(opposite, 0.6 * cost, cost))])
        rows, columns = _line(places[tip], places[other])
        between = score[rows[1:-1], columns[1:-1]]
        facing = opposite[np.argmin(np.where(opposite, 0.6 * cost, cost))]
        own_score = score[pixels.rows[inward], pixels.columns[inward]]
        if not len(between) or (
            between.mean() >= 0.6 * low if facing else between.min() >= rules.side_share * own_score
        ):
            skeleton[rows, columns] = True
            done |= {tip, other}
    return _thin(skeleton)


def _reach_border(skeleton: np.ndarray, margin: float) -> np.ndarray:
    """Extend free ends that stop within `margin` px of the border, and head for it, to the border."""
    pixels = Pixels(skeleton)
    size = np.array(skeleton.shape)
    skeleton = skeleton.copy()
    for tip, _, direction in _tips(pixels, 10):
        place = np.array([pixels.rows[tip], pixels.columns[tip]], float)
        to_edge = np.where(direction > 0, size - 1 - place, place)
        steps = to_edge / np.maximum(np.abs(direction), 1e-6)
        step = float(steps.min())
        axis = int(steps.argmin())
        if 0 < step <= 2 * margin and step * abs(direction[axis]) <= margin:
            rows, columns = _line(place, np.clip(place + step * direction, 0, size - 1))
            skeleton[rows, columns] = True
    return skeleton


def drop_short(skeleton: np.ndarray, rules: Cleaning, um: float, cells: np.ndarray) -> np.ndarray:
    """Remove isolated pieces that are too short; at the border, where the rest may lie outside, shorter ones stay."""
    pixels = Pixels(skeleton)
    if not len(pixels):
        return skeleton
    count, label = pixels.labels(np.ones(len(pixels), bool))
    extent = np.hypot(_span(pixels.rows, label, count), _span(pixels.columns, label, count)) / um
    at_border = np.bincount(label, pixels.at_border(2), minlength=count) > 0
    at_cell = np.bincount(label, cells[pixels.rows, pixels.columns], minlength=count) > 0
    least = np.where(at_border, rules.border_piece_um, rules.piece_um)
    return pixels.image((extent >= np.where(at_cell, 1.5 * rules.cell_um, least))[label])


def _span(place: np.ndarray, label: np.ndarray, count: int) -> np.ndarray:
    """Largest minus smallest place of every label."""
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, label, place)
    np.maximum.at(high, label, place)
    return high - low
