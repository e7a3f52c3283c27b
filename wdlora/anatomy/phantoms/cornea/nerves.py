"""Nerves as they shine: widths at half height, brightness by kind, beads, fine jitter, saturated trunks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...fibre import Fibre
from ..optics import Splats, along
from .model import CorneaModel, part
from .person import Person

STEP_PX = 0.5
"""Distance of the drawn points along every fibre."""

PEAK = {"trunk": (1.45, 0.40), "branch": (1.12, 0.38), "free": (1.10, 0.38), "fine": (0.80, 0.32)}
"""Brightness over the background: median and SD of its logarithm."""

WIDTH_UM = {"trunk": (1.6, 2.7), "branch": (1.4, 2.2), "free": (1.4, 2.2), "fine": (1.3, 1.9)}
"""Range of widths at half height before the optics of the frame."""

LEAST_SIGMA_UM = 0.65
"""No nerve is sharper than the point spread."""

MOST_BRIGHT = 3
"""Fewer trunks than so many are so bright that they saturate …"""

BRIGHT_PEAK, BRIGHT_WIDTH_UM = (1.6, 3.2), (2.2, 3.6)
"""… by this factor, and so wide."""

BEAD_SPACING_UM = (6.5, 11.5)
BEAD_SIGMA_UM = 1.1

JITTER_UM = ((16.0, 0.55), (6.0, 0.42), (2.6, 0.28))
"""Scales of the jitter across a nerve's course and its SD there, µm: nerves are nowhere as smooth as their vectors."""

ROWS_UM = 0.6
"""Most SD of the eye's motion between scanned lines."""


@dataclass(frozen=True)
class _Points:
    """All fibres in one row: points [n] every `STEP_PX`, and the number of the fibre of each."""

    x: np.ndarray
    y: np.ndarray
    relative: np.ndarray
    """Drawn width over the fibre's mean."""
    fibre: np.ndarray
    kinds: tuple[str, ...]


def draw_nerves(
    fibres: Sequence[Fibre],
    canvas: Splats,
    seen: np.ndarray,
    person: Person,
    beading: float,
    model: CorneaModel,
    seed: int,
) -> np.ndarray:
    """Splat the fibres on `canvas`; returns their brightness over the background, float32 [H, W], on centrelines.

    `seen` float [H, W] is the share of their light that arrives: focus, and what lies in front of them. Pixels without
    a centreline are 0.
    """
    found = np.zeros(canvas.shape, np.float32)
    points = _sampled(fibres)
    if points is None:
        return found
    um = canvas.um
    x, y = _jittered(points, canvas.shape, um, model, seed)
    peak, sigma = _profile(points, um, person, beading, model, seed)
    row = np.clip(np.rint(y), 0, canvas.shape[0] - 1).astype(int)
    column = np.clip(np.rint(x), 0, canvas.shape[1] - 1).astype(int)
    peak = peak * seen[row, column]
    canvas.lines(x, y, sigma, peak, STEP_PX)
    inside = (x > -0.5) & (y > -0.5) & (x < canvas.shape[1] - 0.5) & (y < canvas.shape[0] - 0.5)
    # What the eye follows is the light of some ten µm; a nerve thinner than the grain gives less of it.
    bright = _smooth(peak * np.minimum(sigma / um, 1.2), 7 * um / STEP_PX)
    np.maximum.at(found, (row[inside], column[inside]), bright[inside].astype(np.float32))
    return found


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    from scipy import ndimage

    return ndimage.gaussian_filter1d(values, sigma, mode="nearest")


def _sampled(fibres: Sequence[Fibre]) -> _Points | None:
    """The fibres' points, evenly spaced; None without any."""
    x, y, relative, fibre = [], [], [], []
    kept = [one for one in fibres if len(one.points) > 1]
    for number, one in enumerate(kept):
        points = np.asarray(one.points, float)
        distance = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
        t = np.arange(0, distance[-1], STEP_PX)
        x.append(np.interp(t, distance, points[:, 0]))
        y.append(np.interp(t, distance, points[:, 1]))
        width = np.asarray(one.width_um, float)
        relative.append(np.interp(t, distance, width / max(width.mean(), 1e-6)))
        fibre.append(np.full(len(t), number))
    if not x:
        return None
    kinds = tuple(one.kind for one in kept)
    return _Points(np.concatenate(x), np.concatenate(y), np.concatenate(relative), np.concatenate(fibre), kinds)


