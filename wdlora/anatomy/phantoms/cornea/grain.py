"""Grain as the instrument has it: skewed, correlated a little more down than across, in proportion to the signal."""

import numpy as np
from scipy import ndimage

from .model import part
from .person import Person

DOWN, ACROSS = 1.06, 0.97
"""The point spread is a little longer across the scanned lines than along them."""

COARSE_UM = 1.55


def grain_field(shape: tuple[int, int], um: float, person: Person, seed: int) -> np.ndarray:
    """Relative grain float32 [H, W] of mean 0 and unit SD before the coarse share is added; `um` is pixels a µm."""
    rng = part(seed, "grain")
    sigma = person.grain_um * um
    fine = rng.standard_gamma(person.grain_shape, shape, dtype=np.float32) - np.float32(person.grain_shape)
    fine = _unit(ndimage.gaussian_filter(fine, (DOWN * sigma, ACROSS * sigma), truncate=3, mode="wrap"))
    coarse = rng.standard_normal(shape, dtype=np.float32)
    coarse = _unit(ndimage.gaussian_filter(coarse, COARSE_UM * um, truncate=3, mode="wrap"))
    return fine + np.float32(person.grain_coarse) * coarse


def _unit(field: np.ndarray) -> np.ndarray:
    return field / np.float32(max(float(field.std()), 1e-6))
