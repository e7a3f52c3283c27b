"""Nerves drawn by hand, with the counts that a person reads off the drawing.

Coordinates are x (right) and y (down) in a field of 384 × 384 pixels unless said otherwise. A stroke is a
polyline with a full width in pixels; a pixel is nerve when its centre lies within half the width of it.
"""

from dataclasses import dataclass

import numpy as np


def stroke_points(points, width, step=0.2):
    """A polyline resampled every `step` pixels: x, y and the width there."""
    points = np.asarray(points, float)
    width = np.broadcast_to(np.asarray(width, float), len(points))
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    t = np.append(np.arange(0, along[-1], step), along[-1])
    return tuple(np.interp(t, along, v) for v in (points[:, 0], points[:, 1], width))


def draw(strokes, shape=(384, 384)) -> np.ndarray:
    """bool [H, W]: the union of all strokes."""
    mask = np.zeros(shape, bool)
    for points, width in strokes:
        x, y, w = stroke_points(points, width)
        reach = int(np.ceil(w.max() / 2)) + 1
        dy, dx = (d.ravel() for d in np.mgrid[-reach : reach + 1, -reach : reach + 1])
        column, row = np.rint(x).astype(int)[:, None] + dx, np.rint(y).astype(int)[:, None] + dy
        hit = (column - x[:, None]) ** 2 + (row - y[:, None]) ** 2 <= (w[:, None] / 2) ** 2
        hit &= (column >= 0) & (row >= 0) & (column < shape[1]) & (row < shape[0])
        mask[row[hit], column[hit]] = True
    return mask


