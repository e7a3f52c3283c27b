"""Which part of an image is image: not the black surroundings of a mosaic, not the instrument's information bar."""

import numpy as np
from scipy import ndimage

DARK_SHARE = 0.035
"""Surroundings are darker than this share of the image's brightness, the 99.5th percentile: JPEG lifts black to 8."""

UNIFORM_SHARE = 0.6
"""So much of a dark area has one value, if it is no image: a dark corner has grain."""

LEAST_SHARE, LEAST_PIXELS = 0.002, 100
"""Smaller dark areas at the border are a part of the image."""

HALO_PX = 4
"""How far the ringing of JPEG reaches from an outline into the image: half a block."""

LONGEST_BAR, SHORTEST_BAR = 0.25, 8
"""Greatest height of an information bar as a share of the image's, and the least in rows."""

FLAT_RUN, FLAT_STEP = 12, 3
"""A run of so many pixels that differ by no more is drawn, not seen: in the least grain there is none."""

FLAT_SHARE, TEXT_SHARE, TEXT_STEP = 0.25, 0.004, 50
"""Of a bar, so much of each row is in such runs, and so much of the whole is text, which differs by so much."""


def valid_area(pixels: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Where there is image, bool [H, W], and what was left out inside a frame, None where nothing was.

    `pixels` [H, W] is grey of any type. Solid black areas at the border are surroundings, everywhere black is an image.
    An information bar is a plain strip with text over the whole width at the lower or upper edge.
    """
    bar = _bar(pixels)
    if bar is None:
        return ~_surroundings(pixels), None
    valid = np.zeros(pixels.shape, bool)
    rest = slice(bar.stop, None) if bar.start == 0 else slice(0, bar.start)
    valid[rest] = ~_surroundings(pixels[rest])
    where = "top" if bar.start == 0 else "bottom"
    return valid, f"an information bar of {bar.stop - bar.start} rows at the {where} was left out"


def plainness(part: np.ndarray) -> float:
    """Share of the pixels that have the most frequent value."""
    return float(np.unique(part, return_counts=True)[1].max() / part.size)


def _surroundings(pixels: np.ndarray) -> np.ndarray:
    """bool [H, W]: solid black at the border, with the halo that JPEG puts round it."""
    nothing = np.zeros(pixels.shape, bool)
    bright = float(np.percentile(pixels[:: max(1, len(pixels) // 1024)], 99.5))
    dark = (pixels >= 0) & (pixels <= DARK_SHARE * bright)
    if dark.all() or not dark.any():
        return nothing
    solid = ndimage.binary_opening(np.pad(dark, 3, constant_values=True), np.ones((5, 5)))[3:-3, 3:-3]
    label, count = ndimage.label(solid & dark)
    area = np.bincount(label.ravel(), minlength=count + 1)
    edge = np.unique(np.concatenate([label[0], label[-1], label[:, 0], label[:, -1]]))
    outside = nothing
    for number in edge[(edge > 0) & (area[edge] >= max(LEAST_SHARE * pixels.size, LEAST_PIXELS))]:
        part = label == number
        if (same := plainness(pixels[part])) >= UNIFORM_SHARE:
            reach = 2 * HALO_PX + 1 if same < 1 else 1
            outside = outside | (ndimage.maximum_filter(part, reach) if reach > 1 else part)
    return nothing if outside.all() else outside


def _bar(pixels: np.ndarray) -> slice | None:
    """The rows of an information bar inside the image."""
    height, width = pixels.shape
    most = int(LONGEST_BAR * height)
    if width < 4 * FLAT_RUN or most < SHORTEST_BAR:
        return None
    for part, rows in ((pixels[::-1][:most], slice(height, None)), (pixels[:most], slice(0, 0))):
        values = part.astype(np.float32)
        flat = _flat_share(values)
        # Where a block of JPEG holds a piece of the image too, the bar's last rows are not flat.
        tall = next((k for k in range(most - 2) if flat[k : k + 3].max() < FLAT_SHARE), 0)
        if tall < SHORTEST_BAR:
            continue
        strip = values[:tall]
        ground = float(np.median(strip))
        text = np.abs(strip - ground) > TEXT_STEP * (1 if values.max() <= 255 else float(values.max()) / 255)
        if text.mean() >= TEXT_SHARE and plainness(pixels) < 0.35 and _flat_share(values[tall + 8 :]).mean() < 0.05:
            tall = min(tall + 3, most)
            return slice(height - tall, height) if rows.start else slice(0, tall)
    return None


def _flat_share(values: np.ndarray) -> np.ndarray:
    """For every row the share of its pixels that lie in runs of nearly equal values."""
    if not len(values):
        return np.zeros(1)
    run = (1, FLAT_RUN)
    span = ndimage.maximum_filter(values, run) - ndimage.minimum_filter(values, run)
    scale = 1.0 if values.max() <= 255 else float(values.max()) / 255
    return (span <= FLAT_STEP * scale).mean(1)
