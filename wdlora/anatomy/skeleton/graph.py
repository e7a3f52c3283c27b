"""From a mask to a graph: a skeleton one pixel thin, its segments in order, its nodes.

Everything works on arrays of skeleton pixels; nothing walks pixel by pixel. Coordinates are (row, column) in
pixels, pixel centres at integers, the image's edge at −0.5.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from .chains import chain_order
from .thinning import STEPS, thin

RING = 4
"""Pixels of the continued skeleton kept outside the image, so that paths cross its edge."""

CONTINUED_UM = 12.5
"""How far a mask is continued across its edge before it is thinned."""

LONGEST_AT_EDGE_UM = 26.0
"""A longer run of mask along the edge is a nerve that lies on it, or a blob: it is not continued."""

KULPA = 0.948
"""Length of a digital curve over the length of its chain of pixels (Kulpa 1977)."""


@dataclass(frozen=True)
class SkeletonGraph:
    """Segments of a skeleton between its nodes: n points, S segments, N nodes."""

    points: np.ndarray
    """float64 [n, 2]: pixels of all segments; segment s is points[offsets[s]:offsets[s + 1]], first to last node."""
    offsets: np.ndarray
    """int [S + 1]: where each segment begins in `points`."""
    ends: np.ndarray
    """int [S, 2]: the nodes at the first and the last point of each segment."""
    node: np.ndarray
    """float64 [N, 2]: position of each node."""
    degree: np.ndarray
    """int [N]: segment ends that meet there; 1: an end, 2: the seam of a closed loop, 3 and more: a junction."""
    component: np.ndarray
    """int [S]: the connected piece that each segment belongs to."""
    bridge: np.ndarray
    """bool [S]: segments that two crossing fibres share; they are no arms of a node."""
    pixel: np.ndarray
    """int [n]: flat index of each point in the skeleton image, −1 for the centre of a node."""
    shape: tuple[int, int]
    """Height and width of the image."""
    pixel_um: tuple[float, float]
    """Height and width of a pixel in µm."""

    @property
    def segments(self) -> int:
        """S, the number of segments."""
        return len(self.ends)


def skeleton_graph(
    mask: np.ndarray, pixel_um: tuple[float, float], *, spur_um: float, extend_to_border: bool
) -> SkeletonGraph:
    """The skeleton graph of a bool [H, W] mask; `pixel_um` is the pixel's height and width in µm.

    Dead ends shorter than `spur_um` at a junction are left out, and so is one side of a loop round a hole of that size.
    `extend_to_border` thins the mask as if nerves that leave the image ran on.
    """
    skeleton = _skeleton(mask, pixel_um, extend_to_border)
    graph = _build(skeleton, mask.shape, pixel_um)
    while len(doomed := _artefacts(graph, spur_um)):
        skeleton.ravel()[doomed] = False
        skeleton = thin(skeleton)
        graph = _build(skeleton, mask.shape, pixel_um)
    return _with_components(graph)


def _skeleton(mask: np.ndarray, pixel_um: tuple[float, float], extend_to_border: bool) -> np.ndarray:
    """bool [H + 2(RING + 1), W + 2(RING + 1)]: the skeleton, one pixel thin, with a ring around the image.

    The mask is continued straight across its edge where a nerve leaves it; long runs
    along the edge (a nerve that lies on it, a blob) are not continued.
    """
    grow = round(CONTINUED_UM / min(pixel_um)) + RING + 1 if extend_to_border else RING + 1
    padded = np.pad(mask, grow)
    # Holes of one pixel, which drawing leaves where nerves part, would be rings of three junctions.
    padded[1:-1, 1:-1] |= padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    if extend_to_border:
        row_um, column_um = pixel_um
        padded[:grow, grow:-grow] = _short_runs(mask[0], LONGEST_AT_EDGE_UM / column_um)
        padded[-grow:, grow:-grow] = _short_runs(mask[-1], LONGEST_AT_EDGE_UM / column_um)
        padded[grow:-grow, :grow] = _short_runs(mask[:, 0], LONGEST_AT_EDGE_UM / row_um)[:, None]
        padded[grow:-grow, -grow:] = _short_runs(mask[:, -1], LONGEST_AT_EDGE_UM / row_um)[:, None]
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


@dataclass(frozen=True)
class _Pixels:
    """The n pixels of a skeleton that carries RING + 1 pixels around the image."""

    index: np.ndarray
    """int [n]: flat index in the skeleton image."""
    position: np.ndarray
    """float64 [n, 2]: (row, column) in the image."""
    near: np.ndarray
    """int [n, 8]: neighbours, then −1."""
    count: np.ndarray
    """int [n]: number of neighbours."""
    cluster: np.ndarray
    """int [n + 1]: the junction that each pixel belongs to, −1 for none; the last entry is what −1 points to."""
    junctions: int
    """Number of junctions."""


@dataclass(frozen=True)
class _PixelChains:
    """Pixels strung from junction to junction: chain k is order[start[k]:start[k] + size[k]]."""

    order: np.ndarray
    """int [m]: pixels."""
    start: np.ndarray
    """int [chains]."""
    size: np.ndarray
    """int [chains]."""
    ends: np.ndarray
    """int [chains, 2]: the junctions at both ends, −1 for none."""
    closed: np.ndarray
    """bool [chains]: a ring without a junction."""


def _build(skeleton: np.ndarray, shape: tuple[int, int], pixel_um: tuple[float, float]) -> SkeletonGraph:
    """Segments and nodes of a one-pixel skeleton that carries RING + 1 pixels around the image."""
    pixels = _pixels(skeleton)
    return _assemble(pixels, _pixel_chains(pixels), shape, pixel_um)


def _pixels(skeleton: np.ndarray) -> _Pixels:
    """The pixels of a skeleton; those of three and more neighbours that touch are one junction."""
    width = skeleton.shape[1]
    index = np.flatnonzero(skeleton)
    number = np.full(skeleton.size, -1, np.int32)
    number[index] = np.arange(len(index))
    near = number[index[:, None] + (STEPS[:, 0] * width + STEPS[:, 1])]
    near.sort(axis=1)
    near = near[:, ::-1]
    count = (near >= 0).sum(1)
    position = np.stack([index // width, index % width], 1) - float(RING + 1)
    crossroads = np.flatnonzero(count >= 3)
    cluster = np.full(len(index) + 1, -1)
    junctions = 0
    if len(crossroads):
        neighbour = near[crossroads]
        both = (neighbour >= 0) & (count[neighbour] >= 3)
        renumber = np.full(len(index), -1)
        renumber[crossroads] = np.arange(len(crossroads))
        row, _ = np.nonzero(both)
        links = csr_matrix(
            (np.ones(len(row)), (row, renumber[neighbour[both]])), shape=(len(crossroads), len(crossroads))
        )
        junctions, label = connected_components(links, directed=False)
        cluster[crossroads] = label
    return _Pixels(index, position, near, count, cluster, junctions)


def _pixel_chains(pixels: _Pixels) -> _PixelChains:
    """The pixels between junctions in order, without lone ones."""
    way = np.flatnonzero(pixels.count < 3)
    renumber = np.full(len(pixels.index) + 1, -1)
    renumber[way] = np.arange(len(way))
    neighbour = pixels.near[way, :2]
    order, offsets = chain_order(renumber[neighbour])
    first, last = order[offsets[:-1]], order[offsets[1:] - 1]
    # The junction at each chain's start and end: a single pixel may have one on either side.
    touch = pixels.cluster[neighbour]  # [m, 2]
    single = first == last
    ends = np.stack([touch[first].max(1, initial=-1), touch[last].max(1, initial=-1)], 1)
    ends[single] = touch[first[single]]
    closed = ~single & (renumber[neighbour] >= 0).all(1)[first]  # a ring has no start
    dot = single & (pixels.count[way[first]] == 0)
    knot = single & (ends[:, 0] >= 0) & (ends[:, 0] == ends[:, 1])  # one pixel bridging its own cluster
    keep = ~(dot | knot)
    return _PixelChains(way[order], offsets[:-1][keep], np.diff(offsets)[keep], ends[keep], closed[keep])


def _assemble(
    pixels: _Pixels, chains: _PixelChains, shape: tuple[int, int], pixel_um: tuple[float, float]
) -> SkeletonGraph:
    """Put chains of pixels together with their nodes."""
    cluster, junctions = pixels.cluster[:-1], pixels.junctions
    node = np.zeros((junctions, 2))
    members = cluster >= 0
    weight = np.maximum(np.bincount(cluster[members], minlength=junctions), 1)
    for axis in (0, 1):
        node[:, axis] = np.bincount(cluster[members], pixels.position[members, axis], minlength=junctions) / weight

    order, start, size, closed = chains.order, chains.start, chains.size, chains.closed
    ends = chains.ends.copy()
    at_junction = ends >= 0
    # Ends that are no junction become nodes of their own; a ring's seam is one node.
    seam = order[start[closed]]
    ends[closed] = (junctions + np.arange(len(seam)))[:, None]
    free = ends < 0
    ends[free] = junctions + len(seam) + np.arange(free.sum())
    tips = np.stack([order[start], order[start + size - 1]], 1)[free] if len(start) else np.empty(0, int)
    node = np.concatenate([node, pixels.position[seam], pixels.position[tips]])

    before = at_junction[:, 0].astype(int)
    after = (at_junction[:, 1] | closed).astype(int)
    length = size + before + after
    bounds = np.concatenate([[0], np.cumsum(length)])
    inner = np.repeat(bounds[:-1] + before - (np.cumsum(size) - size), size) + np.arange(size.sum())
    source = order[np.repeat(start - (np.cumsum(size) - size), size) + np.arange(size.sum())]
    points = np.empty((bounds[-1], 2))
    pixel = np.full(bounds[-1], -1)
    points[inner] = pixels.position[source]
    pixel[inner] = pixels.index[source]
    points[bounds[:-1][before > 0]] = node[ends[before > 0, 0]]
    points[bounds[1:][after > 0] - 1] = node[ends[after > 0, 1]]
    graph = SkeletonGraph(
        points=points,
        offsets=bounds,
        ends=ends,
        node=node,
        degree=np.bincount(ends.ravel(), minlength=len(node)),
        component=np.zeros(len(ends), int),
        bridge=np.zeros(len(ends), bool),
        pixel=pixel,
        shape=shape,
        pixel_um=pixel_um,
    )
    return _with_components(graph)


def _with_components(graph: SkeletonGraph) -> SkeletonGraph:
    """The graph with its segments' connected components numbered."""
    if not graph.segments:
        return graph
    nodes = len(graph.node)
    links = csr_matrix((np.ones(graph.segments), (graph.ends[:, 0], graph.ends[:, 1])), shape=(nodes, nodes))
    _, label = connected_components(links, directed=False)
    return replace(graph, component=np.unique(label[graph.ends[:, 0]], return_inverse=True)[1])


