"""Motion stripes: rows that were scanned while the eye jumped, smeared along the scan and of another brightness."""

import numpy as np
from scipy import ndimage

from .model import drawn, part

STRIPES = (1, 4)
HEIGHT_UM = (2.0, 12.0)
SMEAR_UM = (2.0, 9.0)
GAIN = (0.75, 1.2)

ROW_GAIN = (0.003, 0.02)
"""Range of the SD of the gain from row to row."""


def uneven_rows(image: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """`image` [H, W] with a gain of its own in every row, in half of the frames."""
    rng = part(seed, "row gain")
    if not strength or rng.random() < 0.5:
        return image
    spread = np.float32(strength * rng.uniform(*ROW_GAIN))
    return image * (1 + spread * rng.standard_normal((len(image), 1), dtype=np.float32))


def motion_stripes(image: np.ndarray, um: float, chance: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`image` [H, W] with its stripes, and where they are, bool [H, W]; `um` is pixels a µm."""
    truth = np.zeros(image.shape, bool)
    rng = drawn(seed, "motion stripes", chance)
    if rng is None:
        return image, truth
    image = image.copy()
    for _ in range(int(rng.integers(*STRIPES))):
        height = max(round(rng.uniform(*HEIGHT_UM) * um), 1)
        top = int(rng.integers(0, max(len(image) - height, 1)))
        rows = slice(top, top + height)
        smeared = ndimage.gaussian_filter1d(image[rows], rng.uniform(*SMEAR_UM) * um, axis=1, mode="nearest")
        kept = np.float32(rng.uniform(0.2, 0.7))
        image[rows] = (kept * image[rows] + (1 - kept) * smeared) * np.float32(rng.uniform(*GAIN))
        truth[rows] = True
    return image, truth
