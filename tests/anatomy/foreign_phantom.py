"""A second, independent generator of nerve images, against which the tracer is judged.

It shares no code and no model with `wdlora.anatomy`: nerves are cubic B-splines at any orientation, drawn by
distance; the optics have Lorentzian or Airy-like tails instead of a Gaussian; the background is 1/f haze, round
cells and wide streaks (K-structures) instead of a basal mosaic; the noise is exponential speckle of one to a few
looks, or Poisson; brightness and contrast differ from image to image. It also makes plexuses for tests that need
one. Parameters (each drawn uniformly unless said otherwise):

====================  ==========================================================================
trunks                0–7 at one common orientation in 0–180°, ± 6°; width 4–6.5 µm
branches              0–3 a trunk at 25–70°, 40–160 µm, half of them to a neighbouring trunk
free fibres           1–6, 60–200 µm; branches and free fibres 3–5 µm wide
profile across        Lorentzian² 1/(1+(0.64 d/h)²)² or Airy-like (2 J₁(x)/x)² + halo; half height at h
nerve peak            0.55–1.0 × background for trunks, × 0.6–0.95 for others, ± 25 % along the fibre
haze                  1/f^β, β 1.6–2.4, SD 8–16 % of the background
cells                 0–60 round cells, 8–12 µm, ± 4–10 %; streaks: 0–3, 25–60 µm wide, + 8–18 %
illumination          one-sided ramp of up to 40 % (not radial)
noise                 speckle (half the images): exponential, 3–6 looks, correlated over 0.5–0.8 px;
                      Poisson (the other half): 14–40 counts a pixel in the background, + offset
brightness            8-bit background level 30–110, black level 0–25
====================  ==========================================================================
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.interpolate import BSpline
from scipy.spatial import cKDTree
from scipy.special import j1


@dataclass(frozen=True)
class ForeignPlexus:
    """Spline fibres (x, y) in pixels with constant width in µm, and the mask drawn from them."""

    curves: tuple[np.ndarray, ...]
    widths_um: tuple[float, ...]
    kinds: tuple[str, ...]
    mask: np.ndarray
    pixel_size_um: float


def _spline(controls: np.ndarray, step: float = 0.5) -> np.ndarray:
    """Points every `step` px on the clamped cubic B-spline of the control points [n ≥ 4, 2]."""
    n = len(controls)
    knots = np.concatenate([[0.0] * 3, np.linspace(0, 1, n - 2), [1.0] * 3])
    length = np.hypot(*np.diff(controls, axis=0).T).sum()
    return BSpline(knots, controls, 3)(np.linspace(0, 1, max(int(length / step), 8)))


def _wander(start: np.ndarray, end: np.ndarray, amplitude: float, rng: np.random.Generator) -> np.ndarray:
    """Control points from start to end, displaced sideways by a smooth random amount."""
    span = end - start
    length = np.hypot(*span)
    n = max(int(length / 45) + 2, 5)
    t = np.linspace(0, 1, n)
    normal = np.array([-span[1], span[0]]) / max(length, 1e-9)
    sideways = rng.normal(0, amplitude, n) * np.minimum(1, 4 * np.minimum(t, 1 - t))
    return start + t[:, None] * span + sideways[:, None] * normal


def spline_plexus(seed: int, size: int | tuple[int, int] = 384, pixel_size_um: float = 400 / 384) -> ForeignPlexus:
    """A plexus of B-spline fibres, deterministic by seed, with its mask at half-height width."""
    rng = np.random.default_rng([seed, 7001])
    height, width = (size, size) if isinstance(size, int) else size
    um = 1 / pixel_size_um  # px a µm
    centre = np.array([width, height]) / 2
    reach = 0.75 * np.hypot(width, height)
    angle = rng.uniform(0, np.pi)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    curves: list[np.ndarray] = []
    widths: list[float] = []
    kinds: list[str] = []

    def clear(curve: np.ndarray, gap_um: float) -> bool:
        return not curves or cKDTree(np.vstack(curves)).query(curve)[0].min() > gap_um * um

    trunks = int(rng.integers(0, 8))
    spread = abs(across) @ np.array([width, height]) / 2 * 0.9
    for offset in np.linspace(-spread, spread, trunks + 2)[1:-1] if trunks else []:
        tilt = np.deg2rad(rng.uniform(-6, 6))
        direction = np.cos(tilt) * along + np.sin(tilt) * across
        middle = centre + (offset + rng.uniform(-12, 12) * um) * across
        curve = _spline(_wander(middle - reach * direction, middle + reach * direction, 6 * um, rng))
        if clear(curve, 14):
            curves.append(curve)
            widths.append(rng.uniform(4, 6.5))
            kinds.append("trunk")
    stems = len(curves)
    inside = np.array([width, height]) - 1
    for index in range(stems):
        stem = curves[index]
        visible = np.flatnonzero(((stem > 15) & (stem < inside - 15)).all(1))
        for _ in range(int(rng.integers(0, 4)) if len(visible) > 60 else 0):
            at = int(rng.choice(visible[10:-10]))
            end = _branch_end(curves[:stems], index, at, um, rng)
            if end is None:
                continue
            curve = _spline(_wander(stem[at], end, 5 * um, rng))
            middle = curve[int(14 * um / 0.5) : -int(14 * um / 0.5)]
            if len(middle) > 8 and clear(middle, 9):
                curves.append(curve)
                widths.append(rng.uniform(3, 5))
                kinds.append("branch")
    for _ in range(int(rng.integers(1, 7))):
        heading = angle + rng.normal(0, 0.5)
        start = rng.uniform(0, 1, 2) * inside
        end = start + rng.uniform(60, 200) * um * np.array([np.cos(heading), np.sin(heading)])
        curve = _spline(_wander(start, end, 5 * um, rng))
        if clear(curve, 14):
            curves.append(curve)
            widths.append(rng.uniform(3, 5))
            kinds.append("free")
    mask = np.zeros((height, width), bool)
    for curve, width_um in zip(curves, widths, strict=True):
        mask |= _distance(curve, (height, width)) <= width_um * um / 2
    return ForeignPlexus(tuple(curves), tuple(widths), tuple(kinds), mask, pixel_size_um)


def _branch_end(stems: list[np.ndarray], index: int, at: int, um: float, rng: np.random.Generator) -> np.ndarray | None:
    """Where a branch ends that leaves a stem at a point: freely or on a neighbour; None where that is too far."""
    stem = stems[index]
    tangent = stem[at + 4] - stem[at - 4]
    turn = rng.choice([-1, 1]) * np.deg2rad(rng.uniform(25, 70)) + rng.choice([0, np.pi])
    heading = np.arctan2(tangent[1], tangent[0]) + turn
    end = stem[at] + rng.uniform(40, 160) * um * np.array([np.cos(heading), np.sin(heading)])
    if len(stems) > 1 and rng.random() < 0.5:  # a connection to the nearest point of another trunk
        other = stems[(index + rng.choice([-1, 1])) % len(stems)]
        end = other[cKDTree(other).query(end)[1]]
        if np.hypot(*(end - stem[at])) > 170 * um:
            return None
    return end


def _distance(curve: np.ndarray, shape: tuple[int, int], oversampling: int = 2) -> np.ndarray:
    """Distance in px of every pixel centre [H, W] from a curve, by a k-d tree on the pixels near it."""
    far = 1e3
    distance = np.full(shape, far)
    keep = ((curve > -40) & (curve < np.array(shape[::-1]) + 40)).all(1)
    if not keep.any():
        return distance
    near = np.zeros(shape, bool)
    cells = curve[keep].round().astype(int)
    cells = cells[((cells >= 0) & (cells < np.array(shape[::-1]))).all(1)]
    if not len(cells):
        return distance
    near[cells[:, 1], cells[:, 0]] = True
    near = ndimage.binary_dilation(near, np.ones((3, 3)), iterations=12)
    rows, columns = np.nonzero(near)
    distance[rows, columns] = cKDTree(curve[keep]).query(np.c_[columns, rows])[0]
    return distance


def _power_law(shape: tuple[int, int], beta: float, rng: np.random.Generator) -> np.ndarray:
    """Unit-variance noise whose amplitude spectrum is 1/f^β."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(np.fft.rfft2(rng.normal(size=shape)) / frequency**beta, s=shape)
    return field / field.std()


