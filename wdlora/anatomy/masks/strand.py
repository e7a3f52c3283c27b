"""A fibre while it grows: a path of which only a part is used yet. Lengths in µm."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..biomarkers.windows import windows_along
from .curves import arc_lengths

LEAST_BRANCH_UM = 24.0
"""A shorter branch could pass for a spur of the skeleton."""

LEAST_FREE_UM = 88.0
"""A shorter free fibre would be dropped as an isolated piece (75 px, 78 µm) when the mask is measured."""

LEAST_FROM_EDGE_UM = 45.0
"""The same where the fibre comes in over the edge of the field: what lies outside might make it long enough."""

OVERHANG_UM = 9.0
"""How far fibres run on beyond the edge of the field."""


@dataclass(frozen=True)
class Field:
    """The field of view, `width` × `height` µm."""

    width: float
    height: float

    @property
    def side(self) -> float:
        """Mean of width and height, on which the rules for trunks depend."""
        return (self.width + self.height) / 2

    @property
    def windows(self) -> int:
        """How many windows a trunk passes on its way through the field; it is counted in each."""
        return windows_along(self.height)

    def holds(self, points: np.ndarray, inset: float = 0.0) -> np.ndarray:
        """Whether each point [..., 2] lies in the field, `inset` from its edge."""
        x, y = points[..., 0], points[..., 1]
        return (x >= inset) & (x <= self.width - inset) & (y >= inset) & (y <= self.height - inset)

    def spans(self, first: np.ndarray, last: np.ndarray, depth: float, chord: float) -> bool:
        """Whether a nerve between these ends is a trunk.

        Both ends lie within `depth` sides of the edge, not at the same edge, and `chord` sides apart.
        """
        sides = []
        for x, y in (first, last):
            near = depth * self.side
            sides.append((x < near, x > self.width - near, y < near, y > self.height - near))
        if not (any(sides[0]) and any(sides[1])):
            return False
        same = any(a and b for a, b in zip(*sides, strict=True))
        return not same and float(np.hypot(*(last - first))) > chord * self.side


@dataclass
class Strand:
    """One fibre: `path` [n, 2], used up to `stop` µm from its start.

    The tip of a strand with `movable` may lie anywhere from `least` to the end of its path.
    """

    path: np.ndarray
    kind: Literal["trunk", "branch", "free"]
    field: Field
    parent: int | None = None
    stop: float = np.inf
    movable: bool = False
    least: float = 0.0

    def __post_init__(self) -> None:
        self.arc = arc_lengths(self.path)
        steps = np.diff(self.arc)
        middle = (self.path[1:] + self.path[:-1]) / 2
        self.visible = np.concatenate([[0.0], np.cumsum(steps * self.field.holds(middle))])
        self.stop = min(self.stop, float(self.arc[-1]))

    @property
    def length(self) -> float:
        """Length of the used part that lies in the field."""
        return float(np.interp(self.stop, self.arc, self.visible))

    def used(self) -> np.ndarray:
        """Points of the used part."""
        count = int(np.searchsorted(self.arc, self.stop - 1e-9))
        tip = [np.interp(self.stop, self.arc, self.path[:, 0]), np.interp(self.stop, self.arc, self.path[:, 1])]
        return np.concatenate([self.path[:count], [tip]])
