"""What a declining plexus keeps of its fine network: less than of its nerves, and nothing that hangs on what is gone.

An assumption of ours. Fibres go in an order of their own as the annotated length falls, and with them whatever has
lost the fibre that it branched from or led to. Nothing grows: a more severe state keeps a subset.
"""

from collections.abc import Sequence

import numpy as np

from ..fibre import Fibre

RESTS_UM = 3.0
"""An end that lay so near to another fibre's centreline rested on it …"""

HOLDS_UM = 4.0
"""… and holds as long as some of that is within this distance."""

ROLE = 0x66696E66


def fine_remaining(
    fine: Sequence[Fibre],
    nerves: Sequence[np.ndarray],
    kept: Sequence[np.ndarray],
    share: float,
    pixel_size_um: float,
    seed: int,
) -> tuple[Fibre, ...]:
    """The fibres of `fine` that are left when `share` of the nerves' length is: about as much of theirs.

    A fibre goes by its own number, from the square root of `share` on, or with what it rests on.

    `nerves` are the paths [n, 2] in pixels that the network grew on, `kept` the stretches of them that are left.
    """
    lengths = np.array([np.hypot(*np.diff(fibre.points, axis=0).T).sum() for fibre in fine])
    order = np.random.default_rng(np.random.SeedSequence([ROLE, int(seed)])).permutation(len(fine))
    lasting = np.zeros(len(fine), bool)
    lasting[order] = np.cumsum(lengths[order]) <= np.sqrt(share) * lengths.sum() + 1e-9
    before, after = list(nerves), list(kept)
    remaining = []
    for fibre, lasts in zip(fine, lasting, strict=True):
        ends = fibre.points[[0, -1]]
        rested = _near(ends, before, RESTS_UM / pixel_size_um)
        if lasts and (_near(ends, after, HOLDS_UM / pixel_size_um) | ~rested).all():
            remaining.append(fibre)
            after.append(fibre.points)
        before.append(fibre.points)
    return tuple(remaining)


def _near(ends: np.ndarray, paths: Sequence[np.ndarray], reach: float) -> np.ndarray:
    """Which of the points [2, 2] lie within `reach` of a point of one of the paths; bool [2]."""
    if not paths:
        return np.zeros(len(ends), bool)
    points = np.concatenate(paths)
    return np.array([(((points - end) ** 2).sum(axis=1) <= reach**2).any() for end in ends])
