"""Nerve width from the image."""

import numpy as np
from scipy import ndimage

from .linefilter import Grid


def measure_widths(
    image: np.ndarray, pixel_size_um: tuple[float, float], skeleton: np.ndarray, angle: np.ndarray, grid: Grid
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre and width at half height of the lines of an image, smoothed along the lines.

    `image` [H, W]; `skeleton` bool and `angle` (radians) on the working grid. Returns rows and columns in image pixels,
    moved to the middle of the line, and the width in µm, all float [n]. Widths stay within 2.6–9 µm.
    """
    places = np.nonzero(skeleton)
    if not len(places[0]):
        empty = np.zeros(0)
        return empty, empty, empty
    rows, columns = grid.to_image(*places)
    blur_um = 0.7
    smooth = ndimage.gaussian_filter(np.asarray(image, np.float32), [blur_um / p for p in pixel_size_um], truncate=3)
    cos, sin = np.cos(angle[places]), np.sin(angle[places])
    step = 0.75  # µm
    across = np.arange(-11, 12) * step
    along = np.arange(-6.0, 6.01, 3.0)
    y = (across[None, :, None] * cos[:, None, None] + along * sin[:, None, None]) / pixel_size_um[0]
    x = (-across[None, :, None] * sin[:, None, None] + along * cos[:, None, None]) / pixel_size_um[1]
    i = np.clip(np.rint(rows[:, None, None] + y), 0, image.shape[0] - 1).astype(np.intp)
    j = np.clip(np.rint(columns[:, None, None] + x), 0, image.shape[1] - 1).astype(np.intp)
    profile = smooth[i, j].mean(2)  # [n, across]
    middle = len(across) // 2
    near = profile[:, middle - 3 : middle + 4]
    peak_at = near.argmax(1) + middle - 3
    height = near.max(1)
    base = 0.5 * (_background(profile[:, :middle]) + _background(profile[:, middle + 1 :]))
    level = base + 0.5 * (height - base)
    left = _crossing(profile[:, ::-1], len(across) - 1 - peak_at, level) * step
    right = _crossing(profile, peak_at, level) * step
    width = np.sqrt(np.clip((left + right) ** 2 - (2.355 * blur_um) ** 2, 2.6**2, 9.0**2))
    shift = np.clip((peak_at - middle) * step + 0.5 * (right - left), -1.5, 1.5)
    width, shift = _smooth_along([width, shift], skeleton, 5.0 * grid.um)
    return rows + shift * cos / pixel_size_um[0], columns - shift * sin / pixel_size_um[1], width


def _background(side: np.ndarray) -> np.ndarray:
    """Mean of the darker half of every row: the background beside a line, even where a neighbour lies close."""
    return np.sort(side, axis=1)[:, : side.shape[1] // 2].mean(1)


def _crossing(profile: np.ndarray, start: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Samples from `start` [n] to where each row first falls below `level` [n], interpolated."""
    n, width = profile.shape
    below = (profile < level[:, None]) & (np.arange(width)[None] > start[:, None])
    first = np.where(below.any(1), below.argmax(1), width - 1)
    each = np.arange(n)
    high, low = profile[each, first - 1], profile[each, first]
    fraction = np.clip((high - level) / np.maximum(high - low, 1e-9), 0, 1)
    return np.maximum(first - 1 + fraction - start, 0.5)


def _smooth_along(values: list[np.ndarray], skeleton: np.ndarray, sigma: float) -> list[np.ndarray]:
    """Means over neighbouring skeleton pixels of quantities [n] known on them, twice box-weighted."""
    fields = np.zeros((len(values) + 1, *skeleton.shape), np.float32)
    fields[0, skeleton] = 1
    for field, value in zip(fields[1:], values, strict=True):
        field[skeleton] = value
    size = round(np.sqrt(6 * sigma * sigma + 1)) | 1
    for _ in range(2):
        fields = ndimage.uniform_filter(fields, (0, size, size), mode="constant")
    return [field[skeleton] / np.maximum(fields[0, skeleton], 1e-6) for field in fields[1:]]
