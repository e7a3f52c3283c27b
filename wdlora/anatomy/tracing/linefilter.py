"""Oriented line filters: how much does every place look like part of a bright line, in units of the noise.

A filter is the negative second derivative of a Gaussian across the line times a Gaussian along it, so flat and
linearly changing backgrounds give zero. Five places along the line must agree: a bright dot, or a line that ends, does
not count beyond itself. Everything is done on a working grid of 1.85 µm, whatever the image's pixel size: the image's
spectrum is cut to the grid's, which is exact for filters this smooth.

Sources: oriented matched filters after Chaudhuri 1989 and Freeman & Adelson 1991; lines of several places after the
multi-scale line detector of Nguyen 2013.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft, ndimage

GRID_UM = 1.85
PAD_UM = 32.0
"""Zeros around the image; more than two taps, so that every place has neighbours."""
FRAME_UM = 5.0
"""A line so near to the edge of the image, and along it, is the edge."""
CLIP = 3.0
"""Robust standard deviations at which a pixel's brightness stops to count: no single bright spot makes a line."""


@dataclass(frozen=True)
class LineScale:
    """One scale: `across_um`, `along_um` are standard deviations, `tap_um` the distance between the five places."""

    across_um: float
    along_um: float
    tap_um: float
    orientations: int


BANK = (LineScale(3.0, 4.5, 7.0, 16), LineScale(3.4, 7.0, 13.0, 24))
"""Chosen by how many true centreline pixels exceed the strongest false maxima, on the tuning phantoms."""


