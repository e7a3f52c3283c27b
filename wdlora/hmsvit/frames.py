"""Images of any size as tiles of the side that a network was built for."""

import numpy as np
from numpy.typing import NDArray

from ..anatomy.scale import pixel_sides
from ..anatomy.tracing.levels import in_grains
from ..anatomy.tracing.pixel_grid import PixelGrid, pixel_grid

SHARED = 0.25
"""Share of a tile that its neighbour shows as well, at least."""


def on_own_grid(
    image: NDArray, pixel_size_um: float | tuple[float, float], own_um: float, valid: NDArray | None = None
) -> tuple[NDArray, PixelGrid]:
    """The image [H, W] as the network sees it, and the grid it lies on.

    float32 [h, w] in pixels of `own_um` µm, in units of the grain (`levels.in_grains`): gain and offset fall out. 0
    where `valid` bool [H, W] is false.
    """
    grid = pixel_grid((image.shape[0], image.shape[1]), pixel_sides(pixel_size_um), own_um)
    return in_grains(grid.from_image(image), own_um, grid.area(valid)), grid


def tiles_of(levels: NDArray, side: int) -> NDArray:
    """Overlapping tiles that cover an image float32 [h, w]: float32 [n, 1, side, side].

    Neighbours share a quarter or more. An image that is smaller than a tile is continued by its mirror image.
    """
    wanted = [(0, max(side - have, 0)) for have in levels.shape]
    whole = np.pad(levels, wanted, mode="symmetric")
    rows, columns = (_starts(have, side) for have in whole.shape)
    return np.stack([whole[row : row + side, column : column + side][None] for row in rows for column in columns])


def _starts(size: int, side: int) -> list[int]:
    count = 1 + -(-(size - side) // int(side * (1 - SHARED)))
    return [round(k * (size - side) / max(count - 1, 1)) for k in range(count)]
