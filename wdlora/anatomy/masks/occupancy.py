"""Which places of the field are taken, so that fibres keep apart where they should not meet."""

import math

import numpy as np

CELL_UM = 2.0
MARGIN_UM = 40.0


class Occupancy:
    """A grid of owners: 0 where a place is free, else the number of the fibre that is near. Lengths in µm."""

    def __init__(self, width: float, height: float, reach: float):
        self.reach = reach
        self._columns = math.ceil((width + 2 * MARGIN_UM) / CELL_UM)
        self._rows = math.ceil((height + 2 * MARGIN_UM) / CELL_UM)
        self._owner = np.zeros(self._rows * self._columns, np.int32)
        cells = math.floor(reach / CELL_UM)
        step = np.arange(-cells, cells + 1)
        near = step[:, None] ** 2 + step[None] ** 2 <= (reach / CELL_UM) ** 2
        self._stamp = (step[:, None] * self._columns + step[None])[near]
        self._inset = (cells + 1) * CELL_UM

    def take(self, points: np.ndarray, owner: int) -> None:
        """Mark everything within `reach` of `points` [n, 2] as taken by `owner` (> 0), unless already taken."""
        low = -MARGIN_UM + self._inset
        size = np.array([self._columns, self._rows]) * CELL_UM - MARGIN_UM - self._inset
        points = points[((points >= low) & (points < size)).all(axis=1)]
        cells = (self._cells(points)[:, None] + self._stamp).ravel()
        self._owner[cells[self._owner[cells] == 0]] = owner

    def owners(self, points: np.ndarray) -> np.ndarray:
        """Owner of the place of every point [..., 2]; 0 where it is free."""
        return self._owner[self._cells(points)]

    def _cells(self, points: np.ndarray) -> np.ndarray:
        column = np.clip((points[..., 0] + MARGIN_UM) / CELL_UM, 0, self._columns - 1).astype(np.int64)
        row = np.clip((points[..., 1] + MARGIN_UM) / CELL_UM, 0, self._rows - 1).astype(np.int64)
        return row * self._columns + column