@dataclass(frozen=True)
class Grid:
    """The working grid of an image: place k lies at the image coordinate `origin` + k · `step` (row, column) in px.

    `shape` counts the places inside the image, `um` is places a micrometre. `periodic` is the whole padded grid and
    `padded` the padded image it stands for, which begins `pad` px before the image; `start` is where the image begins
    on it.
    """

    origin: tuple[float, float]
    step: tuple[float, float]
    shape: tuple[int, int]
    um: float
    step_um: tuple[float, float]
    pad: tuple[int, int]
    padded: tuple[int, int]
    periodic: tuple[int, int]
    start: tuple[int, int]

    def to_image(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Image coordinates in px of places on the grid."""
        return self.origin[0] + rows * self.step[0], self.origin[1] + columns * self.step[1]


def working_grid(shape: tuple[int, int], pixel_size_um: tuple[float, float]) -> Grid:
    """The grid of about 1.85 µm for an image of `shape`, chosen so that both transforms have fast lengths."""
    axes = []
    for n, p in zip(shape, pixel_size_um, strict=True):
        pad = int(np.ceil(PAD_UM / p))
        padded = fft.next_fast_len(n + 2 * pad, real=True)
        periodic = fft.next_fast_len(max(round(padded * p / GRID_UM), 16), real=True)
        step = padded / periodic
        start = int(np.ceil(pad / step))
        count = int((pad + n - 1) / step) - start + 1
        axes.append((start * step - pad, step, max(count, 1), step * p, pad, padded, periodic, start))
    y, x = axes
    step_um = y[3], x[3]
    return Grid(
        origin=(y[0], x[0]),
        step=(y[1], x[1]),
        shape=(y[2], x[2]),
        um=2 / sum(step_um),
        step_um=step_um,
        pad=(y[4], x[4]),
        padded=(y[5], x[5]),
        periodic=(y[6], x[6]),
        start=(y[7], x[7]),
    )


def normalise(image: np.ndarray, pixel_size_um: tuple[float, float], valid: np.ndarray | None = None) -> np.ndarray:
    """Image [H, W] with its background removed, in units of the local grain; float32 [H, W].

    The background is a Gaussian mean over 14 µm, the grain the local mean difference of neighbouring pixels, which in
    speckle grows with the brightness. Pixels where `valid` bool [H, W] is false count for neither and come back as 0.
    """
    image = np.asarray(image, np.float32)
    height, width = image.shape
    if np.ptp(image) <= 1e-6 * np.abs(image).max():
        return np.zeros_like(image)
    block = tuple(max(round(4.0 / p), 1) for p in pixel_size_um)
    detail = np.zeros_like(image)
    np.abs(image[:, 1:] - image[:, :-1], out=detail[:, 1:])
    detail[1:] += np.abs(image[1:] - image[:-1])
    if valid is not None:
        weight = valid.astype(np.float32)
        detail *= ndimage.minimum_filter(weight, 3)  # no edge between data and no data
        image = image * weight
    else:
        weight = np.ones_like(image)
    usable = detail[::3, ::3][weight[::3, ::3] > 0]
    np.minimum(detail, 4 * np.median(usable) if len(usable) else 0, out=detail)

    def blocks(field: np.ndarray) -> np.ndarray:
        padded = np.pad(field, [(0, -n % b) for n, b in zip((height, width), block, strict=True)])
        rows = padded.reshape(-1, block[0], padded.shape[1]).sum(1)
        return rows.reshape(rows.shape[0], -1, block[1]).sum(2)

    mass = blocks(weight)

    def local(field: np.ndarray, sigma_um: float) -> np.ndarray:
        sigma = [sigma_um / (b * p) for b, p in zip(block, pixel_size_um, strict=True)]
        total = ndimage.gaussian_filter(blocks(field), sigma, mode="nearest", truncate=3)
        return total / np.maximum(ndimage.gaussian_filter(mass, sigma, mode="nearest", truncate=3), 1e-3)

    rows, columns = _spread(mass.shape[0], block[0], height), _spread(mass.shape[1], block[1], width)
    residual = image - rows @ local(image, 14.0) @ columns.T
    grain = local(detail, 20.0)
    # Where almost all neighbours are equal, a share of the range takes the grain's place.
    grain = np.maximum(grain, max(0.25 * float(grain.mean()), 1e-3 * float(np.ptp(image)), 1e-12))
    residual /= rows @ grain @ columns.T
    return residual if valid is None else residual * weight


def _spread(knots: int, block: int, size: int) -> np.ndarray:
    """Weights [size, knots] that interpolate block means linearly at the pixels."""
    at = np.clip((np.arange(size, dtype=np.float32) + 0.5) / block - 0.5, 0, knots - 1)
    return np.clip(1 - np.abs(at[:, None] - np.arange(knots, dtype=np.float32)[None]), 0, None).astype(np.float32)


def line_score(
    normalised: np.ndarray, pixel_size_um: tuple[float, float], valid: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, Grid]:
    """Score and angle (radians, x right, y down) on the working grid, both float32 [h, w], and the grid.

    The score is in standard deviations of the background's response (1.4826 × the median magnitude over all places and
    orientations of the valid area, so texture counts as noise), averaged over the scales.
    """
    grid = working_grid((normalised.shape[0], normalised.shape[1]), pixel_size_um)
    sample = np.abs(normalised[::3, ::3])
    sample = sample[sample > 0]
    ceiling = np.float32(CLIP * 1.4826 * np.median(sample)) if len(sample) else np.float32(0)
    padded = np.zeros(grid.padded, np.float32)
    inside = tuple(slice(p, p + n) for p, n in zip(grid.pad, normalised.shape, strict=True))
    np.clip(normalised, -ceiling, ceiling, out=padded[inside])
    spectrum = _resize_spectrum(fft.rfft2(padded), grid.padded, grid.periodic)
    rows, columns = grid.to_image(np.arange(0, grid.shape[0], 4), np.arange(0, grid.shape[1], 4))
    counts = np.s_[:] if valid is None else valid[np.rint(rows).astype(int)][:, np.rint(columns).astype(int)]
    total = np.zeros(grid.shape, np.float32)
    angle = np.zeros(grid.shape, np.float32)
    for scale in BANK:
        best = np.full(grid.shape, -np.inf, np.float32)
        magnitudes = []
        for k, transfer in enumerate(_filters(grid.periodic, grid.step_um, scale)):
            theta = np.pi * k / scale.orientations
            score = _agreeing(fft.irfft2(spectrum * transfer, s=grid.periodic), grid, theta, scale.tap_um)
            _forget_frame(score, theta, max(round(FRAME_UM * grid.um), 1))
            magnitudes.append(np.abs(score[::4, ::4][counts]).ravel())
            if scale is BANK[-1]:
                np.copyto(angle, np.float32(theta), where=score > best)
            np.maximum(best, score, out=best)
        noise = 1.4826 * float(np.median(np.concatenate(magnitudes)))
        # An image without grain has no noise to compare with: a hundredth of a grain of white noise stands in.
        least = 0.01 * float(np.sqrt(np.mean(np.square(_filters(grid.periodic, grid.step_um, scale)))))
        total += best * np.float32(1 / (len(BANK) * max(noise, least)))
    return total, angle, grid


@lru_cache(maxsize=8)
def _filters(shape: tuple[int, int], step_um: tuple[float, float], scale: LineScale) -> np.ndarray:
    """Transfer functions float32 [orientations, H, W/2+1] on a periodic grid of `shape` with `step_um` spacing."""
    fy = (fft.fftfreq(shape[0]) / step_um[0]).astype(np.float32)[:, None]  # cycles a µm
    fx = (fft.rfftfreq(shape[1]) / step_um[1]).astype(np.float32)[None]
    bank = []
    for k in range(scale.orientations):
        angle = np.pi * k / scale.orientations
        f_along = fx * np.cos(angle) + fy * np.sin(angle)
        f_across = -fx * np.sin(angle) + fy * np.cos(angle)
        v = (2 * np.pi * scale.across_um * f_across) ** 2
        bank.append(v * np.exp(-v / 2 - (2 * np.pi * scale.along_um * f_along) ** 2 / 2))
    return np.array(bank, np.float32)


def _resize_spectrum(spectrum: np.ndarray, full: tuple[int, int], small: tuple[int, int]) -> np.ndarray:
    """Spectrum of the same image sampled `small` times a period instead of `full` times."""
    out = np.zeros((small[0], small[1] // 2 + 1), spectrum.dtype)
    rows, columns = (min(full[0], small[0]) - 1) // 2, (min(full[1], small[1]) - 1) // 2 + 1
    out[: rows + 1, :columns] = spectrum[: rows + 1, :columns]
    out[-rows:, :columns] = spectrum[-rows:, :columns]
    return out * np.float32(small[0] * small[1] / (full[0] * full[1]))


def _forget_frame(score: np.ndarray, theta: float, depth: int) -> None:
    """Set the score of lines within 16° of an edge's direction to 0 in the outermost `depth` rows or columns."""
    limit = np.sin(np.deg2rad(16))
    if abs(np.sin(theta)) < limit:
        score[:depth] = score[-depth:] = 0
    if abs(np.cos(theta)) < limit:
        score[:, :depth] = score[:, -depth:] = 0


