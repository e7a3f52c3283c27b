"""Copies planted on purpose, to see in every run whether the search finds them."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .search import turned

COUNT = 24
"""Planted copies: three disguises in each of the eight flips and turns."""

DISGUISES = ("noise", "style", "shift")


def planted(originals: list[NDArray], seed: int = 0) -> list[NDArray]:
    """Disguised copies of `COUNT` images uint8 [H, W]: their central squares, turned, each in one of three disguises.

    Noise: Gaussian, SD 12 levels. Style: another gamma and contrast, a blur of 1 pixel and a gradient of light.
    Shift: by up to 2 pixels, with noise of SD 6.
    """
    generator = np.random.default_rng(seed)
    copies = []
    for number, original in enumerate(originals[:COUNT]):
        side = min(original.shape)
        top, left = ((length - side) // 2 for length in original.shape)
        square = original[top : top + side, left : left + side].astype(float)
        turn, disguise = number % 8, DISGUISES[number // 8 % 3]
        copies.append(_disguised(np.ascontiguousarray(turned(square, turn)), disguise, generator))
    return copies


def _disguised(image: NDArray, disguise: str, generator: np.random.Generator) -> NDArray:
    if disguise == "noise":
        image = image + generator.normal(0, 12, image.shape)
    elif disguise == "style":
        image = 255 * (ndimage.gaussian_filter(image, 1.0) / 255) ** generator.uniform(0.6, 1.6)
        image = image * generator.uniform(0.7, 1.3) * np.linspace(0.7, 1.3, image.shape[1])[None]
    else:
        by = generator.integers(-2, 3, 2)
        image = ndimage.shift(image, by, order=0, mode="nearest") + generator.normal(0, 6, image.shape)
    return np.round(np.clip(image, 0, 255)).astype(np.uint8)
