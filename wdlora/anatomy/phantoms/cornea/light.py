"""Light over the frame: dark corners, a dark bottom edge, clouds; and how far the nerves are in focus."""

import numpy as np

from ..optics import smooth_field
from .model import CorneaModel, part

BOTTOM_CHANCE = 0.5
"""Share of frames with a dark bottom edge."""


def light_field(shape: tuple[int, int], um: float, haze: float, model: CorneaModel, seed: int) -> np.ndarray:
    """Relative light float32 [H, W], about 1 in the bright part; `haze` scales the clouds."""
    rng = part(seed, "light")
    axis, ramp = rng.normal(0, 0.10, 2), rng.normal(0, 0.12, 2)
    fall, ellipse, power = rng.uniform(0.3, 1.5), rng.uniform(0.8, 1.25), rng.uniform(0.8, 1.3)
    y = np.linspace(-0.5, 0.5, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, shape[1], dtype=np.float32)[None]
    square = (y - np.float32(axis[0])) ** 2 * np.float32(ellipse) + (x - np.float32(axis[1])) ** 2 / np.float32(ellipse)
    light = np.exp(np.float32(-1.6 * fall * model.vignette) * square ** np.float32(power))
    light *= 1 + np.float32(model.vignette) * (np.float32(ramp[0]) * y + np.float32(ramp[1]) * x)
    dark, starts = rng.uniform(0.1, 0.6), rng.uniform(0.36, 0.47)
    if rng.random() < BOTTOM_CHANCE:
        light *= 1 - np.float32(dark * model.vignette) * np.clip((y - np.float32(starts)) / np.float32(0.08), 0, 1)
    rng = part(seed, "clouds")
    clouds = np.float32(rng.uniform(0.0, 0.16)) * smooth_field(shape, 45 * um, rng)
    clouds += np.float32(rng.uniform(0.02, 0.08)) * smooth_field(shape, 16 * um, rng)
    clouds += np.float32(rng.uniform(0.015, 0.06)) * smooth_field(shape, 4.0 * um, rng)
    light *= np.exp(np.float32(haze * model.clouds) * clouds)
    return np.clip(light, 0.05, None).astype(np.float32) / np.float32(np.percentile(light[::4, ::4], 70))


def focus_field(shape: tuple[int, int], um: float, model: CorneaModel, seed: int) -> np.ndarray:
    """Share of the nerves' light that is in focus, float32 [H, W] from .2 to 1.1."""
    rng = part(seed, "focus")
    lost = np.float32(rng.uniform(0.0, 0.45)) * np.abs(smooth_field(shape, 70 * um, rng))
    return np.clip(1 + np.float32(model.focus) * (np.float32(0.15) - lost), 0.2, 1.1)
