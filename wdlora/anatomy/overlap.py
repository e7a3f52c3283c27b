"""How well two masks agree: Dice for area, clDice for topology."""

import numpy as np

from .skeleton.thinning import thin


def _pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a) > 0, np.asarray(b) > 0
    if a.shape != b.shape:
        raise ValueError(f"masks of different shape: {a.shape} and {b.shape}")
    return a, b


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice coefficient 2|A∩B| / (|A| + |B|) of two masks of equal shape; 1 where both are empty.

    Raises ValueError on different shapes. Source: Dice 1945.
    """
    a, b = _pair(a, b)
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def cl_dice(a: np.ndarray, b: np.ndarray) -> float:
    """Centreline Dice of two masks [H, W]: harmonic mean of topology precision and sensitivity.

    Precision is the share of A's skeleton inside B, sensitivity the share of B's skeleton inside A; there is no
    tolerance around either mask. 1 where both are empty, 0 where one is. Raises ValueError on different
    shapes. Source: Shit et al. 2021, clDice, Eq. 1–3; skeletons by `thin`, which keeps every piece.
    """
    a, b = _pair(a, b)
    if not a.any() or not b.any():
        return float(a.any() == b.any())
    skeleton_a, skeleton_b = (thin(np.pad(mask, 1))[1:-1, 1:-1] for mask in (a, b))
    precision = float(b[skeleton_a].mean())
    sensitivity = float(a[skeleton_b].mean())
    return 2 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0.0