def foreign_image(plexus: ForeignPlexus, seed: int, amplitude: float = 1.0) -> np.ndarray:
    """An 8-bit image [H, W] of the plexus; `amplitude` scales the nerves before any noise is added."""
    rng = np.random.default_rng([seed, 7002])
    shape = plexus.mask.shape
    um = 1 / plexus.pixel_size_um
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]].astype(float)
    airy, strength = rng.random() < 0.5, rng.uniform(0.55, 1.0)
    nerves = np.zeros(shape)
    for curve, width_um, kind in zip(plexus.curves, plexus.widths_um, plexus.kinds, strict=True):
        distance = _distance(curve, shape)
        ratio = distance / (width_um * um / 2)
        if airy:
            x = np.maximum(1.616 * ratio, 1e-6)  # (2 J₁(x)/x)² is one half at x = 1.616
            profile = 0.94 * (2 * j1(x) / x) ** 2 + 0.06 / (1 + ratio**2)
        else:
            profile = 1 / (1 + (0.6436 * ratio) ** 2) ** 2
        peak = strength * (1.0 if kind == "trunk" else rng.uniform(0.6, 0.95))
        nerves = np.maximum(nerves, peak * profile)
    texture = ndimage.gaussian_filter(rng.normal(size=shape), 4 * um)
    nerves *= np.clip(1 + 0.25 * texture / texture.std(), 0.4, 1.6)
    background = 1 + rng.uniform(0.08, 0.16) * _power_law(shape, rng.uniform(1.6, 2.4), rng)
    for _ in range(int(rng.integers(0, 61))):
        centre, radius = rng.uniform(0, 1, 2) * shape, rng.uniform(4, 6) * um
        disc = np.hypot(rows - centre[0], columns - centre[1]) / radius
        background += rng.choice([-1, 1]) * rng.uniform(0.04, 0.10) / (1 + np.minimum(disc, 30) ** 8)
    for _ in range(int(rng.integers(0, 4))):
        angle, width = rng.uniform(0, np.pi), rng.uniform(25, 60) * um
        offset = rng.uniform(0.1, 0.9) * shape[0]
        across = (columns - shape[1] / 2) * np.sin(angle) + (rows - shape[0] / 2) * np.cos(angle)
        background += rng.uniform(0.08, 0.18) * np.exp(-(((across + shape[0] / 2 - offset) / width * 2) ** 2))
    ramp = rng.uniform(0, 2 * np.pi)
    tilt = np.cos(ramp) * columns / shape[1] + np.sin(ramp) * rows / shape[0]
    light = 1 - rng.uniform(0, 0.4) * (tilt - tilt.min()) / np.ptp(tilt)
    signal = np.clip(background + amplitude * nerves, 0.05, None) * light
    if rng.random() < 0.5:
        looks = int(rng.integers(3, 7))
        speckle = rng.exponential(1.0, (looks, *shape)).mean(0)
        observed = signal * ndimage.gaussian_filter(speckle, rng.uniform(0.5, 0.8))
    else:
        counts = rng.uniform(14, 40)
        observed = rng.poisson(signal * counts) / counts
    level, black = rng.uniform(30, 110), rng.uniform(0, 25)
    return np.clip(black + level * observed, 0, 255).round().astype(np.uint8)
