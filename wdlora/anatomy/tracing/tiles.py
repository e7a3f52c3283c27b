"""Images of any size for a network that wants small ones: overlapping tiles, of which the middles count."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

TILE = 512
"""Side of a tile in pixels; an image of at most this is read at once."""

OVERLAP = 64
"""How far tiles reach into one another, in pixels: more than twice what the network's answer to a pixel hangs on."""

Answer = Callable[[np.ndarray], np.ndarray]
"""An image float32 [H, W] → channels float32 [c, H, W]."""


def tiled(
    answer: Answer,
    image: np.ndarray,
    channels: int,
    multiple: int,
    valid: np.ndarray | None = None,
    fixed: tuple[int, int] | None = None,
) -> np.ndarray:
    """`answer` to an image float32 [H, W] of any size, as float32 [channels, H, W].

    Tiles have sides that are multiples of `multiple`, or all are of the `fixed` size (rows, columns). What lies beyond
    the image is its mirror image. Tiles in which `valid` bool [H, W] is nowhere true are not asked: 0.
    """
    height, width = image.shape
    shape = fixed or (_up(min(height, TILE), multiple), _up(min(width, TILE), multiple))
    result = np.zeros((channels, height, width), np.float32)
    for rows, inner_rows in _spans(height, shape[0]):
        for columns, inner_columns in _spans(width, shape[1]):
            if valid is not None and not valid[inner_rows, inner_columns].any():
                continue
            part = image[rows, columns]
            wanted = [(0, side - have) for side, have in zip(shape, part.shape, strict=True)]
            found = answer(np.pad(part, wanted, mode="symmetric"))
            from_row, from_column = inner_rows.start - rows.start, inner_columns.start - columns.start
            result[:, inner_rows, inner_columns] = found[
                :,
                from_row : from_row + inner_rows.stop - inner_rows.start,
                from_column : from_column + inner_columns.stop - inner_columns.start,
            ]
    return result


def _up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple


def _spans(size: int, tile: int) -> Iterator[tuple[slice, slice]]:
    """Along one side, every tile and the part of it that counts; these parts follow one another without gap."""
    if size <= tile:
        yield slice(0, size), slice(0, size)
        return
    overlap = min(OVERLAP, tile // 2)
    count = -(-(size - overlap) // (tile - overlap))
    starts = [round(k * (size - tile) / (count - 1)) for k in range(count)]
    # Two neighbours share the middle of what they have in common.
    cuts = [0, *((a + tile + b) // 2 for a, b in pairwise(starts)), size]
    for start, low, high in zip(starts, cuts[:-1], cuts[1:], strict=True):
        yield slice(start, start + tile), slice(low, high)
