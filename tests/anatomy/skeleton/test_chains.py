"""Items in chains."""

import itertools

import numpy as np

from wdlora.anatomy.skeleton.chains import chain_order


def test_chains_of_any_kind():
    """A line 2–0–1, a ring 3–4–5 and a lone 6."""
    partner = np.array([[2, 1], [0, -1], [0, -1], [4, 5], [3, 5], [3, 4], [-1, -1]])
    order, offsets = chain_order(partner)
    found = [order[a:b].tolist() for a, b in itertools.pairwise(offsets)]
    assert [1, 0, 2] in found or [2, 0, 1] in found
    assert [6] in found
    assert sorted(map(sorted, found)) == [[0, 1, 2], [3, 4, 5], [6]]
