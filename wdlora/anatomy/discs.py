"""Discs drawn on a pixel grid: how lines of any width become a mask."""

import numpy as np

AT_ONCE = 4096
"""Discs stamped together, which bounds the memory."""


def paint_discs(
    rows: np.ndarray,
    columns: np.ndarray,
    radius: np.ndarray,
    shape: tuple[int, int],
    pixel: tuple[float, float] = (1.0, 1.0),
) -> np.ndarray:
    """Mask bool [H, W] of the pixels whose centre lies in one of n discs.

    `rows` and `columns` float [n] are the centres in pixels, which may lie outside. `radius` float [n] is in the unit
    in which `pixel` gives a pixel's height and width.
    """
    height, width = shape
    window = np.ceil(radius / min(pixel) + 0.5).astype(int)  # pixels to either side that a disc can reach
    reach = int(window.max(initial=0))
    # A margin all round lets stamps overhang; what lies farther outside is not drawn.
    near = (rows > -reach) & (rows < height - 1 + reach) & (columns > -reach) & (columns < width - 1 + reach)
    rows, columns, radius, window = rows[near], columns[near], radius[near], window[near]
    stride = width + 4 * reach
    canvas = np.zeros((height + 4 * reach) * stride, bool)
    row, column = np.floor(rows + 0.5).astype(np.int64), np.floor(columns + 0.5).astype(np.int64)
    place = (row + 2 * reach) * stride + column + 2 * reach
    down, right = row - rows, column - columns
    # Small discs take small windows: group by the window that the radius needs.
    for half in np.unique(window):
        step = np.arange(-half, half + 1)
        around = step[:, None] * stride + step
        same = np.flatnonzero(window == half)
        for chosen in np.split(same, np.arange(AT_ONCE, len(same), AT_ONCE)):
            y2 = ((down[chosen, None] + step) * pixel[0]) ** 2
            x2 = ((right[chosen, None] + step) * pixel[1]) ** 2
            inside = y2[:, :, None] <= ((radius[chosen] ** 2)[:, None] - x2)[:, None, :]
            canvas[(place[chosen, None, None] + around)[inside]] = True
    return canvas.reshape(-1, stride)[2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]
