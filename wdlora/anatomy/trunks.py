"""Which paths through the skeleton graph are main nerve trunks, and which segments make one nerve.

A *course* is a segment travelled in one direction: course 2s runs from the first to the last node of segment
s, course 2s + 1 back.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from .graph import SkeletonGraph, chains, raw_lengths
from .plexus import PIXEL_SIZE_UM
from .rules import RuleSet

ARM_UM = 12 * PIXEL_SIZE_UM
"""Directions at a junction are taken over this length of each arm."""

BRIDGE_UM = 22 * PIXEL_SIZE_UM
OFFSET_UM = 3.5 * PIXEL_SIZE_UM
STRAIGHT = np.cos(np.radians(40))
"""Two junctions no further apart than BRIDGE_UM are one crossing when their arms continue each other within
40° and within OFFSET_UM: thinning pulls an oblique X apart into two Y."""

SHARPEST = np.cos(np.radians(90))
"""No nerve turns more sharply at a junction."""

SEARCHABLE = 2000
MOST_ENDS = 200
"""Beyond so many segments between border ends (no plexus has a tenth) paths follow the straightest arm, from
so many ends at most."""

RUNS_ON = np.cos(np.radians(60))
"""Two arms at a node that no trunk claims are one nerve up to this turn."""


@dataclass(frozen=True)
class Window:
    """A rectangle of the image in which the trunk rules hold: rows top ≤ r < bottom, columns left ≤ c < right."""

    top: int
    bottom: int
    left: int
    right: int


def course_ends(graph: SkeletonGraph) -> tuple[np.ndarray, np.ndarray]:
    """First and last node of every course, int [2S] each."""
    return graph.ends.ravel(), graph.ends[:, ::-1].ravel()


def arms(graph: SkeletonGraph, pixel_um: tuple[float, float]) -> np.ndarray:
    """float64 [2S, 2]: unit direction in which each course leaves its first node (0 for closed tiny loops)."""
    reach = max(1, round(ARM_UM / max(pixel_um)))
    first, last = graph.offsets[:-1], graph.offsets[1:] - 1
    near = np.minimum(first + reach, last), np.maximum(last - reach, first)
    vector = np.stack([graph.points[near[0]] - graph.points[first], graph.points[near[1]] - graph.points[last]], 1)
    vector = vector.reshape(-1, 2) * pixel_um
    length = np.hypot(*vector.T)
    return vector / np.where(length > 0, length, 1)[:, None]


def merge_crossings(graph: SkeletonGraph, pixel_um: tuple[float, float]) -> tuple[SkeletonGraph, np.ndarray]:
    """Make one node of each pair of Y junctions that is an oblique crossing of two fibres.

    Returns the graph with those nodes merged, and bool [S]: the bridge segments between them, which belong to
    both fibres and to neither end of the merged node.
    """
    bridge = np.zeros(graph.segments, bool)
    three = (graph.degree[graph.ends] == 3).all(1) & (graph.ends[:, 0] != graph.ends[:, 1])
    candidates = np.flatnonzero(three)
    if len(candidates):
        length = np.hypot(
            *((graph.node[graph.ends[candidates, 0]] - graph.node[graph.ends[candidates, 1]]) * pixel_um).T
        )
        candidates = candidates[length < BRIDGE_UM]
    if not len(candidates):
        return graph, bridge
    tail, _ = course_ends(graph)
    by_node = np.argsort(tail, kind="stable")
    begin = np.searchsorted(tail[by_node], graph.ends[candidates])  # [k, 2]
    three_arms = by_node[begin[..., None] + np.arange(3)]  # [k, 2, 3]
    own = three_arms // 2 == candidates[:, None, None]
    simple = (own.sum(-1) == 1).all(1)
    candidates, three_arms, own = candidates[simple], three_arms[simple], own[simple]
    others = three_arms[~own].reshape(-1, 2, 2)
    out = arms(graph, pixel_um)[others]  # [k, side, arm, 2]
    # Arms that start right behind the junction, seen from the other side's: direction and sideways offset.
    centre = graph.node[graph.ends[candidates]] * pixel_um  # [k, side, 2]
    gap = centre[:, 1] - centre[:, 0]
    good = np.zeros((len(candidates), 2), bool)
    for m, swap in enumerate((False, True)):
        there = out[:, 1, ::-1] if swap else out[:, 1]
        cosine = -(out[:, 0] * there).sum(-1)  # [k, pair]
        along = out[:, 0] - there
        along /= np.maximum(np.hypot(along[..., 0], along[..., 1]), 1e-9)[..., None]
        offset = np.abs(along[..., 0] * gap[:, None, 1] - along[..., 1] * gap[:, None, 0])
        good[:, m] = ((cosine > STRAIGHT) & (offset < 2 * OFFSET_UM)).all(1)
    good_any = good.any(1)
    candidates = candidates[good_any]
    length = np.hypot(*(gap[good_any]).T)
    taken: set[int] = set()
    target = np.arange(len(graph.node))
    for s in candidates[np.argsort(length, kind="stable")]:
        a, b = map(int, graph.ends[s])
        if a in taken or b in taken:
            continue
        taken |= {a, b}
        bridge[s] = True
        target[b] = a
    node = graph.node.copy()
    pairs = graph.ends[bridge]
    node[pairs[:, 0]] = graph.node[pairs].mean(1)
    ends = target[graph.ends]
    degree = np.bincount(ends[~bridge].ravel(), minlength=len(node))
    return replace(graph, ends=ends, node=node, degree=degree), bridge


def is_crossing(graph: SkeletonGraph, bridge: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """bool [N]: nodes of four arms that continue each other two and two, each within 40°."""
    result = np.zeros(len(graph.node), bool)
    four = np.flatnonzero(graph.degree == 4)
    if not len(four):
        return result
    tail, _ = course_ends(graph)
    tail = np.where(np.repeat(bridge, 2), len(graph.node), tail)
    by_node = np.argsort(tail, kind="stable")
    begin = np.searchsorted(tail[by_node], four)
    out = direction[by_node[begin[:, None] + np.arange(4)]]  # [k, 4, 2]
    cosine = -np.einsum("kid,kjd->kij", out, out)
    for (a, b), (c, d) in (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))):
        result[four] |= (cosine[:, a, b] > STRAIGHT) & (cosine[:, c, d] > STRAIGHT)
    return result


def find_trunks(
    graph: SkeletonGraph,
    bridge: np.ndarray,
    window_of_node: np.ndarray,
    windows: list[Window],
    rules: RuleSet,
    pixel_um: tuple[float, float],
    brightness: np.ndarray | None = None,
) -> list[list[int]]:
    """Main nerve trunks as lists of courses, best first.

    A trunk runs from the border zone at one side of its window to that at another, its ends further apart
    than the chord that the rules ask for. Where paths compete for a segment, the one with the longer chord,
    the smaller detour and the smaller turns wins (and the brighter, if `brightness` [S], relative to the mean,
    is given); the loser is looked for again without it.
    """
    zone, side_of_node, side_length = _border(graph, window_of_node, windows, rules, pixel_um)
    free = ~bridge
    found: list[list[int]] = []
    if not zone.any():
        return found
    length = raw_lengths(graph, pixel_um)
    if brightness is not None:
        length = length * (2 - np.clip(brightness, 0.5, 1.5))
    direction = arms(graph, pixel_um)
    scale = float(side_length.mean())
    while (active := _between_ends(graph, free, zone)).any():
        new = _best_paths(graph, active, zone, side_of_node, side_length, length, direction, rules, scale, pixel_um)
        if not new:
            break
        found += new
        free[[course // 2 for path in new for course in path]] = False
    return found


def _border(graph, window_of_node, windows, rules, pixel_um):  # type: ignore[no-untyped-def]
    """For each node: in the border zone of its window? nearest side (0–3)? and the window's mean side in µm."""
    box = np.array([(w.top, w.bottom, w.left, w.right) for w in windows], float)[window_of_node] - 0.5
    row, column = graph.node.T
    distance = np.stack(
        [
            (row - box[:, 0]) * pixel_um[0],
            (box[:, 1] - row) * pixel_um[0],
            (column - box[:, 2]) * pixel_um[1],
            (box[:, 3] - column) * pixel_um[1],
        ],
        1,
    )
    length = ((box[:, 1] - box[:, 0]) * pixel_um[0] + (box[:, 3] - box[:, 2]) * pixel_um[1]) / 2
    nearest = distance.argmin(1)
    zone = (distance.min(1) <= rules.border_fraction * length) & (graph.degree != 2)
    return zone, nearest, length


