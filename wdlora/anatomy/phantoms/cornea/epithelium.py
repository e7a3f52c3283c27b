"""Basal epithelium in focus: a honeycomb of cells of about 10 µm, in parts of a frame or all over it."""

import numpy as np

from ..optics import cell_mosaic, smooth_field
from .k_structures import Overlay, nothing
from .model import drawn

DIAMETER_UM = (7.5, 12.0)
STRENGTH = (0.05, 0.38)
HIDES = 2.2
"""A nerve loses so many times the honeycomb's strength of its light, up to `MOST_HIDDEN`."""

MOST_HIDDEN = 0.75
MARKED = 0.06
"""The truth holds where the honeycomb's strength is at least so much of the background."""


def epithelium(shape: tuple[int, int], um: float, chance: float, seed: int) -> Overlay:
    """The epithelium of a frame, or nothing; `um` is pixels a µm."""
    rng = drawn(seed, "epithelium", chance)
    if rng is None:
        return nothing(shape)
    mosaic = cell_mosaic(shape, rng.uniform(*DIAMETER_UM) * um, rng)
    # Borders are seen in pieces, and some stretches run straight and bright like a nerve.
    mosaic = mosaic * np.clip(1 + np.float32(0.55) * smooth_field(shape, 5 * um, rng), 0.1, 2.2)
    mosaic -= mosaic.mean()
    everywhere = rng.random() < 0.3
    edge = smooth_field(shape, 60 * um, rng) * np.float32(3.6) - np.float32(rng.uniform(-3, 4))
    where = np.ones(shape, np.float32) if everywhere else 1 / (1 + np.exp(-edge))
    strength = np.float32(rng.uniform(*STRENGTH)) * where
    return Overlay(strength * mosaic, np.clip(HIDES * strength, 0, MOST_HIDDEN), strength > MARKED)
