"""Bright bodies that are no nerves: short ones, immature and mature dendritic cells, blurred patches out of focus."""

import numpy as np

from ..imaging import Appearance
from ..optics import Splats
from .model import CorneaModel, part

SHORT_MM2 = (12.0, 50.0, 125.0)
"""Short bright bodies a mm²; one of these for a frame."""

MATURE_ARMS = (2, 6)
TRUTH_UM = 2.5
"""A body is marked so far from its axes."""

STEP_PX = 0.5


class Bodies:
    """Bodies drawn on `canvas`, and where they lie."""

    def __init__(self, canvas: Splats) -> None:
        self.canvas = canvas
        self._x: list[np.ndarray] = []
        self._y: list[np.ndarray] = []

    def line(self, x: np.ndarray, y: np.ndarray, sigma_um: float, peak: np.ndarray) -> None:
        """One stretch of a body, points `STEP_PX` apart."""
        self.canvas.lines(x, y, np.full(len(x), sigma_um * self.canvas.um), peak, STEP_PX)
        self._x.append(x)
        self._y.append(y)

    def truth(self) -> np.ndarray:
        """bool [H, W]: on a body."""
        from ...discs import paint_discs

        if not self._x:
            return np.zeros(self.canvas.shape, bool)
        x, y = np.concatenate(self._x), np.concatenate(self._y)
        return paint_discs(y, x, np.full(len(x), TRUTH_UM * self.canvas.um), self.canvas.shape)


def draw_bodies(canvas: Splats, look: Appearance, model: CorneaModel, seed: int) -> np.ndarray:
    """Splat all bodies; returns where they are, bool [H, W]. Their density follows `look` and the model's strengths."""
    bodies = Bodies(canvas)
    area = canvas.shape[0] * canvas.shape[1] / canvas.um**2 / 1e6  # mm²
    rng = part(seed, "short bodies")
    for _ in range(rng.poisson(rng.choice(SHORT_MM2) * area * model.bodies)):
        _short(bodies, rng)
    rng = part(seed, "dendritic cells")
    person = rng.choice([0.3, 1.0, 2.0]) * model.dendritic_cells
    for mature, density in enumerate((look.immature_cells, look.mature_cells)):
        for _ in range(rng.poisson(density * area * person)):
            _dendritic(bodies, bool(mature), rng)
    rng = part(seed, "patches")
    blurred = Bodies(canvas)  # too wide and faint to be taken for a nerve: no part of the truth
    for _ in range(rng.poisson(6 * area * model.bodies)):
        _patch(blurred, rng)
    return bodies.truth()


def _centre(bodies: Bodies, rng: np.random.Generator) -> np.ndarray:
    height, width = bodies.canvas.shape
    return rng.uniform(0, 1, 2) * (width, height)


def _short(bodies: Bodies, rng: np.random.Generator) -> None:
    """A dot, or a comma of some µm."""
    length = rng.gamma(1.5, 3.0) * bodies.canvas.um
    centre, angle = _centre(bodies, rng), rng.uniform(0, np.pi)
    t = np.arange(max(int(length / STEP_PX), 2)) * STEP_PX - length / 2
    heading = angle + rng.normal(0, 0.5) * t / max(length, 1)
    x, y = centre[0] + t * np.cos(heading), centre[1] + t * np.sin(heading)
    peak = rng.uniform(0.4, 2.2) * min(1, 3 / max(length, 3) + 0.4)
    bodies.line(x, y, rng.uniform(0.8, 1.9), np.full(len(t), peak))


def _dendritic(bodies: Bodies, mature: bool, rng: np.random.Generator) -> None:
    """A body of two stretches, the mature one with tapering processes."""
    um, centre, peak = bodies.canvas.um, _centre(bodies, rng), rng.uniform(0.7, 2.2)
    angle = rng.uniform(0, 2 * np.pi)
    arms = [(angle, rng.uniform(4, 8), 1.7), (angle + np.pi + rng.normal(0, 0.4), rng.uniform(3, 8), 1.6)]
    if mature:
        count = int(rng.integers(*MATURE_ARMS))
        arms += [(rng.uniform(0, 2 * np.pi), rng.uniform(7, 20), 1.0) for _ in range(count)]
    for heading, reach, sigma in arms:
        n = max(int(reach * um / STEP_PX), 2)
        t = np.arange(n) / n
        bend = heading + rng.normal(0, 0.7) * t + 0.25 * np.cumsum(rng.standard_normal(n)) / np.sqrt(n)
        x, y = centre[0] + np.cumsum(np.cos(bend)) * STEP_PX, centre[1] + np.cumsum(np.sin(bend)) * STEP_PX
        bodies.line(x, y, sigma, peak * (1 - 0.6 * t))


def _patch(bodies: Bodies, rng: np.random.Generator) -> None:
    """Something bright far out of focus."""
    centre = _centre(bodies, rng)
    walk = np.cumsum(rng.normal(0, 3 * bodies.canvas.um, (int(rng.integers(10, 60)), 2)), axis=0)
    x, y = (centre + walk).T
    bodies.line(x, y, rng.uniform(3, 5.5), np.full(len(x), rng.uniform(0.1, 0.4)))