def _jittered(
    points: _Points, shape: tuple[int, int], um: float, model: CorneaModel, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The points off their smooth course: each nerve's own jitter, and the eye's motion between scanned lines."""
    rng = part(seed, "jitter")
    per_um = um / STEP_PX
    off = np.zeros(len(points.x))
    for scale, amount in JITTER_UM:
        off += amount * um * rng.uniform(0.6, 1.4) * along(len(off), scale * per_um / 2, rng)
    dx, dy = np.gradient(points.x), np.gradient(points.y)
    norm = np.maximum(np.hypot(dx, dy), 1e-6)
    off = model.jitter * np.where(norm > 2 * STEP_PX, 0, off) / norm
    rows = np.arange(-40, shape[0] + 40)
    fast = rng.uniform(0, ROWS_UM) * along(len(rows), 1.0 * um, rng)
    slow = rng.uniform(0, ROWS_UM) * along(len(rows), 10 * um, rng)
    moved = model.jitter * um * np.interp(points.y, rows, fast + slow)
    return points.x - dy * off + moved, points.y + dx * off


def _profile(
    points: _Points, um: float, person: Person, beading: float, model: CorneaModel, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Brightness over the background and SD of the profile in pixels at every point."""
    rng = part(seed, "nerves")
    per_um = um / STEP_PX
    n, kinds = len(points.x), points.kinds
    median, spread = np.array([PEAK[kind] for kind in kinds]).T
    narrow, wide = np.array([WIDTH_UM[kind] for kind in kinds]).T
    peak = median * np.exp(spread * rng.standard_normal(len(kinds))) * person.contrast
    width = rng.uniform(narrow, wide) * person.width
    trunks = np.flatnonzero(np.array(kinds) == "trunk")
    bright = rng.permutation(trunks)[: int(rng.integers(0, MOST_BRIGHT))]
    peak[bright] *= rng.uniform(*BRIGHT_PEAK, len(bright))
    width[bright] = rng.uniform(*BRIGHT_WIDTH_UM, len(bright))
    fine = np.array([kind == "fine" for kind in kinds])
    peak *= model.nerve_amplitude * np.where(fine, model.fine_network, 1.0)
    fades = np.where(fine & (rng.random(len(kinds)) < 0.5), 0.35, 0.0)[points.fibre]
    peaks = peak[points.fibre] * points.relative**1.7  # tips thin out and fade
    peaks *= np.clip(1 + 0.22 * along(n, 30 * per_um, rng), 0.3, 1.8)
    peaks *= np.clip(1 + fades * along(n, 20 * per_um, rng), 0.05, 1.6)
    depth = rng.uniform(0.2, 0.95, len(kinds))
    depth[bright] *= 0.5
    strength = np.clip(beading * model.beading * depth, 0, 1.6)[points.fibre]
    peaks *= np.clip(1 + strength * (1.7 * _beads(points, per_um, seed) - 0.6), 0.2, 2.6)
    sigma = width[points.fibre] / 2.355 * np.sqrt(points.relative)
    sigma *= np.clip(1 + 0.13 * along(n, 14 * per_um, rng) + 0.12 * along(n, 2.5 * per_um, rng), 0.6, 1.6)
    return peaks, np.maximum(sigma, LEAST_SIGMA_UM) * um


def _beads(points: _Points, per_um: float, seed: int) -> np.ndarray:
    """Varicosities: bright spots at almost regular distances of each fibre's own, mean about .35, peaks about 1."""
    rng = part(seed, "beads")
    spacing = rng.uniform(*BEAD_SPACING_UM, len(points.kinds))[points.fibre]
    pace = np.clip(1 + 0.5 * along(len(spacing), 3 * per_um, rng), 0.3, 2.0) / (spacing * per_um)
    number = np.floor(np.cumsum(pace))
    starts = np.diff(number, prepend=number[0]) > 0
    heights = starts * rng.gamma(3.0, 1 / 3, len(starts))
    return along(len(starts), BEAD_SIGMA_UM * per_um, rng, impulses=heights)
