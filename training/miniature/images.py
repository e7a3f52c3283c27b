"""Procedural pictures of bright curved lines, for pretraining. None of them is a corneal nerve.

The curves have no anatomy: any direction, any count, loops, crossings and forks alike, drawn at random. What
they share with micrographs is what a general model would know as well: lines of a few pixels, beads, blur,
grain, spots, shading, cell-like backdrops. Each of those is an attribute with a few levels that a prompt can
name (`prompts.py`), so that the pretrained text path has something to say.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import cKDTree

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "contrast": ("low", "medium", "high"),
    "brightness": ("dark", "medium", "bright"),
    "beading": ("smooth", "beaded"),
    "spots": ("none", "few", "many"),
    "grain": ("clean", "moderate", "grainy"),
    "focus": ("sharp", "blurred"),
    "shading": ("even", "gradient", "vignette"),
    "backdrop": ("plain", "cloudy", "cellular"),
}
"""What a picture looks like apart from where its lines are; the levels run from least to most."""

Look = dict[str, int]

_SUPERSAMPLING = 3


@dataclass(frozen=True)
class Picture:
    """A picture (float32[H, W], 0..1), the mask of its lines (bool[H, W]) and the levels of its attributes."""

    image: np.ndarray
    mask: np.ndarray
    look: Look


@dataclass(frozen=True)
class Curve:
    """A polyline of points (x, y) in px, its width at each point in px and its relative brightness."""

    points: np.ndarray
    width: np.ndarray
    brightness: float


def sample_look(rng: np.random.Generator) -> Look:
    """Draw a level of every attribute, independently and uniformly."""
    return {name: int(rng.integers(len(levels))) for name, levels in ATTRIBUTES.items()}


def picture(seed: int, height: int, width: int, look: Look | None = None) -> Picture:
    """The picture with this seed; the same seed and size give the same curves under any `look`."""
    shape_rng, look_rng, paint_rng = (np.random.default_rng([seed, k]) for k in range(3))
    drawn = sample_look(look_rng)
    look = drawn if look is None else look
    curves = sample_curves(shape_rng, height, width)
    return Picture(render(curves, look, paint_rng, height, width), draw_mask(curves, height, width), look)


def sample_curves(rng: np.random.Generator, height: int, width: int) -> list[Curve]:
    """Curves of random direction, bend and width, about a third of them forked off another one."""
    area = height * width / 128**2
    count = 2 + rng.poisson(rng.uniform(0.5, 9.0) * area)
    stiffness = rng.uniform(0.0, 1.0)
    common = rng.uniform(0, 2 * np.pi) if rng.random() < 0.4 else None
    curves: list[Curve] = []
    for _ in range(count):
        base = rng.uniform(2.2, 6.5)
        if curves and rng.random() < 0.35:
            parent = curves[rng.integers(len(curves))]
            start = parent.points[rng.integers(len(parent.points))]
            base = float(np.mean(parent.width)) * rng.uniform(0.5, 1.0)
        else:
            start = rng.uniform(-0.05, 1.05, 2) * (width, height)
        heading = rng.uniform(0, 2 * np.pi) if common is None else common + rng.normal(0, 0.25)
        length = rng.uniform(0.2, 1.6) * max(height, width)
        points = _walk(rng, start, heading, length, bend=0.25 * (1 - stiffness) ** 2 * rng.random())
        swell = 1 + 0.18 * _smooth_noise(rng, len(points), rng.uniform(2, 12))
        curves.append(Curve(points, np.clip(base * swell, 1.6, 9.0), rng.uniform(0.5, 1.0)))
    return curves


def draw_mask(curves: list[Curve], height: int, width: int) -> np.ndarray:
    """bool[H, W]: pixels of which more than half is covered by a curve."""
    canvas = Image.new("L", (width * _SUPERSAMPLING, height * _SUPERSAMPLING), 0)
    pen = ImageDraw.Draw(canvas)
    for curve in curves:
        _stroke(pen, curve, 1.0, np.full(len(curve.points), 255.0), whole=True)
    return np.asarray(canvas.resize((width, height), Image.Resampling.BOX)) > 127


def render(curves: list[Curve], look: Look, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """float32[H, W] in 0..1: the curves as bright lines with the given look."""
    shape = (height, width)
    canvas = Image.new("F", (width * _SUPERSAMPLING, height * _SUPERSAMPLING), 0.0)
    pen = ImageDraw.Draw(canvas)
    for curve in sorted(curves, key=lambda curve: curve.brightness):
        profile = np.full(len(curve.points), curve.brightness)
        if look["beading"]:
            spacing = rng.uniform(7, 12)
            steps = np.arange(len(profile)) * 2.0
            wave = np.sin(2 * np.pi * steps / spacing + 2 * _smooth_noise(rng, len(profile), 8))
            profile = profile * (0.62 + 0.48 * wave)
        else:
            profile = profile * (1 + 0.08 * _smooth_noise(rng, len(profile), 10))
        _stroke(pen, curve, rng.uniform(0.65, 0.9), np.clip(profile, 0.02, 1.3), whole=False)
    lines = np.asarray(canvas.resize((width, height), Image.Resampling.BOX))
    lines = ndimage.gaussian_filter(lines, (0.7, 1.7)[look["focus"]] * rng.uniform(0.85, 1.15))

    amplitude = (0.20, 0.36, 0.60)[look["contrast"]] * rng.uniform(0.85, 1.15)
    background = (0.12, 0.26, 0.42)[look["brightness"]] * rng.uniform(0.85, 1.15)
    field = np.full(shape, background) + _backdrop(rng, look["backdrop"], shape)
    field = np.maximum(field + amplitude * lines, amplitude * _spots(rng, look["spots"], shape) + field * 0.6)
    field = field * _shading(rng, look["shading"], shape)
    grain = (0.012, 0.04, 0.075)[look["grain"]] * rng.uniform(0.8, 1.2)
    noise = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0.35, 0.7))
    field = field + grain * noise / noise.std() * np.sqrt(np.clip(field, 0.02, None) / 0.3)
    return np.clip(field, 0, 1).astype(np.float32)


def texture(seed: int, height: int, width: int) -> np.ndarray:
    """float32[H, W] in 0..1: gratings, noise of some colour, cell mosaics or blobs; only the VAE sees these."""
    rng = np.random.default_rng([seed, 3])
    shape = (height, width)
    yy, xx = np.mgrid[0:height, 0:width]
    kind = rng.integers(5)
    if kind == 0:
        angle, period = rng.uniform(0, np.pi), rng.uniform(5, 40)
        bent = 4 * _noise(rng, shape, rng.uniform(10, 40))
        field = np.sin(2 * np.pi * (xx * np.cos(angle) + yy * np.sin(angle) + bent) / period)
    elif kind == 1:
        field = sum(_noise(rng, shape, s) * s ** rng.uniform(-0.3, 0.6) for s in (0.6, 1.5, 4.0, 12.0))
    elif kind == 2:
        field = _mosaic(rng, shape, rng.uniform(5, 14))
    elif kind == 3:
        field = 6 * _spots(rng, 2, shape) + 0.4 * _noise(rng, shape, rng.uniform(0.5, 3))
    else:
        field = np.sign(_noise(rng, shape, rng.uniform(4, 25)))
        field = ndimage.gaussian_filter(field, rng.uniform(0, 1.5))
    field = (field - field.mean()) / (field.std() + 1e-6)
    field = rng.uniform(0.15, 0.6) + rng.uniform(0.02, 0.25) * field + rng.uniform(0, 0.06) * rng.normal(size=shape)
    return np.clip(field, 0, 1).astype(np.float32)


def _walk(rng: np.random.Generator, start: np.ndarray, heading: float, length: float, bend: float) -> np.ndarray:
    """Points 2 px apart from `start`; the turning rate is a damped random walk of strength `bend`."""
    steps = max(int(length / 2), 4)
    kicks = rng.normal(0, bend, steps)
    rate = np.zeros(steps)
    for k in range(1, steps):
        rate[k] = 0.9 * rate[k - 1] + kicks[k] * 0.45
    angle = heading + np.cumsum(np.clip(rate, -0.35, 0.35))
    moves = 2 * np.stack([np.cos(angle), np.sin(angle)], 1)
    return start + np.concatenate([np.zeros((1, 2)), np.cumsum(moves, 0)])


def _stroke(pen: ImageDraw.ImageDraw, curve: Curve, scale: float, profile: np.ndarray, *, whole: bool) -> None:
    """Draw a curve segment by segment with its own width and brightness; `whole` rounds the joints."""
    points = [tuple(point) for point in (curve.points * _SUPERSAMPLING).tolist()]
    for k in range(len(points) - 1):
        width = float(curve.width[k]) * scale * _SUPERSAMPLING
        ink = int(profile[k]) if whole else float(profile[k])
        pen.line([points[k], points[k + 1]], fill=ink, width=max(round(width), 1))
        if width > 4:
            x, y = points[k]
            r = width / 2 - 0.5
            pen.ellipse([x - r, y - r, x + r, y + r], fill=ink)


def _smooth_noise(rng: np.random.Generator, count: int, scale: float) -> np.ndarray:
    noise = ndimage.gaussian_filter1d(rng.normal(size=count), scale, mode="reflect")
    return noise / (noise.std() + 1e-6)


def _noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    """Gaussian noise of unit variance with a correlation length of about `scale` px."""
    coarse = max(int(scale / 3), 1)
    small = rng.normal(size=(shape[0] // coarse + 4, shape[1] // coarse + 4))
    smooth = ndimage.gaussian_filter(small, scale / coarse)
    if coarse > 1:
        smooth = ndimage.zoom(smooth, coarse, order=1)
    smooth = smooth[: shape[0], : shape[1]]
    return (smooth - smooth.mean()) / (smooth.std() + 1e-6)


def _mosaic(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Polygonal cells with bright borders, from the two nearest of random seeds."""
    count = max(int(shape[0] * shape[1] / cell**2), 4)
    seeds = rng.uniform(0, 1, (count, 2)) * shape
    grid = np.indices(shape).reshape(2, -1).T
    near = cKDTree(seeds).query(grid, k=2)[0]
    return np.exp(-(((near[:, 1] - near[:, 0]) / (0.18 * cell)) ** 2)).reshape(shape)


