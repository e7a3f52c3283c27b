"""Tracing nerves in an image: by a small network, by line filters, or by a segmenter of the user's.

The filters: local normalisation, oriented line filters at two lengths, evidence summed along lines against thresholds
that follow the image's noise, illumination and contrast, clean centrelines, and a mask drawn with the width found in
the image. A segmenter gives a probability per pixel instead. docs/guides/tracing.md says how well either does,
and how to find out on images of one's own.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ...errors import InputError
from ..discs import paint_discs
from ..scale import PIXEL_SIZE_UM, pixel_sides
from .broad import Broad, broad_segments
from .choices import ANNOTATED, DEFAULT, DETAILS, Choice, Function, check_detail
from .linefilter import Grid, line_score, normalise
from .ridges import Cleaning, Evidence, centrelines, drop_short
from .segmenters import find_segmenter
from .widths import measure_widths

if TYPE_CHECKING:
    from ...hmsvit.file import TrainedHmsvit
    from .learned import LearnedTracer
    from .onnx_segmenter import OnnxSegmenter

SEGMENTER_EVIDENCE = Evidence(low=0.35, piece=5.0, segment=2.0, mean=0.1)
"""Evidence in the probability of a segmenter that brings no rules of its own."""


@dataclass(frozen=True)
class Tracer:
    """Thresholds of the line filters, chosen on phantoms made for the purpose (seeds in docs/reference/tracing.md).

    `evidence` is in standard deviations of the background's filter response; where the image's nerves are strong it
    rises, so that its lower threshold is at least `contrast_share` of the nerves' typical score, and faint texture
    beside bright nerves is not traced. A spot brighter than `cell_height` × the nerves may be a cell, and what `broad`
    says is no nerve. `probability` takes the place of `evidence` for a segmenter that brings no rules.
    """

    evidence: Evidence = field(default_factory=Evidence)
    contrast_share: float = 0.18
    cell_height: float = 2.0
    probability: Evidence = field(default_factory=lambda: SEGMENTER_EVIDENCE)
    cleaning: Cleaning = field(default_factory=Cleaning)
    broad: Broad = field(default_factory=Broad)


def trace(
    image: np.ndarray,
    pixel_size_um: float | tuple[float, float] = PIXEL_SIZE_UM,
    segmenter: Choice = DEFAULT,
    valid: np.ndarray | None = None,
    tracer: Tracer | None = None,
    detail: str = ANNOTATED,
) -> np.ndarray:
    """Trace the nerves of an image: mask bool [H, W].

    >>> from wdlora.anatomy import phantom, sample_mask
    >>> nerves = sample_mask("Control", seed=1)
    >>> traced = trace(phantom(nerves, seed=7))
    >>> traced.shape, traced.dtype.name, bool((traced & nerves.mask).any())
    ((384, 384), 'bool', True)

    `image` is grey [H, W] of any type and range; `pixel_size_um` µm a pixel, or (row, column). `valid` bool [H, W]
    leaves out what is no image (the black surroundings of a mosaic). `segmenter`: "network" is the network that ships,
    "lines" the line filters, which draw the nerves' width at half height; or a file, `.safetensors` of
    `python -m training tracer` or of an HMSViT-like network (`wdlora.hmsvit`), `.onnx` of any origin (see
    `onnx_segmenter`), or a function from image to probability. `detail` is what a network
    draws: "annotated" the nerves that experts draw, as wide as their pen, "visible" all that can be seen; the others,
    HMSViT-like networks too, know one detail, theirs. `tracer` sets thresholds of the filters, and of
    segmenters without rules.

    Raises InputError on an image that is not grey or not finite, an impossible pixel size, an unknown choice, and a
    segmenter that fails.
    """
    tracer = tracer or Tracer()
    image, pixels = _grey(image), pixel_sides(pixel_size_um)
    check_detail(detail)
    if valid is not None and valid.shape != image.shape:
        raise InputError(f"the valid area is {_size(valid)}, the image {_size(image)}: give masks of the image's size")
    found = find_segmenter(segmenter)
    if min(n * p for n, p in zip(image.shape, pixels, strict=True)) < tracer.cleaning.border_piece_um:
        return np.zeros(image.shape, bool)  # narrower than the shortest nerve
    if found is None:
        mask = _from_filters(image.astype(np.float32), pixels, valid, tracer)
    else:
        mask = _from_segmenter(found, image, pixels, valid, (tracer, detail))
    return mask if valid is None else mask & valid


def _from_segmenter(
    segmenter: "LearnedTracer | TrainedHmsvit | OnnxSegmenter | Function",
    image: np.ndarray,
    pixels: tuple[float, float],
    valid: np.ndarray | None,
    choice: tuple[Tracer, str],
) -> np.ndarray:
    """The mask of a segmenter, on whose own pixels the probability is computed."""
    from ...hmsvit.file import TrainedHmsvit
    from .following import nerves_of
    from .learned import LearnedTracer, Rules
    from .onnx_segmenter import OnnxSegmenter, as_bytes
    from .pixel_grid import pixel_grid

    tracer, detail = choice
    rules = Rules(tracer.probability, tracer.cleaning)
    if isinstance(segmenter, LearnedTracer):
        grid = pixel_grid(image.shape, pixels, segmenter.pixel_size_um)
        probability = segmenter.probabilities(grid.from_image(image), grid.area(valid))[DETAILS.index(detail)]
        rules = segmenter.rules[detail]
    elif isinstance(segmenter, TrainedHmsvit):
        probability, grid = segmenter.nerves(image, pixels, valid)
    elif isinstance(segmenter, OnnxSegmenter):
        own = segmenter.pixel_size_um
        grid = pixel_grid(image.shape, pixels, own) if own else pixel_grid(image.shape, (1.0, 1.0), 1.0)
        probability = segmenter.probability(grid.from_image(as_bytes(image)), grid.area(valid))
    else:
        given = np.asarray(segmenter(image.astype(np.float32)), np.float32)
        if given.shape != image.shape or not np.isfinite(given).all():
            raise InputError(
                f"the segmenter returned {_size(given)} for an image of {_size(image)}: "
                "it must give one finite probability per pixel"
            )
        grid = pixel_grid(image.shape, pixels, PIXEL_SIZE_UM)
        probability = grid.from_image(given)
    return nerves_of(probability, grid, pixels, rules)


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
    lines = rows, columns, width, score[skeleton]
    kept = np.zeros(grid.shape, bool)
    kept[skeleton] = ~broad_segments(normalised, pixels, skeleton, lines, tracer.broad, grid.um)
    stays = drop_short(kept, tracer.cleaning, grid.um, cells)[skeleton]
    return paint_discs(rows[stays], columns[stays], width[stays] / 2, image.shape, pixels)


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
    if not np.isfinite(image).all():
        raise InputError("the image has values that are not finite: replace them before tracing")
    return image


def _size(array: np.ndarray) -> str:
    return " × ".join(map(str, np.shape(array))) or "a single value"
