"""How large a pixel is: the field of the usual microscope, and what can be a pixel of any."""

import numpy as np

from ..errors import InputError

FIELD_UM = 400.0
"""Side of the field of the Heidelberg Rostock Corneal Module in µm."""

PIXEL_SIZE_UM = FIELD_UM / 384
"""Its pixel size: 384 pixels a side, 1.0417 µm."""

PIXEL_LIMITS_UM = (0.05, 10.0)
"""A pixel outside these limits is no confocal microscope's: a wrong unit, or a print resolution."""


def pixel_sides(pixel_size_um: float | tuple[float, float]) -> tuple[float, float]:
    """(height, width) of a pixel in µm from one number or two. Raises InputError outside `PIXEL_LIMITS_UM`."""
    try:
        sides = np.atleast_1d(np.asarray(pixel_size_um, float))
    except (TypeError, ValueError):
        sides = np.empty(0)
    low, high = PIXEL_LIMITS_UM
    if sides.shape not in ((1,), (2,)) or not ((low <= sides) & (sides <= high)).all():
        raise InputError(
            f"the pixel size must be one or two numbers from {low:g} to {high:g} µm, not {pixel_size_um!r}"
        )
    return float(sides[0]), float(sides[-1])