def _backdrop(rng: np.random.Generator, level: int, shape: tuple[int, int]) -> np.ndarray:
    field = 0.008 * _noise(rng, shape, 20)
    if level == 1:
        field = field + 0.05 * _noise(rng, shape, rng.uniform(10, 22))
    elif level == 2:
        field = field + 0.05 * (_mosaic(rng, shape, rng.uniform(8, 14)) - 0.3)
    return field


def _spots(rng: np.random.Generator, level: int, shape: tuple[int, int]) -> np.ndarray:
    """Bright bodies with a few short arms that belong to no line; 0..~1.2."""
    field = np.zeros(shape)
    if level == 0:
        return field
    area = shape[0] * shape[1] / 128**2
    count = max(1, rng.poisson((0, 2.0, 6.0)[level] * area))
    for _ in range(count):
        y, x = rng.uniform(0, 1, 2) * shape
        for _ in range(rng.integers(1, 4)):
            angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(1, 8)
            t = np.linspace(0, reach, 10)
            rows = np.clip(y + t * np.sin(angle), 0, shape[0] - 1).astype(int)
            columns = np.clip(x + t * np.cos(angle), 0, shape[1] - 1).astype(int)
            field[rows, columns] = 1
    return np.clip(ndimage.gaussian_filter(field, 1.4) * 6, 0, 1.2)


def _shading(rng: np.random.Generator, level: int, shape: tuple[int, int]) -> np.ndarray:
    yy, xx = (axis / size - 0.5 for axis, size in zip(np.mgrid[0 : shape[0], 0 : shape[1]], shape, strict=True))
    if level == 1:
        angle = rng.uniform(0, 2 * np.pi)
        return 1 + 0.7 * (xx * np.cos(angle) + yy * np.sin(angle))
    if level == 2:
        cy, cx = rng.normal(0, 0.07, 2)
        return 1 - 1.3 * ((xx - cx) ** 2 + (yy - cy) ** 2)
    return np.ones(shape)
