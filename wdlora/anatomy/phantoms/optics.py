"""The drawing tools behind the phantoms: seeded generators, smooth fields, a cell mosaic, lines of any width."""

import zlib

import numpy as np
from scipy import fft, ndimage


def generator(seed: int, component: str) -> np.random.Generator:
    """The random generator of one named component, independent of every other name and seed."""
    return np.random.default_rng([int(seed) & 0xFFFFFFFFFFFFFFFF, zlib.crc32(component.encode()), 0x70686E74])


def smooth_field(shape: tuple[int, int], scale: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian random field float32 [H, W] of unit expected variance, correlated over `scale` pixels."""
    pitch = max(scale / 2, 1.0)  # two knots a scale are enough for a cubic to follow
    knots = [int(np.ceil(n / pitch)) + 9 for n in shape]
    sigma = scale / pitch
    field = ndimage.gaussian_filter(rng.standard_normal(knots, dtype=np.float32), sigma, mode="wrap")
    field *= np.float32(2 * np.sqrt(np.pi) * sigma)
    rows = (np.arange(shape[0], dtype=np.float32) / pitch + 4)[:, None]
    columns = (np.arange(shape[1], dtype=np.float32) / pitch + 4)[None]
    return (_cubic(knots[0], rows[:, 0]) @ field @ _cubic(knots[1], columns[0]).T).astype(np.float32)


def _cubic(knots: int, at: np.ndarray) -> np.ndarray:
    """Weights [len(at), knots] of cubic B-spline smoothing at real positions, rows summing to one."""
    d = np.abs(at[:, None] - np.arange(knots, dtype=np.float32)[None])
    near = 2 / 3 - d * d + d**3 / 2
    far = np.clip(2 - d, 0, None) ** 3 / 6
    return np.where(d < 1, near, far).astype(np.float32)


def haze_field(shape: tuple[int, int], um: float, rng: np.random.Generator) -> np.ndarray:
    """Haze float32 [H, W]: cloudy at 60, 24 and 9 µm, SD close to one."""
    scales, weights = (60.0, 24.0, 9.0), (0.80, 0.50, 0.33)
    haze = np.zeros(shape, np.float32)
    for scale, weight in zip(scales, weights, strict=True):
        haze += np.float32(weight) * smooth_field(shape, scale * um, rng)
    return haze


def cell_mosaic(shape: tuple[int, int], diameter: float, rng: np.random.Generator) -> np.ndarray:
    """Basal epithelium float32 [H, W]: dark cells of uneven grey between bright borders, mean near 0, range about ±1.

    Cells are the Voronoi regions of a jittered hexagonal-like lattice; the border is where the first and second
    nearest nuclei are equally far (Worley 1996, F2 − F1).
    """
    coarse = max(diameter / 6, 1.0)  # work at six samples a cell
    rows, columns = (int(np.ceil(n / coarse)) + 1 for n in shape)
    pitch = diameter / coarse
    ny, nx = int(rows / pitch) + 5, int(columns / pitch) + 5
    jitter = rng.uniform(-0.32, 0.32, (2, ny, nx)).astype(np.float32)
    grey = rng.normal(0, 0.35, (ny, nx)).astype(np.float32)
    y = (np.arange(rows, dtype=np.float32) / pitch + 2)[:, None]
    x = (np.arange(columns, dtype=np.float32) / pitch + 2)[None]
    cell_y, cell_x = y.astype(int), x.astype(int)
    first = np.full((rows, columns), 9.0, np.float32)
    second, shade = first.copy(), np.zeros_like(first)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            i, j = cell_y + dy, cell_x + dx
            centre_y = i + 0.5 + jitter[0][i, j]
            centre_x = j + 0.5 + jitter[1][i, j] + np.where(i % 2 == 0, 0.25, -0.25)
            distance = (centre_y - y) ** 2 + (centre_x - x) ** 2
            nearer = distance < first
            second = np.minimum(second, np.where(nearer, first, distance))
            first = np.where(nearer, distance, first)
            shade = np.where(nearer, grey[i, j], shade)
    border = np.exp(-(((np.sqrt(second) - np.sqrt(first)) / 0.22) ** 2))
    mosaic = (1.3 * border - 0.5 + shade * (1 - border)).astype(np.float32)
    if coarse == 1.0:
        return mosaic[: shape[0], : shape[1]]
    at_rows = _linear(rows, np.arange(shape[0], dtype=np.float32) / np.float32(coarse))
    return at_rows @ mosaic @ _linear(columns, np.arange(shape[1], dtype=np.float32) / np.float32(coarse)).T


def _linear(knots: int, at: np.ndarray) -> np.ndarray:
    """Weights [len(at), knots] of linear interpolation."""
    return np.clip(1 - np.abs(at[:, None] - np.arange(knots, dtype=np.float32)[None]), 0, None).astype(np.float32)


def along(n: int, scale: float, rng: np.random.Generator, impulses: np.ndarray | None = None) -> np.ndarray:
    """A random profile [n] along a path: unit-variance noise smoothed over `scale` samples, or peaks of given height.

    With `impulses` each becomes a Gaussian peak whose height is the impulse.
    """
    scale = max(scale, 0.6)
    if impulses is not None:
        return ndimage.gaussian_filter1d(impulses.astype(float), scale, mode="constant") * np.sqrt(2 * np.pi) * scale
    profile = ndimage.gaussian_filter1d(rng.standard_normal(n), scale, mode="wrap" if n > 8 * scale else "nearest")
    return profile * np.sqrt(2 * np.sqrt(np.pi) * scale)


class Splats:
    """Lines whose Gaussian profile changes along them, drawn exactly in cost: splat by width, then blur each width.

    `shape` is the image [H, W], `um` pixels a micrometre. A line of peak p and standard deviation σ is a row of
    impulses p·√(2π)·σ·step; impulses are shared between the two nearest of a ladder of σ, and all ladder rungs are
    blurred in the Fourier domain together.
    """

    def __init__(self, shape: tuple[int, int], um: float) -> None:
        self.shape, self.um = shape, um
        self.sigmas = np.geomspace(0.6, 6.0, 9) * max(um, 0.5)
        self.pad = int(np.ceil(3 * self.sigmas[-1]))
        self.padded = tuple(fft.next_fast_len(n + 2 * self.pad, real=True) for n in shape)
        self._x: list[np.ndarray] = []
        self._y: list[np.ndarray] = []
        self._sigma: list[np.ndarray] = []
        self._weight: list[np.ndarray] = []

    def lines(self, x: np.ndarray, y: np.ndarray, sigma: np.ndarray, peak: np.ndarray, step: float) -> None:
        """Add points `step` pixels apart at (x, y) px with a standard deviation and a peak each; all [n]."""
        sigma = np.clip(sigma, self.sigmas[0], self.sigmas[-1])
        self._x.append(x)
        self._y.append(y)
        self._sigma.append(sigma)
        self._weight.append(peak * np.sqrt(2 * np.pi) * sigma * step)

    def render(self) -> np.ndarray:
        """The sum of all lines, float32 [H, W]."""
        if not self._x:
            return np.zeros(self.shape, np.float32)
        height, width = self.padded
        x, y = np.concatenate(self._x) + self.pad, np.concatenate(self._y) + self.pad
        keep = (x >= 0) & (y >= 0) & (x < self.shape[1] + 2 * self.pad - 1) & (y < self.shape[0] + 2 * self.pad - 1)
        x, y = x[keep], y[keep]
        weight, sigma = np.concatenate(self._weight)[keep], np.concatenate(self._sigma)[keep]
        # Sharing between two widths is exact in variance when the shares are linear in σ².
        rung = np.clip(np.searchsorted(self.sigmas, sigma, side="right") - 1, 0, len(self.sigmas) - 2)
        low, high = self.sigmas[rung] ** 2, self.sigmas[rung + 1] ** 2
        upper = (sigma**2 - low) / (high - low)
        i, j = y.astype(int), x.astype(int)
        fy, fx = y - i, x - j
        index, value = [], []
        for r, share in ((rung, 1 - upper), (rung + 1, upper)):
            for di, dj, corner in (
                (0, 0, (1 - fy) * (1 - fx)),
                (0, 1, (1 - fy) * fx),
                (1, 0, fy * (1 - fx)),
                (1, 1, fy * fx),
            ):
                index.append((r * height + i + di) * width + j + dj)
                value.append(weight * share * corner)
        layers = np.bincount(np.concatenate(index), np.concatenate(value), minlength=len(self.sigmas) * height * width)
        layers = layers.reshape(len(self.sigmas), height, width).astype(np.float32)
        fy2 = (fft.fftfreq(height) ** 2).astype(np.float32)[:, None]
        fx2 = (fft.rfftfreq(width) ** 2).astype(np.float32)[None]
        total = np.zeros((height, width // 2 + 1), np.complex64)
        for layer, s in zip(layers, self.sigmas, strict=True):
            if layer.any():
                decay = np.float32(-2 * np.pi**2 * s * s)
                total += fft.rfft2(layer) * (np.exp(decay * fy2) * np.exp(decay * fx2))
        image = fft.irfft2(total, s=(height, width))
        return image[self.pad : self.pad + self.shape[0], self.pad : self.pad + self.shape[1]]
