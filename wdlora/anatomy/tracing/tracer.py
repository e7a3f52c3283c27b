"""Tracing nerves in an image without learned weights.

Local normalisation, oriented line filters at two lengths, evidence summed along lines against thresholds that follow
the image's noise, illumination and contrast, clean centrelines, and a mask drawn with the width found in the image.
Not validated on real images: docs/tracing.md says what is known and how to find out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from ...errors import InputError
from ..discs import paint_discs
from ..scale import PIXEL_SIZE_UM, pixel_sides
from .linefilter import Grid, line_score, normalise, working_grid
from .ridges import Cleaning, Evidence, centrelines
from .widths import measure_widths

Segmenter = Callable[[np.ndarray], np.ndarray]
"""A learned segmenter: the image [H, W] as given → probability of nerve [H, W], 0–1."""

AROUND_UM = 5.0
"""A segmenter's nerve reaches this far to either side of its centreline."""

BRIDGE_UM = 1.0
"""Half the width of what bridges a gap in a segmenter's nerve."""


@dataclass(frozen=True)
class Tracer:
    """Thresholds of the tracer, chosen on phantoms made for the purpose (seeds in docs/tracing.md).

    `evidence` is in standard deviations of the background's filter response; where the image's nerves are strong it
    rises, so that its lower threshold is at least `contrast_share` of the nerves' typical score, and faint texture
    beside bright nerves is not traced. A spot brighter than `cell_height` × the nerves may be a cell. `probability`
    takes the place of `evidence` for a learned segmenter.
    """

    evidence: Evidence = field(default_factory=Evidence)
    contrast_share: float = 0.18
    cell_height: float = 2.0
    probability: Evidence = field(default_factory=lambda: Evidence(low=0.35, piece=5.0, segment=2.0, mean=0.1))
    cleaning: Cleaning = field(default_factory=Cleaning)


def trace(
    image: np.ndarray,
    pixel_size_um: float | tuple[float, float] = PIXEL_SIZE_UM,
    segmenter: Segmenter | None = None,
    valid: np.ndarray | None = None,
    tracer: Tracer | None = None,
) -> np.ndarray:
    """Trace the nerves of an image: mask bool [H, W] with the nerves' width at half height.

    `image` is grey [H, W] of any type and range; `pixel_size_um` µm a pixel, or (row, column). `valid` bool [H, W]
    leaves out what is no image (the black surroundings of a mosaic). A `segmenter` takes the place of the line filters
    and of the width; thresholds on its probability, pruning and bridging stay the same. Raises InputError on
    an image that is not grey or not finite and on an impossible pixel size.
    """
    tracer = tracer or Tracer()
    image, pixels = _grey(image), pixel_sides(pixel_size_um)
    if valid is not None and valid.shape != image.shape:
        raise InputError(f"the valid area is {_size(valid)}, the image {_size(image)}: give masks of the image's size")
    if min(n * p for n, p in zip(image.shape, pixels, strict=True)) < tracer.cleaning.border_piece_um:
        return np.zeros(image.shape, bool)  # narrower than the shortest nerve
    if segmenter is not None:
        mask = _from_probability(segmenter, image, pixels, tracer)
    else:
        mask = _from_filters(image, pixels, valid, tracer)
    return mask if valid is None else mask & valid


def _from_filters(
    image: np.ndarray, pixels: tuple[float, float], valid: np.ndarray | None, tracer: Tracer
) -> np.ndarray:
    normalised = normalise(image, pixels, valid)
    score, angle, grid = line_score(normalised, pixels, valid)
    strong = score[score > 2 * tracer.evidence.low]
    typical = float(np.quantile(strong, 0.75)) if len(strong) else 0.0
    rise = max(tracer.contrast_share * typical / tracer.evidence.low, 1.0)
    ridge = score > max(0.5 * typical, 2 * tracer.evidence.low)
    cells = _bright_cells(normalised, ridge, grid, pixels, tracer.cell_height)
    skeleton = centrelines(score, tracer.evidence.scaled(rise), grid.um, tracer.cleaning, cells)
    rows, columns, width = measure_widths(image, pixels, skeleton, angle, grid)
    return paint_discs(rows, columns, width / 2, image.shape, pixels)


def _from_probability(
    segmenter: Segmenter, image: np.ndarray, pixels: tuple[float, float], tracer: Tracer
) -> np.ndarray:
    probability = np.asarray(segmenter(image), np.float32)
    if probability.shape != image.shape or not np.isfinite(probability).all():
        raise InputError(
            f"the segmenter returned {_size(probability)} for an image of {_size(image)}: "
            "it must give one finite probability a pixel"
        )
    grid = working_grid(image.shape, pixels)
    places = np.meshgrid(*grid.to_image(np.arange(grid.shape[0]), np.arange(grid.shape[1])), indexing="ij")
    score = ndimage.map_coordinates(probability, places, order=1, mode="nearest")
    skeleton = centrelines(score, tracer.probability, grid.um, tracer.cleaning, np.zeros(grid.shape, bool))
    rows, columns = grid.to_image(*np.nonzero(skeleton))
    n = len(rows)
    around = paint_discs(rows, columns, np.full(n, AROUND_UM), image.shape, pixels)
    bridges = paint_discs(rows, columns, np.full(n, BRIDGE_UM), image.shape, pixels)
    return ((probability >= 0.5) & around) | bridges


def _bright_cells(
    normalised: np.ndarray, ridge: np.ndarray, grid: Grid, pixels: tuple[float, float], height: float
) -> np.ndarray:
    """Surroundings (5 µm) of spots more than `height` × as bright as most of the ridges; bool on the grid."""
    if not ridge.any():
        return np.zeros(grid.shape, bool)
    smooth = ndimage.gaussian_filter(normalised, [1.2 / p for p in pixels], truncate=2.5)
    rows, columns = grid.to_image(np.arange(grid.shape[0]), np.arange(grid.shape[1]))
    value = smooth[np.rint(rows).astype(int)][:, np.rint(columns).astype(int)]
    spots = value > height * np.quantile(value[ridge], 0.7)
    return ndimage.maximum_filter(spots, 2 * round(5 * grid.um) + 1)


def _grey(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 2 or not image.size:
        raise InputError(f"an image to trace must be grey, [H, W]; this one is {_size(image)}")
    image = image.astype(np.float32)
    if not np.isfinite(image).all():
        raise InputError("the image has values that are not finite: replace them before tracing")
    return image


def _size(array: np.ndarray) -> str:
    return " × ".join(map(str, np.shape(array))) or "a single value"
