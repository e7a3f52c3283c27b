"""From a mask to a graph: a skeleton one pixel thin, its segments in order, its nodes.

Everything works on arrays of skeleton pixels; nothing walks pixel by pixel. Coordinates are (row, column) in
pixels, pixel centres at integers, the image's edge at −0.5.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components, depth_first_order

from ..biomarkers.rules import RuleSet
from .thinning import STEPS, thin

RING = 4
"""Pixels of the continued skeleton kept outside the image, so that paths cross its edge."""


@dataclass(frozen=True)
class SkeletonGraph:
    """Segments between nodes.

    `points` float64 [n, 2] holds the pixels of all segments, each from its first to its last node; segment s
    is points[offsets[s]:offsets[s + 1]]. `ends` int [S, 2] names the nodes at both ends, `node` float64
    [N, 2] their positions, `degree` int [N] how many segment ends meet there (1: an end; 2: the seam of a
    closed loop; 3 and more: a junction). `component` int [S]. `bridge` bool [S] marks segments that two
    crossing fibres share; they are no arms of a node. `pixel` int [n] is the flat index of each point in the
    skeleton image, −1 for node centres. `shape` is the image's.
    """

    points: np.ndarray
    offsets: np.ndarray
    ends: np.ndarray
    node: np.ndarray
    degree: np.ndarray
    component: np.ndarray
    bridge: np.ndarray
    pixel: np.ndarray
    shape: tuple[int, int]

    @property
    def segments(self) -> int:
        """Number of segments."""
        return len(self.ends)


def skeleton_graph(mask: np.ndarray, rules: RuleSet, pixel_um: tuple[float, float]) -> SkeletonGraph:
    """The pruned skeleton graph of a bool [H, W] mask; `pixel_um` is the pixel's height and width in µm."""
    skeleton = _skeleton(mask, rules, pixel_um)
    graph = _build(skeleton, mask.shape)
    while len(doomed := _artefacts(graph, rules.spur_um, pixel_um)):
        skeleton.ravel()[doomed] = False
        skeleton = thin(skeleton)
        graph = _build(skeleton, mask.shape)
    return _with_components(graph)


def _skeleton(mask: np.ndarray, rules: RuleSet, pixel_um: tuple[float, float]) -> np.ndarray:
    """bool [H + 2(RING + 1), W + 2(RING + 1)]: the skeleton, one pixel thin, with a ring around the image.

    The mask is continued straight across its edge where a nerve leaves it; long runs
    along the edge (a nerve that lies on it, a blob) are not continued.
    """
    grow = round(12.5 / min(pixel_um)) + RING + 1 if rules.extend_to_border else RING + 1
    padded = np.pad(mask, grow)
    # Holes of one pixel, which drawing leaves where nerves part, would be rings of three junctions.
    padded[1:-1, 1:-1] |= padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    if rules.extend_to_border:
        top, bottom, left, right = (
            _short_runs(line, 26 / um)
            for line, um in (
                (mask[0], pixel_um[1]),
                (mask[-1], pixel_um[1]),
                (mask[:, 0], pixel_um[0]),
                (mask[:, -1], pixel_um[0]),
            )
        )
        padded[:grow, grow:-grow] = top
        padded[-grow:, grow:-grow] = bottom
        padded[grow:-grow, :grow] = left[:, None]
        padded[grow:-grow, -grow:] = right[:, None]
    padded[[0, -1]] = False
    padded[:, [0, -1]] = False
    skeleton = thin(padded)
    cut = grow - RING - 1
    skeleton = skeleton[cut : len(skeleton) - cut, cut : skeleton.shape[1] - cut].copy()
    skeleton[[0, -1]] = False
    skeleton[:, [0, -1]] = False
    return skeleton


def _short_runs(line: np.ndarray, longest: float) -> np.ndarray:
    """`line` without its runs of more than `longest` true values."""
    change = np.flatnonzero(np.diff(line, prepend=False, append=False))
    start, stop = change[::2], change[1::2]
    long = stop - start > longest
    if not long.any():
        return line
    line = line.copy()
    for a, b in zip(start[long], stop[long], strict=True):
        line[a:b] = False
    return line