def raw_lengths(graph: SkeletonGraph) -> np.ndarray:
    """float64 [S]: length of each segment's pixel path in µm, by Kulpa's factor for digital curves."""
    step = np.hypot(*((graph.points[1:] - graph.points[:-1]) * graph.pixel_um).T)
    total = np.concatenate([[0.0], np.cumsum(step)])
    return KULPA * (total[graph.offsets[1:] - 1] - total[graph.offsets[:-1]])


def _artefacts(graph: SkeletonGraph, spur_um: float) -> np.ndarray:
    """Pixels of the shortest spur at each junction, and of the longer side of each loop round a small hole."""
    if not graph.segments:
        return np.empty(0, int)
    tip = graph.degree[graph.ends] == 1
    base = graph.degree[graph.ends] >= 3
    end = np.clip(graph.node[graph.ends], -0.5, np.array(graph.shape) - 0.5) * graph.pixel_um
    reach = np.hypot(*(end[:, 0] - end[:, 1]).T)
    spur = ((tip[:, 0] & base[:, 1]) | (tip[:, 1] & base[:, 0])) & (reach < spur_um)
    doomed = np.zeros(graph.segments, bool)
    candidates = np.flatnonzero(spur)
    if len(candidates):
        at = np.where(tip[candidates, 0], graph.ends[candidates, 1], graph.ends[candidates, 0])
        ranked = np.lexsort((reach[candidates], at))
        shortest = np.concatenate([[True], np.diff(at[ranked]) > 0])
        doomed[candidates[ranked[shortest]]] = True
    pair = np.sort(graph.ends, axis=1)
    length = raw_lengths(graph)
    small = (length < 2 * spur_um) & base.all(1)
    doomed |= small & (pair[:, 0] == pair[:, 1])
    candidates = np.flatnonzero(small & (pair[:, 0] != pair[:, 1]))
    if len(candidates) > 1:
        ranked = candidates[np.lexsort((length[candidates], pair[candidates, 1], pair[candidates, 0]))]
        same = (np.diff(pair[ranked], axis=0) == 0).all(1)
        doomed[ranked[1:][same]] = True
    pixel = graph.pixel[np.repeat(doomed, np.diff(graph.offsets))]
    return pixel[pixel >= 0]
