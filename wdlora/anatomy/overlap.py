"""How well two masks agree: Dice for area, clDice for topology, and both lines within a tolerance."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .skeleton.thinning import thin

TOLERANCE_UM = 3.0
"""How far apart two lines of one nerve may lie: about its width."""


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


@dataclass(frozen=True)
class LineOverlap:
    """How well the lines of two masks agree within a tolerance: `precision`, `recall` and their harmonic mean."""

    precision: float
    recall: float

    @property
    def cl_dice(self) -> float:
        """clDice with the tolerance."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def line_overlap(
    found: np.ndarray, truth: np.ndarray, tolerance_um: float = TOLERANCE_UM, pixel_um: tuple[float, float] = (1.0, 1.0)
) -> LineOverlap:
    """Agreement of the skeletons of two masks [H, W] whose widths do not count.

    Precision is the share of the found skeleton within `tolerance_um` of the true one, recall the share of the true one
    within it of the found one; `pixel_um` is a pixel's height and width. Both are 1 where both masks are empty, 0 where
    one is. Raises ValueError on different shapes.
    """
    a, b = _pair(found, truth)
    if not a.any() or not b.any():
        same = float(a.any() == b.any())
        return LineOverlap(same, same)
    lines = [skeleton_of(mask) for mask in (a, b)]
    near = [ndimage.distance_transform_edt(~line, sampling=pixel_um) <= tolerance_um for line in lines]
    return LineOverlap(float(near[1][lines[0]].mean()), float(near[0][lines[1]].mean()))


def skeleton_of(mask: np.ndarray) -> np.ndarray:
    """The skeleton bool [H, W] of a mask that goes on beyond the edge: lines that leave the image reach it."""
    reach = 6
    return thin(np.pad(np.pad(mask, reach, mode="edge"), 1))[reach + 1 : -reach - 1, reach + 1 : -reach - 1]