def chains(partner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order items that have at most two partners each into chains.

    `partner` int [n, 2]: the partners of each item, −1 for none. Returns `order` int [n], the items chain by
    chain, each from one end to the other (a ring from any of its items), and `offsets` int [chains + 1].
    """
    n = len(partner)
    linked = partner >= 0
    starts = np.flatnonzero(linked.sum(1) < 2)
    rest = np.empty(0, int)
    order, before = _walk(partner, linked, starts)
    if len(order) < n:
        seen = np.zeros(n, bool)
        seen[order] = True
        unseen = np.flatnonzero(~seen)
        renumber = np.full(n, -1)
        renumber[unseen] = np.arange(len(unseen))
        rows = np.repeat(unseen, 2)
        links = csr_matrix(
            (np.ones(2 * len(unseen)), (renumber[rows], renumber[partner[unseen].ravel()])),
            shape=(len(unseen), len(unseen)),
        )
        _, ring = connected_components(links, directed=False)
        rest = unseen[np.unique(ring, return_index=True)[1]]
        more, more_before = _walk(partner, linked, rest)
        order, before = np.concatenate([order, more]), np.concatenate([before, more_before])
    offsets = np.append(np.flatnonzero(before == n), n)
    return order, offsets


def _walk(partner: np.ndarray, linked: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth-first order from a virtual item n that is linked to all `starts`, and each item's predecessor."""
    n = len(partner)
    indptr = np.zeros(n + 2, np.int32)
    np.cumsum(linked.sum(1), out=indptr[1:-1])
    indices = np.concatenate([partner[linked], starts]).astype(np.int32)
    indptr[-1] = len(indices)
    graph = csr_matrix((np.ones(len(indices)), indices, indptr), shape=(n + 1, n + 1))
    order, before = depth_first_order(graph, n)
    order = order[1:]
    return order, before[order]


def _build(skeleton: np.ndarray, shape: tuple[int, int]) -> SkeletonGraph:
    """Segments and nodes of a one-pixel skeleton that carries RING + 1 pixels around the image."""
    width = skeleton.shape[1]
    pixels = np.flatnonzero(skeleton)
    number = np.full(skeleton.size, -1, np.int32)
    number[pixels] = np.arange(len(pixels))
    near = number[pixels[:, None] + (STEPS[:, 0] * width + STEPS[:, 1])]  # [n, 8]
    near.sort(axis=1)
    near = near[:, ::-1]  # neighbours first, then −1
    count = (near >= 0).sum(1)
    position = np.stack([pixels // width, pixels % width], 1) - float(RING + 1)

    crossroads = np.flatnonzero(count >= 3)
    cluster = np.full(len(pixels) + 1, -1)  # last entry: what −1 points to
    junctions = 0
    if len(crossroads):
        neighbour = near[crossroads]
        both = (neighbour >= 0) & (count[neighbour] >= 3)
        renumber = np.full(len(pixels), -1)
        renumber[crossroads] = np.arange(len(crossroads))
        row, _ = np.nonzero(both)
        links = csr_matrix(
            (np.ones(len(row)), (row, renumber[neighbour[both]])), shape=(len(crossroads), len(crossroads))
        )
        junctions, label = connected_components(links, directed=False)
        cluster[crossroads] = label

    way = np.flatnonzero(count < 3)
    renumber = np.full(len(pixels) + 1, -1)
    renumber[way] = np.arange(len(way))
    neighbour = near[way, :2]
    order, offsets = chains(renumber[neighbour])
    first, last = order[offsets[:-1]], order[offsets[1:] - 1]
    # The junction at each chain's start and end: a single pixel may have one on either side.
    touch = cluster[neighbour]  # [m, 2]
    single = first == last
    ends = np.stack([touch[first].max(1, initial=-1), touch[last].max(1, initial=-1)], 1)
    ends[single] = touch[first[single]]
    closed = ~single & (renumber[neighbour] >= 0).all(1)[first]  # a ring has no start
    dot = single & (count[way[first]] == 0)
    knot = single & (ends[:, 0] >= 0) & (ends[:, 0] == ends[:, 1])  # one pixel bridging its own cluster
    keep = ~(dot | knot)
    return _assemble(position, pixels, way[order], offsets, ends, closed, keep, cluster[:-1], junctions, shape)


def _assemble(position, pixels, order, offsets, ends, closed, keep, cluster, junctions, shape):
    """Put the chains that `keep` names together with their nodes."""
    size = np.diff(offsets)
    node = np.zeros((junctions, 2))
    members = cluster >= 0
    weight = np.maximum(np.bincount(cluster[members], minlength=junctions), 1)
    for axis in (0, 1):
        node[:, axis] = np.bincount(cluster[members], position[members, axis], minlength=junctions) / weight

    start, size, ends, closed = offsets[:-1][keep], size[keep], ends[keep].copy(), closed[keep]
    at_junction = ends >= 0
    # Ends that are no junction become nodes of their own; a ring's seam is one node.
    seam = order[start[closed]]
    ends[closed] = (junctions + np.arange(len(seam)))[:, None]
    free = ends < 0
    ends[free] = junctions + len(seam) + np.arange(free.sum())
    tips = np.stack([order[start], order[start + size - 1]], 1)[free] if len(start) else np.empty(0, int)
    node = np.concatenate([node, position[seam], position[tips]])

    before = at_junction[:, 0].astype(int)
    after = (at_junction[:, 1] | closed).astype(int)
    length = size + before + after
    bounds = np.concatenate([[0], np.cumsum(length)])
    inner = np.repeat(bounds[:-1] + before - (np.cumsum(size) - size), size) + np.arange(size.sum())
    source = order[np.repeat(start - (np.cumsum(size) - size), size) + np.arange(size.sum())]
    points = np.empty((bounds[-1], 2))
    pixel = np.full(bounds[-1], -1)
    points[inner] = position[source]
    pixel[inner] = pixels[source]
    points[bounds[:-1][before > 0]] = node[ends[before > 0, 0]]
    points[bounds[1:][after > 0] - 1] = node[ends[after > 0, 1]]

    degree = np.bincount(ends.ravel(), minlength=len(node))
    return _with_components(
        SkeletonGraph(
            points, bounds, ends, node, degree, np.zeros(len(ends), int), np.zeros(len(ends), bool), pixel, shape
        )
    )


def _with_components(graph: SkeletonGraph) -> SkeletonGraph:
    """The graph with its segments' connected components numbered."""
    if not graph.segments:
        return graph
    nodes = len(graph.node)
    links = csr_matrix((np.ones(graph.segments), (graph.ends[:, 0], graph.ends[:, 1])), shape=(nodes, nodes))
    _, label = connected_components(links, directed=False)
    return replace(graph, component=np.unique(label[graph.ends[:, 0]], return_inverse=True)[1])


def raw_lengths(graph: SkeletonGraph, pixel_um: tuple[float, float]) -> np.ndarray:
    """float64 [S]: length of each segment's pixel path in µm, by Kulpa's factor (1977) for digital curves."""
    step = np.hypot(*((graph.points[1:] - graph.points[:-1]) * pixel_um).T)
    total = np.concatenate([[0.0], np.cumsum(step)])
    return 0.948 * (total[graph.offsets[1:] - 1] - total[graph.offsets[:-1]])


def _artefacts(graph: SkeletonGraph, spur_um: float, pixel_um: tuple[float, float]) -> np.ndarray:
    """Pixels of the shortest spur at each junction, and of the longer side of each loop round a small hole."""
    if not graph.segments:
        return np.empty(0, int)
    tip = graph.degree[graph.ends] == 1
    base = graph.degree[graph.ends] >= 3
    limit = np.array(graph.shape) - 0.5
    reach = np.hypot(*((np.clip(graph.node[graph.ends], -0.5, limit) @ np.diag(pixel_um)) * [[[1], [-1]]]).sum(1).T)
    spur = ((tip[:, 0] & base[:, 1]) | (tip[:, 1] & base[:, 0])) & (reach < spur_um)
    doomed = np.zeros(graph.segments, bool)
    candidates = np.flatnonzero(spur)
    if len(candidates):
        at = np.where(tip[candidates, 0], graph.ends[candidates, 1], graph.ends[candidates, 0])
        ranked = np.lexsort((reach[candidates], at))
        shortest = np.concatenate([[True], np.diff(at[ranked]) > 0])
        doomed[candidates[ranked[shortest]]] = True
    pair = np.sort(graph.ends, axis=1)
    length = raw_lengths(graph, pixel_um)
    small = (length < 2 * spur_um) & base.all(1)
    doomed |= small & (pair[:, 0] == pair[:, 1])
    candidates = np.flatnonzero(small & (pair[:, 0] != pair[:, 1]))
    if len(candidates) > 1:
        ranked = candidates[np.lexsort((length[candidates], pair[candidates, 1], pair[candidates, 0]))]
        same = (np.diff(pair[ranked], axis=0) == 0).all(1)
        doomed[ranked[1:][same]] = True
    pixel = graph.pixel[np.repeat(doomed, np.diff(graph.offsets))]
    return pixel[pixel >= 0]
