"""Broad ridges that are no nerves: K-structures, folds and the rims of dark areas, which line filters follow too.

A nerve is a few µm wide, so a tight blur leaves more of its height than a wider one does. Of a broad ridge both leave
nearly all. The share that the wider blur takes away needs no scale of brightness or noise. Its limits were looked at on
real frames: a nerve's share there is .5 to .7, that of a false line on a K-structure .2 to .5 (docs/guides/tracing.md).
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .ridges import Pixels, segments

TIGHT_UM, WIDE_UM, AROUND_UM = 1.0, 3.0, 10.0
"""Blurs that leave a nerve, that take most of it, and that are its surroundings; SD."""


@dataclass(frozen=True)
class Broad:
    """What is too broad for a nerve: wider than `width_um`, and with less fine contrast than `least`, or than
    `of_typical` × that of the image's lines. Segments shorter than `shortest_um` are not judged: a junction is broad.
    """

    shortest_um: float = 15.0
    width_um: float = 4.5
    least: float = 0.3
    of_typical: float = 0.68


Lines = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Of every skeleton pixel [n]: row and column in image pixels, width in µm, score."""


def broad_segments(
    normalised: np.ndarray, pixels_um: tuple[float, float], skeleton: np.ndarray, lines: Lines, limits: Broad, um: float
) -> np.ndarray:
    """Which skeleton pixels [n], in the order of `np.nonzero`, belong to a segment that is too broad for a nerve.

    `normalised` float [H, W] is the image without its background; `skeleton` bool [h, w] may lie on another grid, of
    `um` places a micrometre.
    """
    pixels = Pixels(skeleton)
    if not len(pixels):
        return np.zeros(0, bool)
    count, label, _, _ = segments(pixels)
    rows, columns, width, score = lines
    place = tuple(
        np.clip(np.rint(at), 0, n - 1).astype(np.intp) for at, n in zip((rows, columns), normalised.shape, strict=True)
    )
    tight, wide, around = (
        ndimage.gaussian_filter(normalised, [um / p for p in pixels_um], truncate=3)[place]
        for um in (TIGHT_UM, WIDE_UM, AROUND_UM)
    )
    inside = label >= 0

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(label[inside], values[inside], minlength=count)

    height = total(tight - around)
    share = np.where(height > 0, total(tight - wide) / np.maximum(height, 1e-9), 0)
    weight, size = total(np.maximum(score, 0)), np.maximum(total(np.ones(len(pixels))), 1)
    broad = share < max(limits.least, limits.of_typical * _weighted_median(share, weight))
    broad &= (total(width) / size > limits.width_um) & (pixels.lengths(label, count) / um >= limits.shortest_um)
    return np.where(inside, broad[label] if count else False, False)


def _weighted_median(values: np.ndarray, weight: np.ndarray) -> float:
    if not len(values):
        return 0.0
    order = np.argsort(values)
    passed = np.cumsum(weight[order])
    return float(values[order[np.searchsorted(passed, passed[-1] / 2)]])