def _between_ends(graph: SkeletonGraph, free: np.ndarray, zone: np.ndarray) -> np.ndarray:
    """bool [S]: `free` segments without the dead ends that do not lie in the border zone."""
    active = free.copy()
    while True:
        degree = np.bincount(graph.ends[active].ravel(), minlength=len(zone))
        dead = active & ((degree[graph.ends] == 1) & ~zone[graph.ends]).any(1)
        if not dead.any():
            return active
        active &= ~dead


def _best_paths(graph, active, zone, side, side_length, length, direction, rules, scale, pixel_um):  # type: ignore[no-untyped-def]
    """Trunks that share no segment, chosen greedily among the best paths between all border nodes."""
    course = np.flatnonzero(np.repeat(active, 2))  # both directions side by side: i ^ 1 is the way back
    tail, head = (ends[course] for ends in course_ends(graph))
    arriving, leaving, cosine = _meetings(tail, course // 2, direction[course], SHARPEST)
    arriving = arriving ^ 1
    source, sink = np.flatnonzero(zone[tail]), np.flatnonzero(zone[head])
    if active.sum() > SEARCHABLE:
        keep = _mutual(arriving, leaving, cosine, len(course))
        arriving, leaving, cosine = arriving[keep], leaving[keep], cosine[keep]
        source = source[~np.isin(source, leaving)][:MOST_ENDS]
    cost = length[course // 2]
    weight = cost[leaving] + rules.turn_weight * scale * (1 - cosine)
    links = csr_matrix((weight, (arriving, leaving)), shape=(len(course), len(course)))
    distance, before = dijkstra(links, indices=source, return_predecessors=True)
    total = distance[:, sink] + cost[source][:, None]
    first, last = graph.node[tail[source]] * pixel_um, graph.node[head[sink]] * pixel_um
    chord = np.hypot(*(first[:, None] - last[None]).transpose(2, 0, 1))
    fits = (
        np.isfinite(total)
        & (chord > rules.chord_fraction * side_length[tail[source]][:, None])
        & (side[tail[source]][:, None] != side[head[sink]][None])
    )
    i, j = np.nonzero(fits)
    paths: list[list[int]] = []
    used = np.zeros(graph.segments, bool)
    for k in np.argsort((total - 2 * chord)[i, j], kind="stable"):
        a, b = source[i[k]], sink[j[k]]
        if used[course[a] // 2] or used[course[b] // 2]:
            continue
        path = [b]
        while path[-1] != a:
            path.append(before[i[k], path[-1]])
        courses = course[path[::-1]]
        segments = courses // 2
        if used[segments].any() or len(np.unique(segments)) < len(segments):
            continue
        used[segments] = True
        paths.append(courses.tolist())
    return paths


def _meetings(node, segment, direction, least_cosine):  # type: ignore[no-untyped-def]
    """Pairs (i, j) of arms of different segments at one node, both orders, and the cosine of the turn between.

    Nodes of more than 64 arms are blobs, not junctions: nothing continues there.
    """
    ranked = np.argsort(node, kind="stable")
    ordered = node[ranked]
    begin, stop = np.searchsorted(ordered, node, "left"), np.searchsorted(ordered, node, "right")
    count = np.where(stop - begin > 64, 0, stop - begin)
    i = np.repeat(np.arange(len(node)), count)
    j = ranked[np.arange(count.sum()) + np.repeat(begin - (np.cumsum(count) - count), count)]
    cosine = -(direction[i] * direction[j]).sum(1)
    keep = (segment[i] != segment[j]) & (cosine > least_cosine)
    return i[keep], j[keep], cosine[keep]


def _mutual(i, j, cosine, n):  # type: ignore[no-untyped-def]
    """Indices of the pairs (i, j) that are the straightest both for i and for j."""
    ranked = np.argsort(cosine, kind="stable")
    best_i, best_j = np.full(n, -1), np.full(n, -1)
    best_i[i[ranked]] = ranked  # the last written, the straightest, stays
    best_j[j[ranked]] = ranked
    index = np.arange(len(i))
    return np.flatnonzero((best_i[i] == index) & (best_j[j] == index))


def nerves(
    graph: SkeletonGraph, bridge: np.ndarray, trunks: list[list[int]], direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Join segments that continue each other into nerves: the trunks first, then whatever runs on straight.

    Returns `courses` int, nerve by nerve, and `offsets` int [nerves + 1]. Bridges are left out.
    """
    tail, _ = course_ends(graph)
    partner = np.full(2 * graph.segments, -1)  # the arm that each arm runs on in
    done = np.repeat(bridge, 2)
    for path in trunks:
        one, two = np.array(path[:-1], int) ^ 1, np.array(path[1:], int)
        partner[one], partner[two] = two, one
        done[[path[0], path[-1] ^ 1]] = True
    while True:
        loose = np.flatnonzero((partner < 0) & ~done)
        i, j, cosine = _meetings(tail[loose], loose // 2, direction[loose], RUNS_ON)
        # A pair and its mirror image are one: compare them once, so that ties fall the same way.
        half = i < j
        i, j, cosine = i[half], j[half], cosine[half]
        keep = _mutual(np.concatenate([i, j]), np.concatenate([j, i]), np.concatenate([cosine, cosine]), len(loose))
        keep = keep[keep < len(i)]
        if not len(keep):
            break
        one, two = loose[i[keep]], loose[j[keep]]
        partner[one], partner[two] = two, one
    kept = np.flatnonzero(~bridge)
    number = np.full(graph.segments + 1, -1)
    number[kept] = np.arange(len(kept))
    other = np.where(partner >= 0, partner // 2, -1).reshape(-1, 2)
    order, offsets = chains(number[other[kept]])
    segment = kept[order]
    return 2 * segment + _reversed(segment, offsets, partner), offsets


def _reversed(segment: np.ndarray, offsets: np.ndarray, partner: np.ndarray) -> np.ndarray:
    """int [n], 0 or 1: which segments of the chains are travelled from their last node to their first."""
    first = np.zeros(len(segment), bool)
    first[offsets[:-1]] = True
    last = np.zeros(len(segment), bool)
    last[offsets[1:] - 1] = True
    before, after = np.roll(segment, 1), np.roll(segment, -1)
    joined = np.where(partner >= 0, partner // 2, -1)
    head_on = joined[2 * segment] == before  # entered at its first node
    both = head_on & (joined[2 * segment + 1] == before)  # a ring of two
    head_on = np.where(both, partner[2 * before + 1] == 2 * segment, head_on)
    head_on = np.where(first, last | (joined[2 * segment + 1] == after), head_on)
    return (~head_on).astype(int)
