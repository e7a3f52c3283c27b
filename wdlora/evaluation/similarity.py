"""How alike two pictures of one mask are, pixel by pixel: PSNR, SSIM and MS-SSIM (the paper's Eq. 8 and 9)."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import InputError

WHITE = 255.0
SIGMA, RADIUS = 1.5, 5
"""SD and reach in pixels of the Gaussian window, 11 × 11."""

K1, K2 = 0.01, 0.03
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of MS-SSIM's five scales, from the finest."""

SHORTEST_SIDE = (2 * RADIUS + 1) * 2 ** (len(SCALES) - 1)
"""176: below it the coarsest scale has no whole window."""


def psnr(a: NDArray, b: NDArray) -> float:
    """Peak signal-to-noise ratio of two uint8 images [H, W] in dB; infinite where they are equal."""
    _check(a, b)
    error = float(np.mean((a.astype(float) - b.astype(float)) ** 2))
    return 10 * math.log10(WHITE**2 / error) if error else math.inf


def ssim(a: NDArray, b: NDArray) -> float:
    """Structural similarity of two uint8 images [H, W]: mean over the places of whole 11 × 11 Gaussian windows.

    Source: Wang et al. 2004. Raises InputError on different shapes and on images smaller than the window.
    """
    _check(a, b)
    return float(_maps(a.astype(float), b.astype(float))[0].mean())


def ms_ssim(a: NDArray, b: NDArray) -> float:
    """Multi-scale structural similarity: contrast and structure at five scales, luminance at the coarsest.

    Source: Wang et al. 2003. Negative means count as 0. Raises InputError on different shapes and on sides below
    `SHORTEST_SIDE`.
    """
    _check(a, b)
    if min(a.shape) < SHORTEST_SIDE:
        raise InputError(f"MS-SSIM needs sides of at least {SHORTEST_SIDE} pixels, not {a.shape[1]} × {a.shape[0]}")
    one, other, product = a.astype(float), b.astype(float), 1.0
    for scale, weight in enumerate(SCALES):
        whole, structure = _maps(one, other)
        last = scale == len(SCALES) - 1
        product *= max(float((whole if last else structure).mean()), 0.0) ** weight
        one, other = _halved(one), _halved(other)
    return product


def _maps(a: NDArray, b: NDArray) -> tuple[NDArray, NDArray]:
    """SSIM, and its contrast and structure alone, wherever a whole window fits."""
    c1, c2 = (K1 * WHITE) ** 2, (K2 * WHITE) ** 2
    mean_a, mean_b = _window(a), _window(b)
    var_a, var_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    structure = (2 * (_window(a * b) - mean_a * mean_b) + c2) / (var_a + var_b + c2)
    return (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1) * structure, structure


def _window(values: NDArray) -> NDArray:
    smooth = ndimage.gaussian_filter(values, SIGMA, radius=RADIUS)
    return smooth[RADIUS:-RADIUS, RADIUS:-RADIUS]


def _halved(values: NDArray) -> NDArray:
    """Means of 2 × 2 pixels; an odd last row or column is left out."""
    height, width = (side // 2 * 2 for side in values.shape)
    return values[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3))


def _check(a: NDArray, b: NDArray) -> None:
    if a.shape != b.shape or a.ndim != 2 or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise InputError(f"pictures to compare must be grey, 8 bits and of one size, not {a.shape} and {b.shape}")
    if min(a.shape) <= 2 * RADIUS:
        raise InputError(f"pictures to compare must be larger than 11 × 11 pixels, not {a.shape[1]} × {a.shape[0]}")
