"""Which paths through the skeleton graph are main nerve trunks, and which segments make one nerve."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from ..skeleton.arms import arm_nodes, meetings, mutually_straightest
from ..skeleton.chains import Chains, chain_order
from ..skeleton.graph import SkeletonGraph, raw_lengths
from .rules import RuleSet
from .windows import Border, Windows, border

SHARPEST = 0.0
"""Cosine of the sharpest turn that a trunk takes at a junction (90°)."""

RUNS_ON = 0.5
"""Cosine of the sharpest turn with which an arm that no trunk claims runs on in another (60°)."""

MOST_WORK = 50_000
"""A window in which segments times border ends exceed this (a dense plexus has a tenth) is not searched: there,
paths follow the straightest arm."""

MOST_ENDS = 200
MOST_ROUNDS = 10
"""Bounds for masks that are no nerves: border ends tried in such a window, and searches for what lost out."""


@dataclass(frozen=True)
class _Search:
    """What the search for trunks goes by, the same in all its rounds."""

    graph: SkeletonGraph
    direction: np.ndarray
    """float64 [2S, 2]: direction of each arm."""
    border: Border
    start: np.ndarray
    """bool [N]: nodes at which a trunk may end."""
    cost: np.ndarray
    """float64 [S]: what a segment costs, µm."""
    rules: RuleSet


def find_trunks(
    graph: SkeletonGraph,
    direction: np.ndarray,
    windows: Windows,
    of_node: np.ndarray,
    rules: RuleSet,
    brightness: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Main nerve trunks, each as its half-edges in order.

    A trunk runs from the border zone at one side of its window to that at another, its ends further apart
    than the rules ask for; it may end at a junction inside the border zone. Trunks share no segment. Where
    paths compete, the one with the longer chord, the smaller detour and the smaller turns wins (and the
    brighter, if `brightness` [S], relative to the mean, is given); the loser is looked for again without what
    it lost. After the tutorial of ACCMetrics (University of Manchester).
    """
    edge = border(graph, of_node, windows.boxes, rules.border_fraction)
    start = edge.near & (graph.degree != 2) & windows.counted[of_node]
    cost = raw_lengths(graph)
    if brightness is not None:
        cost = cost * (2 - np.clip(brightness, 0.5, 1.5))
    search = _Search(graph, direction, edge, start, cost, rules)
    window = of_node[graph.ends[:, 0]]
    found: list[np.ndarray] = []
    for w in np.unique(of_node[start]):
        free = ~graph.bridge & (window == w)
        active = _between_ends(graph, free, start)
        ends = np.count_nonzero(start[np.unique(graph.ends[active])])
        thorough = bool(np.count_nonzero(active) * ends <= MOST_WORK)
        for _ in range(MOST_ROUNDS):
            best = _best_paths(search, active, thorough)
            if not best:
                break
            found += best
            free[np.concatenate(best) // 2] = False
            active = _between_ends(graph, free, start)
    return found


def _between_ends(graph: SkeletonGraph, free: np.ndarray, start: np.ndarray) -> np.ndarray:
    """bool [S]: `free` segments without the dead ends that are no `start` of a trunk."""
    active = free.copy()
    while True:
        degree = np.bincount(graph.ends[active].ravel(), minlength=len(start))
        dead = active & ((degree[graph.ends] == 1) & ~start[graph.ends]).any(1)
        if not dead.any():
            return active
        active &= ~dead


def _best_paths(search: _Search, active: np.ndarray, thorough: bool) -> list[np.ndarray]:
    """Trunks that share no segment, taken greedily from the best paths between all border nodes.

    The search runs over the half-edges of the `active` segments, so that a turn can have its price. Where it is not
    `thorough`, every half-edge goes on in the one that it continues straightest.
    """
    if not active.any():
        return []
    graph, edge, rules = search.graph, search.border, search.rules
    half_edge = np.flatnonzero(np.repeat(active, 2))  # both directions side by side: item i ^ 1 is the way back
    tail, head = arm_nodes(graph)[half_edge], arm_nodes(graph)[half_edge ^ 1]
    back, leaving, cosine = meetings(tail, half_edge // 2, search.direction[half_edge], SHARPEST)
    arriving = back ^ 1
    source, sink = np.flatnonzero(search.start[tail]), np.flatnonzero(search.start[head])
    if not thorough:
        keep = mutually_straightest(arriving, leaving, cosine, len(half_edge))
        arriving, leaving, cosine = arriving[keep], leaving[keep], cosine[keep]
        source = source[~np.isin(source, leaving)][:MOST_ENDS]
    cost = search.cost[half_edge // 2]
    price = cost[leaving] + rules.turn_weight * edge.side_um[tail[leaving]] * (1 - cosine)
    links = csr_matrix((price, (arriving, leaving)), shape=(len(half_edge), len(half_edge)))
    distance, before = dijkstra(links, indices=source, return_predecessors=True)
    total = distance[:, sink] + cost[source][:, None]
    first, last = graph.node[tail[source]] * graph.pixel_um, graph.node[head[sink]] * graph.pixel_um
    apart = first[:, None] - last[None]
    chord = np.hypot(apart[..., 0], apart[..., 1])
    fits = (
        np.isfinite(total)
        & (chord > rules.chord_fraction * edge.side_um[tail[source]][:, None])
        & (edge.side[tail[source]][:, None] != edge.side[head[sink]])
    )
    i, j = np.nonzero(fits)
    trunks: list[np.ndarray] = []
    used = np.zeros(graph.segments, bool)
    for k in np.argsort((total - 2 * chord)[i, j], kind="stable"):
        first_item, item = source[i[k]], sink[j[k]]
        if used[half_edge[first_item] // 2] or used[half_edge[item] // 2]:
            continue
        items = [item]
        while item != first_item:
            item = before[i[k], item]
            items.append(item)
        trunk = half_edge[items[::-1]]
        segments = trunk // 2
        if not used[segments].any() and len(np.unique(segments)) == len(segments):
            used[segments] = True
            trunks.append(trunk)
    return trunks


def join_nerves(graph: SkeletonGraph, trunks: list[np.ndarray], direction: np.ndarray, joined: np.ndarray) -> Chains:
    """Join segments that continue each other into nerves: the trunks first, then whatever runs on straight.

    `joined` int [n, 2] are arms known to be one. One chain of half-edges a nerve; bridges are left out.
    """
    partner = np.full(2 * graph.segments, -1)
    done = np.repeat(graph.bridge, 2)
    for trunk in trunks:
        partner[trunk[:-1] ^ 1], partner[trunk[1:]] = trunk[1:], trunk[:-1] ^ 1
        done[[trunk[0], trunk[-1] ^ 1]] = True
    partner[joined[:, 0]], partner[joined[:, 1]] = joined[:, 1], joined[:, 0]
    node = arm_nodes(graph)
    done |= graph.degree[node] < 3
    while True:
        loose = np.flatnonzero((partner < 0) & ~done)
        i, j, cosine = meetings(node[loose], loose // 2, direction[loose], RUNS_ON)
        once = i < j
        i, j, cosine = i[once], j[once], cosine[once]
        pair = np.concatenate([i, j]), np.concatenate([j, i]), np.concatenate([cosine, cosine])
        best = mutually_straightest(*pair, len(loose))
        best = best[best < len(i)]
        if not len(best):
            break
        one, two = loose[i[best]], loose[j[best]]
        partner[one], partner[two] = two, one
    kept = np.flatnonzero(~graph.bridge)
    number = np.full(graph.segments + 1, -1)
    number[kept] = np.arange(len(kept))
    other = np.where(partner >= 0, partner // 2, -1).reshape(-1, 2)
    order, offsets = chain_order(number[other[kept]])
    segment = kept[order]
    return Chains(2 * segment + _backwards(segment, offsets, partner), offsets, partner)


def _backwards(segment: np.ndarray, offsets: np.ndarray, partner: np.ndarray) -> np.ndarray:
    """int [n], 0 or 1: which segments of the nerves are travelled from their last node to their first."""
    first, last = np.zeros((2, len(segment)), bool)
    first[offsets[:-1]] = True
    last[offsets[1:] - 1] = True
    before, after = np.roll(segment, 1), np.roll(segment, -1)
    other = np.where(partner >= 0, partner // 2, -1)
    forward = other[2 * segment] == before  # entered at its first node
    both = forward & (other[2 * segment + 1] == before)  # a ring of two
    forward = np.where(both, partner[2 * before + 1] == 2 * segment, forward)
    forward = np.where(first, last | (other[2 * segment + 1] == after), forward)
    return (~forward).astype(int)
