"""A nerve fibre as a vector."""

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Fibre:
    """One nerve fibre: a centreline with a width at every point.

    `points` is float64 [n, 2], x (column) and y (row) in pixels, pixel centres at integers; it may run beyond
    the image. `width_um` is float64 [n], the full drawn width in µm. `parent` is the index of the fibre that
    a branch leaves, None for trunks, free and fine fibres. Fibres of the
    kind "fine" are those that experts do not annotate.
    """

    points: np.ndarray
    width_um: np.ndarray
    kind: Literal["trunk", "branch", "free", "fine"]
    parent: int | None = None