def length_inside(points, shape=(384, 384)) -> float:
    """Length of a polyline inside the image, which spans −0.5 … size − 0.5, in pixels (to 0.05)."""
    x, y, _ = stroke_points(points, 1.0, 0.05)
    x, y = (x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2
    inside = (x > -0.5) & (y > -0.5) & (x < shape[1] - 0.5) & (y < shape[0] - 0.5)
    return 0.05 * float(inside.sum())


def line(x0, y0, x1, y1, width=4.0):
    """A straight stroke."""
    return np.array([(x0, y0), (x1, y1)], float), width


def ray(x, y, degrees, length, width=3.0):
    """A straight stroke from a point; 0° is right, 90° is up."""
    a = np.radians(degrees)
    return line(x, y, x + length * np.cos(a), y - length * np.sin(a), width)


def ring(x, y, radius, width=3.0):
    """A circle."""
    t = np.linspace(0, 2 * np.pi, 400)
    return np.stack([x + radius * np.cos(t), y + radius * np.sin(t)], 1), width


def wave(x, amplitude, period, width=4.0, y0=-10, y1=394):
    """A nerve from top to bottom that swings about the column x."""
    y = np.arange(y0, y1 + 1.0)
    return np.stack([x + amplitude * np.sin(2 * np.pi * y / period), y], 1), width


def beads(x, width, swell, period):
    """A straight nerve from top to bottom, width ± swell."""
    y = np.arange(-10, 395.0)
    return np.stack([np.full_like(y, x), y], 1), width + swell * np.sin(2 * np.pi * y / period)


def arc(x, y, radius, start, stop, width=4.0):
    """Part of a circle between two angles in degrees (0° right, 90° up)."""
    t = np.radians(np.linspace(start, stop, 400))
    return np.stack([x + radius * np.cos(t), y - radius * np.sin(t)], 1), width


def down(x, width=4.0, top=-10, bottom=394):
    """A trunk straight down at column x."""
    return line(x, top, x, bottom, width)


@dataclass(frozen=True)
class Drawing:
    """Strokes and what a person counts: trunks, branch points on trunks, all branch points."""

    name: str
    strokes: list
    trunks: int
    on_trunks: int
    branch_points: int
    shape: tuple = (384, 384)

    def mask(self) -> np.ndarray:
        return draw(self.strokes, self.shape)


# ruff: noqa: E501
DRAWINGS = [
    Drawing("nothing", [], 0, 0, 0),
    Drawing("one trunk", [down(190)], 1, 0, 0),
    Drawing("one thin trunk", [down(190, 2)], 1, 0, 0),
    Drawing("one wide trunk", [down(190, 7)], 1, 0, 0),
    Drawing("oblique trunk", [line(60, -10, 300, 394)], 1, 0, 0),
    Drawing("corner to corner", [line(-10, -10, 394, 394)], 1, 0, 0),
    Drawing("three parallels", [down(90), down(190), down(290)], 3, 0, 0),
    Drawing("near-touching parallels, 3 px apart", [down(190), down(197)], 2, 0, 0),
    Drawing("near-touching oblique parallels", [line(60, -10, 300, 394), line(70, -10, 310, 394)], 2, 0, 0),
    Drawing("stub of 150 px from the border", [line(190, -10, 190, 150)], 0, 0, 0),
    Drawing("Y", [down(190), ray(190, 250, 50, 90)], 1, 1, 1),
    Drawing("Y downwards", [line(60, -10, 300, 394), ray(180, 192, -20, 80)], 1, 1, 1),
    Drawing("T", [down(190), ray(190, 200, 0, 90)], 1, 1, 1),
    Drawing("acute Y", [down(190), ray(190, 280, 65, 120)], 1, 1, 1),
    Drawing("three branches", [down(190), ray(190, 320, 50, 90), ray(190, 220, 130, 90), ray(190, 120, 40, 90)], 1, 3, 3),
    Drawing("two branches 14 px apart", [down(190), ray(190, 220, 40, 90), ray(190, 206, 40, 90)], 1, 2, 2),
    Drawing("branches on both sides, 30 px apart", [down(190), ray(190, 220, 45, 80), ray(190, 190, 135, 80)], 1, 2, 2),
    Drawing("two branches from one point", [down(190), ray(190, 220, 45, 80), ray(190, 220, 135, 80)], 1, 1, 1),
    Drawing("thin branch on a wide trunk", [down(190, 7), ray(190, 250, 45, 90, 2)], 1, 1, 1),
    Drawing("H", [down(120), down(260), line(120, 230, 260, 170, 3)], 2, 2, 2),
    Drawing("ladder", [down(120), down(260)] + [line(120, y, 260, y - 30, 3) for y in (80, 160, 240, 320)], 2, 8, 8),
    Drawing("crossing at 90°", [down(190), line(-10, 190, 394, 190)], 2, 0, 0),
    Drawing("crossing at 60°", [line(80, -10, 310, 394), line(310, -10, 80, 394)], 2, 0, 0),
    Drawing("crossing at 30°", [line(135, -10, 245, 394), line(245, -10, 135, 394)], 2, 0, 0),
    Drawing("crossings of two and two", [down(120), down(260), line(-10, 130, 394, 130), line(-10, 250, 394, 250)], 4, 0, 0),
    Drawing("a short fibre over a trunk", [down(190), line(140, 150, 240, 230, 3)], 1, 0, 0),
    Drawing("a branch over the next trunk", [down(120), down(240), line(120, 260, 330, 120, 3)], 2, 1, 1),
    Drawing("forked trunk", [line(190, -10, 190, 190), line(190, 188, 120, 394), line(190, 188, 230, 394)], 1, 1, 1),
    Drawing("fork inside the border zone", [line(190, -10, 190, 8), line(190, 8, 120, 394), line(190, 8, 260, 394)], 2, 1, 1),
    Drawing("a branch that leaves the field", [down(150), line(150, 200, 394, 120, 3)], 1, 1, 1),
    Drawing("branch on branch", [down(150), ray(150, 280, 45, 150), ray(220, 210, 0, 90, 2.5)], 1, 1, 2),
    Drawing("three generations", [down(120), ray(120, 300, 45, 200), ray(180, 240, 0, 120, 2.5), ray(240, 240, -50, 80, 2.5)], 1, 1, 3),
    Drawing("closed ring", [ring(190, 190, 60)], 0, 0, 0),
    Drawing("island in a trunk", [line(190, -10, 190, 140), arc(190, 190, 50, 90, 270), arc(190, 190, 50, -90, 90), line(190, 240, 190, 394)], 1, 2, 2),
    Drawing("lollipop", [down(120), line(120, 260, 214, 206, 3), ring(240, 190, 30)], 1, 1, 2),
    Drawing("free fibre", [ray(120, 250, 30, 150)], 0, 0, 0),
    Drawing("free fibre with a branch", [ray(80, 290, 30, 200), ray(160, 244, 80, 90)], 0, 0, 1),
    Drawing("trunk and free fibres", [down(250), ray(60, 150, 60, 100), ray(60, 350, 45, 100)], 1, 0, 0),
    Drawing("a cut-off corner", [line(-10, 120, 120, -10)], 0, 0, 0),
    Drawing("back to the same side", [arc(190, -10, 150, 180, 360)], 0, 0, 0),
    Drawing("from side to side", [line(-10, 60, 330, 394)], 1, 0, 0),
    Drawing("ends 10 px short of the border", [line(190, 12, 190, 371)], 1, 0, 0),
    Drawing("ends 40 px short of the border", [line(190, 40, 190, 343)], 0, 0, 0),
    Drawing("along the border", [down(8)], 1, 0, 0),
    Drawing("trunk with a gap", [line(190, -10, 190, 175), line(190, 210, 190, 394)], 0, 0, 0),
    Drawing("beaded trunk", [beads(190, 5, 2, 24)], 1, 0, 0),
    Drawing("tortuous trunk", [wave(190, 25, 130)], 1, 0, 0),
    Drawing(
        "dense",
        [down(x, 3) for x in (40, 100, 160, 220, 280, 340)]
        + [ray(x, y, 50, 40, 2.5) for x in (40, 160, 280) for y in (120, 220, 320)]
        + [ray(x, y, 130, 40, 2.5) for x in (100, 220) for y in (80, 180)],
        6,
        13,
        13,
    ),
    Drawing("wide image", [line(-10, 100, 522, 140), ray(200, 116, 45, 80)], 1, 1, 1, (256, 512)),
    Drawing("tall image", [line(-10, 300, 270, 330), line(100, -10, 110, 522)], 2, 0, 0, (512, 256)),
]  # fmt: skip
