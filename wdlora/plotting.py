"""Matplotlib figures as pixels, without a display and without pyplot's global state."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def pixels(figure: Any, dpi: int) -> "np.ndarray":
    """A figure as uint8 [H, W, 3]."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
