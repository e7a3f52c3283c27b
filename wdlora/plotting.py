"""Matplotlib's pictures as pixels, without a display and without pyplot's global state."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def pixels(picture: Any, dpi: int) -> "np.ndarray":
    """A `matplotlib.figure.Figure` as uint8 [H, W, 3]."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    picture.set_dpi(dpi)
    canvas = FigureCanvasAgg(picture)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
