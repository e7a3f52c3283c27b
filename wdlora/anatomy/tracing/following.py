"""From probabilities of nerve to a mask: centrelines by the rules of the filters, and the nerve around them."""

import numpy as np

from ..discs import paint_discs
from .learned import Rules
from .pixel_grid import PixelGrid
from .ridges import centrelines

AROUND_UM = 5.0
"""A segmenter's nerve reaches this far to either side of its centreline."""

BRIDGE_UM = 1.0
"""Half the width of what bridges a gap in a segmenter's nerve."""


def nerves_of(probability: np.ndarray, grid: PixelGrid, pixel_um: tuple[float, float], rules: Rules) -> np.ndarray:
    """Mask bool [H, W] of the nerves in a `probability` float32 [h, w] on `grid`, at the image's own resolution."""
    um = 2 / sum(p * s for p, s in zip(pixel_um, grid.step, strict=True))  # places a µm
    skeleton = centrelines(probability, rules.evidence, um, rules.cleaning, np.zeros(grid.shape, bool))
    rows, columns = grid.to_image(*np.nonzero(skeleton))
    shape = grid.image_shape
    around, bridges = (
        paint_discs(rows, columns, np.full(len(rows), radius), shape, pixel_um) for radius in (AROUND_UM, BRIDGE_UM)
    )
    return ((grid.on_image(probability) >= rules.level) & around) | bridges