def _agreeing(response: np.ndarray, grid: Grid, theta: float, tap_um: float) -> np.ndarray:
    """Mean response of five places along the line, at most 1.3 × their median; [h, w]."""

    def place(k: int) -> np.ndarray:
        y = grid.start[0] + round(k * tap_um / grid.step_um[0] * np.sin(theta))
        x = grid.start[1] + round(k * tap_um / grid.step_um[1] * np.cos(theta))
        return response[y : y + grid.shape[0], x : x + grid.shape[1]]

    a, b, e, c, d = (place(k) for k in (-2, -1, 0, 1, 2))
    low, high = np.minimum(a, b), np.maximum(a, b)
    low_too, high_too = np.minimum(c, d), np.maximum(c, d)
    mean = a + b
    mean += c
    mean += d
    mean += e
    mean *= np.float32(0.2)
    # The median of five: of the larger of the lows, the smaller of the highs, and the fifth, the middle one.
    np.maximum(low, low_too, out=low)
    np.minimum(high, high_too, out=high)
    np.minimum(low, high, out=low_too)
    np.maximum(low, high, out=high_too)
    np.minimum(high_too, e, out=high_too)
    median = np.maximum(low_too, high_too, out=low)
    np.abs(median, out=median)
    median *= np.float32(1.3)
    return np.minimum(mean, median, out=mean)
