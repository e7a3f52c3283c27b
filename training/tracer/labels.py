"""What is nerve in a training frame, what is not, and where nobody can tell."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.tracer.frames import COVERED, DRAWN, STEPS

SEEN, UNSEEN = 2.0, 1.2
"""Brightness over grain from which a fibre can be followed, and below which nobody could see it. What lies between
counts neither as nerve nor as background."""

NERVE, NERVE_UNSURE, PEN, PEN_UNSURE, OUTSIDE = 1, 2, 4, 8, 16
"""Bits of a label: visible nerve; visible or not; drawn by an annotator; drawn or not; no image."""

_CROSS = ndimage.generate_binary_structure(2, 1)


def labelled(visibility: NDArray, marks: NDArray) -> NDArray:
    """The label uint8 [H, W]: three-pixel lines of what is visible, and the annotator's mask where that is.

    `visibility` float [H, W] on centrelines, 0 elsewhere; `marks` of `frames`. An annotator cannot have seen a nerve
    that is not visible, but may have known of it: there nothing is learned.
    """
    seen = visibility >= SEEN
    nerve = ndimage.binary_dilation(seen, np.ones((3, 3)))
    unsure = ndimage.binary_dilation((visibility >= UNSEEN) & ~seen, _CROSS, 2) & ~nerve
    drawn = marks & DRAWN > 0
    nearest = np.zeros(drawn.shape)
    if (visibility > 0).any():
        _, (row, column) = ndimage.distance_transform_edt(visibility <= 0, return_indices=True)
        nearest = visibility[row, column]
    pen_unsure = drawn & ((nearest < SEEN) | (marks & COVERED > 0))
    parts = ((nerve, NERVE), (unsure, NERVE_UNSURE), (drawn & ~pen_unsure, PEN), (pen_unsure, PEN_UNSURE))
    return sum((part * np.uint8(bit) for part, bit in parts), np.zeros(drawn.shape, np.uint8))


def visibility_of(stored: NDArray) -> NDArray:
    """Visibility float32 as it was before it was stored."""
    return stored.astype(np.float32) / STEPS
