"""Phantom 1: what a confocal microscope would make of a nerve mask whose truth is known.

The signal is built in physical steps: line-spread of every fibre, depth of focus, basal-cell mosaic and haze,
dendritic cells, illumination, speckle, read noise, gain and offset, 8 bits. Every step can be switched off and draws
from a generator of its own, so switching one off leaves the others as they were.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...errors import InputError
from ..nerve_mask import NerveMask
from .optics import Splats, along, cell_mosaic, generator, haze_field, smooth_field


@dataclass(frozen=True)
class Appearance:
    """How a plexus looks apart from its geometry; an assumption of ours, not a published measurement.

    `contrast` scales the nerves, `beading` the depth of the varicosities along them, `haze` the low-frequency
    background; the dendritic cells are cells a mm² without (`immature`) and with (`mature`) processes.
    """

    contrast: float
    beading: float
    haze: float
    immature_cells: float
    mature_cells: float


APPEARANCES = (
    Appearance(contrast=1.00, beading=0.25, haze=1.00, immature_cells=8.0, mature_cells=2.0),
    Appearance(contrast=0.88, beading=0.50, haze=1.15, immature_cells=12.0, mature_cells=6.0),
    Appearance(contrast=0.75, beading=0.85, haze=1.35, immature_cells=14.0, mature_cells=18.0),
)
"""Appearance at severity 0, 1 and 2. The direction of each change follows the literature (lower nerve reflectivity
and more beading in neuropathy, more mature dendritic cells in diabetes: Tavakoli 2011, Lagali 2018); the sizes
are assumed."""


@dataclass(frozen=True)
class ImageModel:
    """Strength of each step of the image formation: 1 is the default, 0 switches it off.

    `nerve_amplitude` scales the nerve signal before any noise is added.
    """

    nerve_amplitude: float = 1.0
    beading: float = 1.0
    focus: float = 1.0
    cells: float = 1.0
    haze: float = 1.0
    dendritic_cells: float = 1.0
    illumination: float = 1.0
    speckle: float = 1.0
    read_noise: float = 1.0
    gain: float = 1.0


def appearance_at(severity: float) -> Appearance:
    """The assumed appearance at a severity between 0 and 2, interpolated linearly."""
    severity = min(max(float(severity), 0.0), 2.0)
    low = min(int(severity), 1)
    a, b, t = APPEARANCES[low], APPEARANCES[low + 1], severity - low
    mix = {name: (1 - t) * getattr(a, name) + t * getattr(b, name) for name in Appearance.__dataclass_fields__}
    return Appearance(**mix)


def phantom_1(
    nerve_mask: NerveMask,
    seed: int,
    appearance: Literal["cohort", "common"] = "cohort",
    model: ImageModel | None = None,
) -> np.ndarray:
    """Image a nerve mask: uint8 [H, W], deterministic by `seed`.

    The fibres are drawn from the vectors of `nerve_mask`; a fibre's half-height width is its drawn width, widened
    by the optics. `appearance="cohort"` lets contrast, beading, haze and dendritic cells follow the mask's severity
    (an assumption, see `APPEARANCES`); `"common"` gives every mask the middle one, so that an image tells
    nothing about its cohort beyond its mask. Raises InputError on another value.
    """
    if appearance not in ("cohort", "common"):
        raise InputError(f'appearance is {appearance!r}; give "cohort" or "common"')
    model = model or ImageModel()
    look = appearance_at(nerve_mask.severity if appearance == "cohort" else 1.0)
    shape, um = nerve_mask.mask.shape, 1 / nerve_mask.pixel_size_um
    depth = _depth(shape, um, seed) * model.focus  # µm from the focal plane
    canvas = Splats(shape, um)
    _nerves(canvas, nerve_mask, depth, look, model, seed)
    _dendritic_cells(canvas, look, model, seed)
    signal = canvas.render()
    np.clip(signal, 0, None, out=signal)
    signal /= np.sqrt(1 + (signal / 3.0) ** 2)  # a bright crossing or cell saturates softly
    signal *= 0.40
    signal += _background(shape, um, depth, look, model, seed)
    signal *= _illumination(shape, model, seed)
    return _detect(signal, um, model, seed)


def _depth(shape: tuple[int, int], um: float, seed: int) -> np.ndarray:
    """Depth in µm of the nerve layer from the focal plane [H, W]: a tilt, a bulge and pressure undulations."""
    rng = generator(seed, "focus")
    tilt = rng.normal(0, 3.0, 2)  # µm over 400 µm
    bulge = rng.normal(0, 1.5)
    y = (np.arange(shape[0], dtype=np.float32)[:, None] - shape[0] / 2) / um / 400
    x = (np.arange(shape[1], dtype=np.float32)[None] - shape[1] / 2) / um / 400
    undulation = smooth_field(shape, 55 * um, rng) * np.float32(rng.uniform(0.5, 1.6))
    return tilt[0] * y + tilt[1] * x + bulge * 4 * (x * x + y * y) + undulation


def _nerves(
    canvas: Splats, nerve_mask: NerveMask, depth: np.ndarray, look: Appearance, model: ImageModel, seed: int
) -> None:
    """Splat every fibre: brightness by kind and width, slow drift, varicosities, and its depth out of focus."""
    rng, beads_rng, focus_rng = generator(seed, "nerves"), generator(seed, "beading"), generator(seed, "fibre depth")
    um, step = canvas.um, 0.5
    brightness_of = {"trunk": (0.78, 1.0), "branch": (0.50, 0.85), "free": (0.48, 0.80)}
    x, y, width, peak, offset = [], [], [], [], []
    for fibre in nerve_mask.centrelines:
        brightness = rng.uniform(*brightness_of[fibre.kind])
        own_depth = focus_rng.normal(0, 0.9)
        points = np.asarray(fibre.points, float)
        if len(points) < 2:
            continue
        distance = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
        t = np.arange(0, distance[-1], step)
        x.append(np.interp(t, distance, points[:, 0]))
        y.append(np.interp(t, distance, points[:, 1]))
        width.append(np.interp(t, distance, np.asarray(fibre.width_um, float)))
        peak.append(np.full(len(t), brightness))
        offset.append(np.full(len(t), own_depth))
    if not x:
        return
    xs, ys, widths = np.concatenate(x), np.concatenate(y), np.concatenate(width)
    n, per_um = len(xs), um / step  # samples a µm along the fibres
    peaks = np.concatenate(peak) * (np.clip(widths, 1.0, 9.0) / 5.0) ** 0.4
    peaks *= np.clip(1 + 0.15 * along(n, 40 * per_um, rng), 0.4, 1.6)
    # Varicosities: bright spots of about 2.5 µm every 8 to 20 µm; the mean brightness along the fibre stays.
    starts = beads_rng.random(n) < 1 / (11 * per_um)
    beads = along(n, 1.1 * per_um, beads_rng, impulses=starts * beads_rng.gamma(4.0, 0.25, n))
    beading = look.beading * model.beading
    peaks *= np.clip(1 + beading * (2.2 * beads - 0.5), 0.25, 2.6)
    rows = np.clip(ys.astype(int), 0, depth.shape[0] - 1)
    columns = np.clip(xs.astype(int), 0, depth.shape[1] - 1)
    own = np.concatenate(offset) + 0.8 * along(n, 30 * per_um, focus_rng)
    z = np.abs(depth[rows, columns] + model.focus * own)
    peaks /= 1 + (z / 5.0) ** 2  # half the light at 5 µm: a section of about 10 µm
    # Half-height widths add in quadrature: drawn width, a point spread of 1 µm, defocus.
    sigma = np.sqrt(widths**2 + 1.0 + (0.55 * z) ** 2) / 2.355 * um
    canvas.lines(xs, ys, sigma, peaks * look.contrast * model.nerve_amplitude, step)


def _dendritic_cells(canvas: Splats, look: Appearance, model: ImageModel, seed: int) -> None:
    """Splat dendritic cells: bright bodies of 8–14 µm, the mature ones with two to five tapering processes."""
    rng = generator(seed, "dendritic cells")
    um, (height, width) = canvas.um, canvas.shape
    area = height * width / um**2 / 1e6  # mm²
    counts = rng.poisson([max(look.immature_cells, 0) * area, max(look.mature_cells, 0) * area])
    for mature, count in enumerate(counts):
        for _ in range(int(count)):
            centre = rng.uniform(0, 1, 2) * (width, height)
            angle, brightness = rng.uniform(0, 2 * np.pi), rng.uniform(0.9, 1.7) * model.dendritic_cells
            arms = [(angle, rng.uniform(3, 6)), (angle + np.pi + rng.normal(0, 0.3), rng.uniform(3, 6))]
            thickness = [2.6, 2.6]
            if mature:
                for _ in range(int(rng.integers(2, 6))):
                    arms.append((rng.uniform(0, 2 * np.pi), rng.uniform(8, 20)))
                    thickness.append(1.7)
            for (heading, reach), thick in zip(arms, thickness, strict=True):
                t = np.arange(0, reach * um, 0.5)
                bend = heading + rng.normal(0, 0.5) * t / (reach * um)
                taper = 1 - 0.6 * t / (reach * um)
                xs = centre[0] + np.cumsum(np.cos(bend)) * 0.5
                ys = centre[1] + np.cumsum(np.sin(bend)) * 0.5
                canvas.lines(xs, ys, np.full(len(t), thick / 1.6 * um / 1.2), brightness * taper, 0.5)


def _background(
    shape: tuple[int, int], um: float, depth: np.ndarray, look: Appearance, model: ImageModel, seed: int
) -> np.ndarray:
    """Dark-grey background [H, W]: haze of a few scales, and the basal-cell mosaic where the focus lies above it."""
    rng = generator(seed, "haze")
    haze = haze_field(shape, um, rng) * np.float32(0.045 * look.haze * model.haze * rng.uniform(0.6, 1.2))
    background = np.float32(0.27) + haze
    if model.cells:
        cells = cell_mosaic(shape, 10 * um, generator(seed, "cells"))
        above = 1 / (1 + np.exp(-(depth - 1.5) / 1.2))  # the epithelium lies in front of the nerves
        background += np.float32(0.05 * model.cells) * cells * (0.25 + 0.75 * above)
    return np.clip(background, 0.03, None)


def _illumination(shape: tuple[int, int], model: ImageModel, seed: int) -> np.ndarray:
    """Relative light [H, W]: darker towards the corners round an off-centre optical axis, with a slight ramp."""
    rng = generator(seed, "illumination")
    axis, ramp, fall = rng.normal(0, 0.08, 2), rng.normal(0, 0.12, 2), rng.uniform(0.5, 1.1)
    y = np.linspace(-0.5, 0.5, shape[0], dtype=np.float32)[:, None] - np.float32(axis[0])
    x = np.linspace(-0.5, 0.5, shape[1], dtype=np.float32)[None] - np.float32(axis[1])
    radius = x * x + y * y
    light = 1 + model.illumination * (ramp[0] * y + ramp[1] * x - fall * radius)
    return np.clip(light, 0.15, None).astype(np.float32)


def _detect(signal: np.ndarray, um: float, model: ImageModel, seed: int) -> np.ndarray:
    """Speckle, read noise, gain, offset and 8-bit rounding."""
    from scipy import ndimage

    shape = signal.shape
    rng = generator(seed, "speckle")
    looks = rng.uniform(14, 30)
    speckle = rng.standard_gamma(looks, shape, dtype=np.float32) / np.float32(looks)
    speckle = ndimage.gaussian_filter(speckle, 0.55 * um, truncate=3)
    spread = np.float32(1.5 * model.speckle)
    signal = signal * np.clip(1 + (speckle - 1) * spread, 0, None)
    rng = generator(seed, "read noise")
    signal += rng.standard_normal(shape, dtype=np.float32) * np.float32(0.014 * model.read_noise)
    rng = generator(seed, "gain")
    gain, offset = rng.uniform(0.72, 1.18), rng.normal(0, 0.015)
    gain, offset = 1 + (gain - 1) * model.gain, offset * model.gain
    return np.clip((signal * gain + offset) * 255, 0, 255).round().astype(np.uint8)
