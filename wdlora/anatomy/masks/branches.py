"""Branches that a plexus may grow, drawn a handful at once: where they leave their trunks and how they run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .curves import STEP_UM, evaluate, waves
from .strand import Strand

CANDIDATES = 10
"""Branches drawn at once."""

LONGEST_BRANCH_UM = 320.0

BRANCH_ANGLES = (math.radians(25), math.radians(65))
"""Angles at which branches leave a trunk, drawn evenly."""

FORWARD_SHARE = 0.75
"""Most branches of a plexus leave their trunks in the same direction."""

SETTLING_UM = 45.0
"""Over this length a branch turns towards the direction of its trunk."""


@dataclass(frozen=True)
class Candidates:
    """Branches drawn at once, c of them, each of n points `STEP_UM` apart."""

    trunk: np.ndarray
    """int [c]: the strand that each leaves."""
    at: np.ndarray
    """float64 [c]: how far along it, µm."""
    angle: np.ndarray
    """float64 [c]: at what angle, radians."""
    paths: np.ndarray
    """float64 [c, n, 2]: points (x, y) in µm, the root first."""

    def root(self, k: int) -> tuple[int, float]:
        """Trunk and place of one branch point."""
        return int(self.trunk[k]), float(self.at[k])


def draw_candidates(
    rng: np.random.Generator, strands: Sequence[Strand], trunks: Sequence[int], ways: float, excess: float
) -> Candidates:
    """Branches of any of the strands `trunks`.

    `ways` is the direction along a trunk, 1 or −1, in which most leave; `excess` is the arc/chord ratio of nerves minus
    one, on which their winding depends.
    """
    count = CANDIDATES
    trunk = rng.choice(trunks, count)
    where = rng.random(count)
    forward = np.where(rng.random(count) < FORWARD_SHARE, ways, -ways)
    side = rng.choice([-1.0, 1.0], count)
    angle = rng.uniform(*BRANCH_ANGLES, count)
    settles = rng.uniform(0.3, 0.9, count)
    roots = np.zeros((count, 2))
    at = np.zeros(count)
    heading = np.zeros(count)
    for k in range(count):
        strand = strands[trunk[k]]
        index = int(len(strand.path) * (0.02 + 0.96 * where[k]))
        at[k], roots[k] = strand.arc[index], strand.path[index]
        heading[k] = heading_at(strand.path, index)
    along = np.arange(0.0, LONGEST_BRANCH_UM, STEP_UM)
    slope = 0.9 * math.sqrt(2 * excess)
    wiggle = evaluate(waves(rng, slope / 18, (45.0, 150.0), 5), along[None] + 400.0 * where[:, None])
    wiggle -= wiggle[:, :1]
    fade = settles[:, None] + (1 - settles[:, None]) * np.exp(-along / SETTLING_UM)
    direction = heading[:, None] + np.where(forward < 0, math.pi, 0.0)[:, None]
    direction = direction + (side * angle)[:, None] * fade + wiggle
    steps = STEP_UM * np.stack([np.cos(direction), np.sin(direction)], axis=-1)
    paths = np.concatenate([roots[:, None], roots[:, None] + np.cumsum(steps, axis=1)[:, :-1]], axis=1)
    return Candidates(trunk, at, angle, paths)


def heading_at(path: np.ndarray, index: int) -> float:
    """Direction of a path at a point, radians."""
    low, high = path[max(index - 3, 0)], path[min(index + 3, len(path) - 1)]
    return math.atan2(high[1] - low[1], high[0] - low[0])
