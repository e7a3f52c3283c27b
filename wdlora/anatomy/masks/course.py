"""The common course of a plexus: where a nerve runs that starts at a given place.

Everything here is in µm; x runs along the columns, y along the rows, the field is [0, width] × [0, height].
"""

import math
from dataclasses import dataclass

import numpy as np

from .curves import STEP_UM, evaluate, waves


@dataclass(frozen=True)
class Course:
    """Nearly parallel nerves: lines along `direction`, bent together and, in the whorl, turned about a centre.

    `excess` is the arc/chord ratio of a nerve minus one. It is shared between slow bends that all nerves have
    in common and faster ones of each nerve's own.
    """

    width: float
    height: float
    direction: float
    excess: float
    bend: tuple[np.ndarray, np.ndarray, np.ndarray]
    spread: np.ndarray
    whorl: tuple[float, float, float, float] | None = None

    @property
    def half_length(self) -> float:
        """Half the length of a line that crosses the field in any direction."""
        return 0.5 * math.hypot(self.width, self.height) + 20

    def parameters(self) -> np.ndarray:
        """Places along a line, -half_length to half_length."""
        return np.arange(-self.half_length, self.half_length + STEP_UM, STEP_UM)

    def lines(self, along: np.ndarray, across: np.ndarray) -> np.ndarray:
        """Points [..., 2] of the plexus at `along` and `across` its direction from the centre of the field."""
        amplitude, omega, phase = self.bend
        bent = across + np.cos(along[..., None] * omega + across[..., None] * self.spread + phase) @ amplitude
        cos, sin = math.cos(self.direction), math.sin(self.direction)
        points = np.stack(
            [self.width / 2 + along * cos - bent * sin, self.height / 2 + along * sin + bent * cos], axis=-1
        )
        return points if self.whorl is None else self._turned(points)

    def own(self, rng: np.random.Generator, along: np.ndarray, count: int) -> np.ndarray:
        """Displacements [count, len(along)] that `count` nerves have each on their own."""
        result = np.zeros((count, len(along)))
        slope = math.sqrt(2 * self.excess)
        for row in result:
            row += evaluate(waves(rng, 0.62 * slope, (110.0, 230.0), 4), along)
            row += evaluate(waves(rng, 0.36 * slope, (45.0, 100.0), 4), along)
        return result

    def _turned(self, points: np.ndarray) -> np.ndarray:
        """Turn `points` about the centre of the whorl by an angle that falls with the distance from it."""
        x, y, angle, radius = self.whorl  # type: ignore[misc]
        offset = points - [x, y]
        turn = angle * np.exp(-(offset**2).sum(axis=-1) / radius**2)
        cos, sin = np.cos(turn), np.sin(turn)
        return np.stack(
            [
                x + cos * offset[..., 0] - sin * offset[..., 1],
                y + sin * offset[..., 0] + cos * offset[..., 1],
            ],
            axis=-1,
        )


def draw_course(
    rng: np.random.Generator, width: float, height: float, excess: float, whorl: bool, calm: float = 1.0
) -> Course:
    """A course for a field of `width` × `height` µm; `calm` < 1 straightens and uprights it."""
    direction = math.pi / 2 + calm * math.radians(float(np.clip(14 * rng.standard_normal(), -32, 32)))
    # The turn of the whorl sharpens every bend.
    excess = excess * calm * (0.5 if whorl else 1.0)
    bend = waves(rng, 0.66 * math.sqrt(2 * excess), (230.0, 620.0), 4)
    spread = rng.uniform(-1, 1, 4) / 320.0
    turned = None
    if whorl:
        radius = 0.27 * min(width, height)
        centre = rng.uniform(0.44, 0.56, 2)
        turned = (width * centre[0], height * centre[1], float(rng.uniform(1.8, 2.2)), radius)
    return Course(width, height, direction, excess, bend, spread, turned)
