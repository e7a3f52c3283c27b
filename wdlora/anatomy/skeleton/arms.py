"""Half-edges: the segments of a skeleton graph with a direction, and how they meet at its nodes.

Half-edge 2s runs from the first to the last node of segment s, half-edge 2s + 1 back. An *arm* is a half-edge seen at
the node where it starts; the arm at the other end of half-edge h is h ^ 1.
"""

import numpy as np

from ..scale import PIXEL_SIZE_UM
from .graph import SkeletonGraph

ARM_UM = 12 * PIXEL_SIZE_UM
"""Directions at a node are taken over this length of each arm."""

MOST_ARMS = 64
"""A node of more arms is a blob, not a junction: nothing continues there."""


def arm_nodes(graph: SkeletonGraph) -> np.ndarray:
    """int [2S]: the node at which each arm starts."""
    return graph.ends.ravel()


def arm_directions(graph: SkeletonGraph) -> np.ndarray:
    """float64 [2S, 2]: unit direction (rows, columns, both in µm) in which each arm leaves its node."""
    reach = max(1, round(ARM_UM / max(graph.pixel_um)))
    first, last = graph.offsets[:-1], graph.offsets[1:] - 1
    start = np.stack([first, last], 1)
    stop = np.stack([np.minimum(first + reach, last), np.maximum(last - reach, first)], 1)
    vector = (graph.points[stop] - graph.points[start]).reshape(-1, 2) * graph.pixel_um
    length = np.hypot(vector[:, 0], vector[:, 1])
    return vector / np.where(length > 0, length, 1)[:, None]


def meetings(
    node: np.ndarray, segment: np.ndarray, direction: np.ndarray, least_cosine: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of arms that meet: `i` and `j` (both orders), and the cosine of the turn from one into the other.

    `node`, `segment` int [n] and `direction` float64 [n, 2] describe the arms. Arms of one segment do not
    pair, nor do turns with a cosine of `least_cosine` or less.
    """
    ranked = np.argsort(node, kind="stable")
    ordered = node[ranked]
    begin, stop = np.searchsorted(ordered, node, "left"), np.searchsorted(ordered, node, "right")
    count = np.where(stop - begin > MOST_ARMS, 0, stop - begin)
    i = np.repeat(np.arange(len(node)), count)
    j = ranked[np.arange(len(i)) + np.repeat(begin - (np.cumsum(count) - count), count)]
    cosine = -(direction[i] * direction[j]).sum(1)
    keep = (segment[i] != segment[j]) & (cosine > least_cosine)
    return i[keep], j[keep], cosine[keep]


def mutually_straightest(i: np.ndarray, j: np.ndarray, cosine: np.ndarray, n: int) -> np.ndarray:
    """Indices of the pairs (i, j) of n items that are the straightest both for i and for j."""
    ranked = np.argsort(cosine, kind="stable")
    best_i, best_j = np.full(n, -1), np.full(n, -1)
    best_i[i[ranked]] = ranked  # the last one written, the straightest, stays
    best_j[j[ranked]] = ranked
    index = np.arange(len(i))
    return np.flatnonzero((best_i[i] == index) & (best_j[j] == index))
