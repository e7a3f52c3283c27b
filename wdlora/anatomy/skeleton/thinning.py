"""Thinning of masks to lines one pixel wide.

Zhang and Suen's thinning (1984), the usual choice, erases a part of many straight lines near 45° and the whole
of some, and leaves staircases two pixels thick. Here pixels are peeled from the north, south, east and west
in turn and only where that changes no connection (Rosenfeld 1975), which loses nothing and ends one pixel
thin.
"""

import numpy as np

STEPS = np.array([(0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1)])
"""(row, column) steps to the neighbours, counter-clockwise from east; bit k of a neighbourhood is STEPS[k]."""

_EAST, _NORTH, _WEST, _SOUTH = 0, 2, 4, 6
_BITS = (np.arange(256)[:, None] >> np.arange(8)) & 1


def _redundant() -> np.ndarray:
    """bool [256]: may a pixel with this neighbourhood go without cutting a connection or eating an end?

    Its 8-connectivity number (Yokoi, Toriwaki and Fukumura 1975) is 1 then.
    """
    off = 1 - _BITS
    number = np.sum([off[:, k] - off[:, k] * off[:, k + 1] * off[:, (k + 2) % 8] for k in (0, 2, 4, 6)], 0)
    return (number == 1) & (_BITS.sum(1) >= 2)


_PEEL = [_redundant() & (_BITS[:, side] == 0) for side in (_NORTH, _SOUTH, _EAST, _WEST)]
_AT_EDGE = (_BITS[:, [_EAST, _NORTH, _WEST, _SOUTH]] == 0).any(axis=1)


def thin(mask: np.ndarray) -> np.ndarray:
    """The 8-connected skeleton, bool [H, W], of a bool mask whose outermost pixels are all false.

    It has the mask's pieces and holes, and no pixel that could go without losing one or shortening an end.
    """
    width = mask.shape[1]
    steps = [int(row * width + column) for row, column in STEPS]
    alive = mask.ravel().copy()
    pixels = np.flatnonzero(alive)
    around = np.zeros(alive.size, np.uint8)  # the neighbourhood of every pixel of the mask, as bits
    bits = alive.view(np.uint8)
    code = np.zeros(len(pixels), np.uint8)
    for k, step in enumerate(steps):
        code |= bits[pixels + step] << np.uint8(k)
    around[pixels] = code
    forget = [np.uint8(255 - (1 << (k + 4) % 8)) for k in range(8)]  # what a vanished pixel is to its neighbour k
    changed = True
    while changed:
        changed = False
        edge = pixels[_AT_EDGE[around[pixels]]]
        for peel in _PEEL:
            gone = edge[peel[around[edge]]]
            if len(gone):
                changed = True
                alive[gone] = False
                around[gone] = 0
                for step, keep in zip(steps, forget, strict=True):
                    around[gone + step] &= keep
        pixels = pixels[alive[pixels]]
    return alive.reshape(mask.shape)
