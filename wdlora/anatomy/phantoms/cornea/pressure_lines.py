"""Pressure lines: faint, straight, parallel stripes where the cornea is pressed flat."""

import numpy as np

from ..optics import along, smooth_field
from .model import drawn

STRENGTH = (0.05, 0.14)
SCALE_UM = (3.0, 9.0)
MARKED = 0.03
"""The truth holds where they change the light by at least so much."""


def pressure_lines(shape: tuple[int, int], um: float, chance: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Factor of the light float32 [H, W] and where they are, bool [H, W]; `um` is pixels a µm."""
    rng = drawn(seed, "pressure lines", chance)
    if rng is None:
        return np.ones(shape, np.float32), np.zeros(shape, bool)
    angle = rng.uniform(0, np.pi)
    y, x = np.arange(shape[0])[:, None], np.arange(shape[1])[None]
    across = x * np.cos(angle) + y * np.sin(angle) + 4 * um * smooth_field(shape, 120 * um, rng)
    reach = int(np.hypot(*shape)) + 40
    profile = along(2 * reach, rng.uniform(*SCALE_UM) * um, rng)
    stripes = np.interp(across.ravel() + reach, np.arange(2 * reach), profile).reshape(shape)
    where = np.clip(smooth_field(shape, 80 * um, rng) + 0.3, 0, 1)
    change = rng.uniform(*STRENGTH) * np.clip(stripes, -2.5, 1.5) * where
    return (1 + change).astype(np.float32), np.abs(change) > MARKED
