"""Fibres that pass straight over each other: a crossing is no branch point.

In a mask both fibres are one blob where they overlap. Thinning turns an upright cross into one node of four
arms, an oblique one into two Y junctions with a bridge between them.
"""

from dataclasses import replace

import numpy as np

from ..scale import PIXEL_SIZE_UM
from .arms import arm_directions, arm_nodes
from .graph import SkeletonGraph, raw_lengths

STRAIGHT = float(np.cos(np.radians(40)))
"""Arms that continue each other do so within this turn …"""

OFFSET_UM = 7 * PIXEL_SIZE_UM
"""… and, over a bridge, with no more sideways offset than this …"""

BRIDGE_UM = 22 * PIXEL_SIZE_UM
"""… and the bridge's ends are no further apart than this."""

DETOUR = 1.2
"""A bridge is where both fibres overlap: no longer than its ends are apart, times this …"""

ROUNDING_UM = 3 * PIXEL_SIZE_UM
"""… and this, by which pixels and the bend that thinning makes near a node lengthen it."""

EYELET = 3.0
"""Two segments between the same nodes are the sides of a hole between nerves, and no bridge, unless one is this many
times longer than the other: then a fibre comes round and crosses itself."""


def merge_crossings(graph: SkeletonGraph) -> SkeletonGraph:
    """The graph with each pair of Y junctions that is an oblique crossing made one node, and its bridge marked."""
    bridge = np.zeros(graph.segments, bool)
    span = (graph.node[graph.ends[:, 1]] - graph.node[graph.ends[:, 0]]) * graph.pixel_um
    span_um = np.hypot(span[:, 0], span[:, 1])
    candidate = np.flatnonzero(
        (graph.degree[graph.ends] == 3).all(1) & (graph.ends[:, 0] != graph.ends[:, 1]) & (span_um < BRIDGE_UM)
    )
    candidate = candidate[_overlaps(graph, candidate, span_um)]
    if not len(candidate):
        return graph
    arms = _arms_at(arm_nodes(graph), graph.ends[candidate], 3)  # [k, side, 3]
    own = arms // 2 == candidate[:, None, None]
    simple = (own.sum(-1) == 1).all(1)
    candidate, arms, own = candidate[simple], arms[simple], own[simple]
    out = arm_directions(graph)[arms[~own].reshape(-1, 2, 2)]  # [k, side, arm, 2]
    gap = span[candidate][:, None]
    crosses = np.zeros(len(candidate), bool)
    for there in (out[:, 1], out[:, 1, ::-1]):
        cosine = -(out[:, 0] * there).sum(-1)  # [k, pair]
        along = out[:, 0] - there
        along /= np.maximum(np.hypot(along[..., 0], along[..., 1]), 1e-9)[..., None]
        offset = np.abs(along[..., 0] * gap[..., 1] - along[..., 1] * gap[..., 0])
        crosses |= ((cosine > STRAIGHT) & (offset < OFFSET_UM)).all(1)
    candidate = candidate[crosses]
    merged = np.arange(len(graph.node))
    taken: set[int] = set()
    for s in candidate[np.argsort(span_um[candidate], kind="stable")]:
        a, b = graph.ends[s].tolist()
        if a not in taken and b not in taken:
            taken |= {a, b}
            bridge[s] = True
            merged[b] = a
    node = graph.node.copy()
    node[graph.ends[bridge, 0]] = graph.node[graph.ends[bridge]].mean(1)
    ends = merged[graph.ends]
    degree = np.bincount(ends[~bridge].ravel(), minlength=len(node))
    return replace(graph, ends=ends, node=node, degree=degree, bridge=bridge)


def _overlaps(graph: SkeletonGraph, candidate: np.ndarray, span_um: np.ndarray) -> np.ndarray:
    """bool [k]: segments `candidate` that may be where two fibres overlap: straight, and no side of an eyelet.

    A way round that happens to end near its start, and two nerves that part and meet again, are nerves: taken for a
    bridge, their length would be left out.
    """
    length = raw_lengths(graph)
    straight = length[candidate] < DETOUR * span_um[candidate] + ROUNDING_UM
    pair = np.sort(graph.ends, axis=1)
    ranked = np.lexsort((length, pair[:, 1], pair[:, 0]))
    parallel = (np.diff(pair[ranked], axis=0) == 0).all(1) & (length[ranked[1:]] < EYELET * length[ranked[:-1]])
    eyelet = np.zeros(graph.segments, bool)
    eyelet[ranked[:-1][parallel]] = eyelet[ranked[1:][parallel]] = True
    return straight & ~eyelet[candidate]


def is_crossing(graph: SkeletonGraph, direction: np.ndarray) -> np.ndarray:
    """bool [N]: nodes of four arms that continue each other two and two."""
    result = np.zeros(len(graph.node), bool)
    four = np.flatnonzero(graph.degree == 4)
    if len(four):
        node = np.where(np.repeat(graph.bridge, 2), -1, arm_nodes(graph))
        out = direction[_arms_at(node, four, 4)]  # [k, 4, 2]
        cosine = -np.einsum("kid,kjd->kij", out, out)
        for (a, b), (c, d) in (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))):
            result[four] |= (cosine[:, a, b] > STRAIGHT) & (cosine[:, c, d] > STRAIGHT)
    return result


def _arms_at(node: np.ndarray, where: np.ndarray, count: int) -> np.ndarray:
    """int [*where.shape, count]: the arms at each node of `where`, all of which have `count`."""
    ranked = np.argsort(node, kind="stable")
    return ranked[np.searchsorted(node[ranked], where)[..., None] + np.arange(count)]
