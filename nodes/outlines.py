"""What is said of masks that seem to hold the outlines of nerves in the place of nerves."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def outline_note(masks: "Sequence[np.ndarray]", pixel_size_um: float | None = None) -> str:
    """A sentence on the masks bool [H, W] that are drawn as outlines; empty where none is.

    `pixel_size_um`: of a pixel's side, where it is known.
    """
    from ..wdlora.clinic.masks import OUTLINED, drawn_as_outlines
    from ..wdlora.errors import first_of

    sides = None if pixel_size_um is None else (pixel_size_um, pixel_size_um)
    hollow = [number for number, mask in enumerate(masks, 1) if drawn_as_outlines(mask, sides)]
    if not hollow:
        return ""
    return f"mask {first_of([f'{number} of {len(masks)}' for number in hollow])}: {OUTLINED}"
