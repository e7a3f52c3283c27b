"""Chains: items that have at most two neighbours each, in order from one end to the other."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components, depth_first_order


@dataclass(frozen=True)
class Chains:
    """Half-edges (see `arms`) of a graph of S segments, strung together where they continue one another."""

    half_edges: np.ndarray
    """int [m]: chain k is half_edges[offsets[k]:offsets[k + 1]], in the order of travel."""
    offsets: np.ndarray
    """int [chains + 1]: where each chain begins in `half_edges`."""
    partner: np.ndarray
    """int [2S]: the arm in which each arm runs on, −1 for none."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def first(self) -> np.ndarray:
        """int [chains]: the half-edge at the start of each chain."""
        return self.half_edges[self.offsets[:-1]]

    @property
    def last(self) -> np.ndarray:
        """int [chains]: the half-edge at the end of each chain."""
        return self.half_edges[self.offsets[1:] - 1]

    @property
    def owner(self) -> np.ndarray:
        """int [m]: the chain of each half-edge."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def of_segments(self) -> np.ndarray:
        """int [S]: the chain of each segment, −1 for none."""
        chain = np.full(len(self.partner) // 2, -1)
        chain[self.half_edges // 2] = self.owner
        return chain


def chain_order(partner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
