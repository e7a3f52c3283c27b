"""Random nerves with vectors as truth, for measuring; made without the package's own sampler.

Fibres keep clear of each other except where a branch leaves its parent, so that the length of the vectors inside the
image is the length that a perfect measurement reads.
"""

import numpy as np
from scipy.spatial import cKDTree

SIZE = 384


def curve(rng, start, angle, length, bend, memory=40):
    """A path of 1-pixel steps whose curvature is a smooth random function with standard deviation `bend`."""
    t = np.arange(-3 * memory, 3 * memory + 1)
    kernel = np.exp(-0.5 * (t / memory) ** 2)
    noise = rng.normal(size=int(length) + len(t) - 1)
    curvature = bend * np.convolve(noise, kernel / np.sqrt((kernel**2).sum()), "valid")
    heading = angle + np.cumsum(curvature)
    return start + np.concatenate([[[0, 0]], np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1), 0)])


def widths(rng, points, mean, memory=15):
    """A width that varies by a quarter along the path, between 1.8 and 8 pixels."""
    t = np.arange(-3 * memory, 3 * memory + 1)
    kernel = np.exp(-0.5 * (t / memory) ** 2)
    noise = np.convolve(rng.normal(size=len(points) + len(t) - 1), kernel / np.sqrt((kernel**2).sum()), "valid")
    return np.clip(mean * (1 + 0.25 * noise), 1.8, 8)


def clear(points, width, others, parent=None):
    """Does a fibre keep 3 pixels from all others, but for the first 25 points from its parent?"""
    for k, (path, other_width) in enumerate(others):
        distance, nearest = cKDTree(path).query(points, distance_upper_bound=12)
        close = np.isfinite(distance)
        close[close] = distance[close] < (width[close] + other_width[nearest[close]]) / 2 + 3
        if k == parent:
            away = np.flatnonzero(~close)
            if not len(away) or away[0] > 25:
                return False
            close = close[away[0] :]
        if close.any():
            return False
    return True


def random_plexus(seed):
    """Strokes (points, width) of 2 to 7 trunks, up to 11 branches and 3 free fibres."""
    rng = np.random.default_rng(seed)
    strokes: list[tuple[np.ndarray, np.ndarray]] = []

    def add(points, mean, parent=None):
        width = widths(rng, points, mean)
        fits = clear(points, width, strokes, parent)
        if fits:
            strokes.append((points, width))
        return fits

    lie = rng.uniform(0, np.pi)
    across = np.array([-np.sin(lie), np.cos(lie)])
    trunks = int(rng.integers(2, 8))
    for place in (np.arange(trunks) + 0.5 + rng.uniform(-0.15, 0.15, trunks)) / trunks - 0.5:
        for _ in range(20):
            points = curve(rng, np.zeros(2), lie + rng.normal(0, 0.05), 650, rng.uniform(0.001, 0.004))
            centre = SIZE / 2 + place * 0.9 * np.abs(across).sum() * SIZE * across
            if add(points - points[len(points) // 2] + centre, rng.uniform(2.5, 5)):
                break
    trunks = len(strokes)
    for k in range(rng.integers(0, 12)):
        parent = rng.integers(len(strokes) if k > 3 else trunks)
        path = strokes[parent][0]
        inside = np.flatnonzero(((path > 15) & (path < SIZE - 15)).all(1))[5:-5]
        for _ in range(5 if len(inside) > 10 else 0):
            at = rng.choice(inside)
            along = np.arctan2(*(path[at + 3] - path[at - 3])[::-1])
            angle = along + rng.choice([-1, 1]) * np.radians(rng.uniform(25, 65)) + rng.choice([0, np.pi])
            points = curve(rng, path[at], angle, rng.uniform(25, 120), rng.uniform(0.002, 0.006))
            if add(points, rng.uniform(2, 3.5), parent):
                break
    for _ in range(rng.integers(0, 4)):
        start = rng.uniform(0, SIZE, 2)
        add(curve(rng, start, rng.uniform(0, 2 * np.pi), rng.uniform(40, 120), 0.006), rng.uniform(2, 3))
    return strokes
