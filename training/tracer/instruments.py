"""Frames as other instruments take them: larger, so that nerves are wider, and with other noise."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from training.tracer.frames import DRAWN
from wdlora.anatomy.discs import paint_discs
from wdlora.anatomy.skeleton.thinning import thin

MAGNIFIED = (1.0, 2.2)
"""Range of the magnification."""

NOISE, BLUR_PX = (0.04, 0.34), (0.0, 0.8)
"""SD of the noise over the signal, and the blur that correlates it; some of it is of the signal's root."""

PEN_PX = 2.4
"""Half the width of an annotator's pen, which does not grow with the picture."""

Parts = tuple[NDArray, NDArray, NDArray]
"""Image float32 [H, W], visibility float32 [H, W] on centrelines, marks uint8 [H, W]."""


def other_instrument(image: NDArray, visibility: NDArray, marks: NDArray, rng: np.random.Generator) -> Parts:
    """A part of the frame, enlarged to its size, under noise of its own; visibility follows."""
    zoom = rng.uniform(*MAGNIFIED)
    grown, visibility, marks = _enlarged(image, visibility, marks, zoom, rng)
    noise, blur = rng.uniform(*NOISE), rng.uniform(*BLUR_PX)
    field = rng.standard_normal(grown.shape) if rng.random() < 0.5 else rng.standard_gamma(2.0, grown.shape) - 2
    field = ndimage.gaussian_filter(field, blur, truncate=3)
    own = _grain(grown)
    level = grown if rng.random() < 0.6 else np.sqrt(grown * max(float(grown.mean()), 1.0))
    noisy = np.clip(grown + level * (noise * field / field.std()).astype(np.float32), 0, None)
    # An eye gathers light across and along a nerve: twice the width stands twice the noise, and white noise hides less
    # than the correlated grain of a frame does. Three times as generous as that alone: nerves of a third of the usual
    # brightness over noise are to be followed, as line filters follow them.
    gathered = 3.0 * zoom * (1.4 - 0.5 * blur)
    return noisy, visibility * np.float32(gathered / np.sqrt(1 + (noise / own) ** 2)), marks


def _enlarged(image: NDArray, visibility: NDArray, marks: NDArray, zoom: float, rng: np.random.Generator) -> Parts:
    height, width = image.shape
    rows, columns = round(height / zoom), round(width / zoom)
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    window = np.s_[top : top + rows, left : left + columns]

    def resized(field: NDArray, how: Image.Resampling) -> NDArray:
        return np.asarray(Image.fromarray(field[window]).resize((width, height), how))

    down, right = height / rows, width / columns
    seen = np.zeros(image.shape, np.float32)
    row, column = np.nonzero(visibility[window])
    y, x = ((row + 0.5) * down - 0.5).astype(int), ((column + 0.5) * right - 0.5).astype(int)
    for dy in (0, 1):  # a place becomes up to 2 × 2
        for dx in (0, 1):
            at = np.minimum(y + dy, height - 1), np.minimum(x + dx, width - 1)
            np.maximum.at(seen, at, visibility[window][row, column])
    line = thin(np.pad(marks[window] & DRAWN > 0, 1))[1:-1, 1:-1]
    row, column = np.nonzero(line)
    y, x = (row + 0.5) * down - 0.5, (column + 0.5) * right - 0.5
    drawn = paint_discs(y, x, np.full(len(y), max(PEN_PX, 0.75 * zoom)), (height, width))
    others = resized(marks, Image.Resampling.NEAREST) & ~np.uint8(DRAWN)
    grown = np.clip(resized(image, Image.Resampling.BICUBIC), 0, None)  # cubics overshoot
    return grown, seen, others | drawn * np.uint8(DRAWN)


def _grain(image: NDArray) -> float:
    """Robust SD of the grain over the local mean."""
    fine = image - ndimage.gaussian_filter(image, 3)
    return max(1.4826 * float(np.median(np.abs(fine) / np.maximum(ndimage.gaussian_filter(image, 6), 1))), 0.01)
