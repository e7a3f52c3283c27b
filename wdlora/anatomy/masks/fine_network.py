"""The fine network: thin, tortuous fibres that connect the nerves, which experts do not annotate. Lengths in µm.

How much there is of it is an assumption of ours (`FINE_SHARE`): a network trained on everything that can be seen draws
24 to 29 % more length than experts on three published figures. Where it grows follows the look of real frames: nearly
half of it are connections, most of the rest sprouts of the nerves, few pieces lie loose.
"""

import math
from collections.abc import Sequence

import numpy as np

from ..fibre import Fibre
from .curves import STEP_UM, arc_lengths, evaluate, waves
from .occupancy import Occupancy

FINE_SHARE = 0.30
"""Median length of the fine network over that of the annotated nerves …"""

SHARE_SPREAD = 0.35
"""… and the SD of its logarithm over corneas."""

WIDTH_UM = (2.0, 3.0)
"""Range of drawn widths."""

CONNECTING, SPROUTING = 0.55, 0.92
"""Connections below the first, sprouts below the second, loose pieces above."""

REACH = (16.0, 110.0)
"""Distances that connections bridge."""

PARTNERS = 14
"""Places on other fibres among which a connection takes a near one."""

TOUCHING_UM = 7.0
"""A fibre that comes so near to another one's centreline runs into it."""

MOST_SHARED = 0.22
"""Fibres that run along others for more of their length are not drawn."""

LEAST_UM = 14.0
TRIES = 6
"""At most so many tries for every `TRY_UM` of length that is wanted."""

TRY_UM = 25.0
TIP, TAPER_UM = 0.6, 12.0
ROLE = 0x66696E65


def drawn_share(seed: int, severity: float) -> float:
    """The share of one cornea, drawn round `FINE_SHARE`."""
    rng = np.random.default_rng(np.random.SeedSequence([ROLE, round(1000 * severity), int(seed), 1]))
    return FINE_SHARE * float(np.exp(SHARE_SPREAD * rng.standard_normal()))


def fine_network(
    nerves: Sequence[Fibre], shape: tuple[int, int], pixel_size_um: float, share: float, seed: int
) -> tuple[Fibre, ...]:
    """Grow the fine network of a plexus: fibres of the kind "fine", the earlier ones never resting on later ones.

    `share` is its length over that of `nerves` within the image of `shape`; where no more finds a place it is less.
    """
    rng = np.random.default_rng(np.random.SeedSequence([ROLE, int(seed)]))
    size = np.array([shape[1], shape[0]]) * pixel_size_um
    network = _Network(rng, [(fibre.points + 0.5) * pixel_size_um for fibre in nerves], size)
    grown = network.grow(share * network.length)
    return tuple(_fibre(rng, path, free, pixel_size_um) for path, free in grown)


def _fibre(rng: np.random.Generator, path: np.ndarray, free: tuple[bool, bool], pixel_size_um: float) -> Fibre:
    """A path in µm as a fibre in pixels, tapering at its free ends."""
    arc = arc_lengths(path)
    width = rng.uniform(*WIDTH_UM) * np.clip(1 + evaluate(waves(rng, 0.07, (9.0, 18.0), 3), arc), 0.6, 1.5)
    for is_free, distance in zip(free, (arc, arc[-1] - arc), strict=True):
        if is_free:
            width *= TIP + (1 - TIP) * np.clip(distance / TAPER_UM, 0, 1)
    return Fibre(path / pixel_size_um - 0.5, width, "fine")


class _Network:
    """Paths (µm) that grow on each other in a field of `size` (width, height)."""

    def __init__(self, rng: np.random.Generator, nerves: list[np.ndarray], size: np.ndarray) -> None:
        self.rng, self.size = rng, size
        self.occupancy = Occupancy(float(size[0]), float(size[1]), TOUCHING_UM)
        self.paths: list[np.ndarray] = []
        self.length = 0.0
        for path in nerves:
            self._add(path)
        self.tortuosity = float(np.exp(rng.normal(0.0, 0.35)))
        self.isotropy = float(rng.uniform(0.2, 1.0))
        # Where the fine network lives: a slow wave over the field.
        turn = rng.uniform(0, 2 * np.pi, 2)
        self._wave = np.stack([np.cos(turn), np.sin(turn)]) * 2 * np.pi / rng.uniform(250, 700, 2)
        self._phase, self._bar = rng.uniform(0, 2 * np.pi, 2), rng.uniform(-2.2, 0.2)

    def grow(self, length: float) -> list[tuple[np.ndarray, tuple[bool, bool]]]:
        """Paths of about `length` in all, each with whether its start and its end hang free."""
        found: list[tuple[np.ndarray, tuple[bool, bool]]] = []
        start = self.length
        for _ in range(math.ceil(TRIES * length / TRY_UM)):
            made = self._one()
            if made is None:
                continue
            before = self.length
            self._add(made[0])
            over = self.length - start - length
            if over > 0 and over > start + length - before:
                break  # without this one it is nearer to what is wanted
            found.append(made)
            if over >= 0:
                break
        return found

    def _add(self, path: np.ndarray) -> None:
        self.paths.append(path)
        inside = self._inside(path)
        self.length += float((np.hypot(*np.diff(path, axis=0).T) * inside[1:]).sum())
        self.occupancy.take(path[inside], len(self.paths))

    def _inside(self, path: np.ndarray) -> np.ndarray:
        return np.all((path >= 0) & (path <= self.size), axis=-1)

    def _one(self) -> tuple[np.ndarray, tuple[bool, bool]] | None:
        """One fibre, if the first thing that comes to mind has a place."""
        kind = self.rng.random()
        place = self._place() if self.paths and kind < SPROUTING else None
        root, heading = place if place is not None else (self.rng.uniform(0, 1, 2) * self.size, None)
        if not self._inside(root) or np.cos(self._wave.T @ root + self._phase).sum() < self._bar:
            return None
        if place is not None and kind < CONNECTING:
            end = self._partner(root)
            return None if end is None else self._placed(self._connection(root, end), True, True)
        path = self._walk(root, heading)
        return self._placed(path, place is not None, False)

    def _place(self) -> tuple[np.ndarray, float]:
        """A point on a fibre, and the fibre's direction there."""
        path = self.paths[int(self.rng.integers(len(self.paths)))]
        index = int(self.rng.integers(len(path)))
        low, high = path[max(index - 3, 0)], path[min(index + 3, len(path) - 1)]
        return path[index], math.atan2(high[1] - low[1], high[0] - low[0])

    def _partner(self, root: np.ndarray) -> np.ndarray | None:
        """A place on a fibre that a connection from `root` may reach."""
        places = np.array([self._place()[0] for _ in range(PARTNERS)])
        distance = np.hypot(*(places - root).T)
        fits = (distance > REACH[0]) & (distance < REACH[1]) & self._inside(places)
        if not fits.any():
            return None
        cost = np.where(fits, distance + self.rng.exponential(20, PARTNERS), np.inf)
        return places[int(cost.argmin())]

    def _connection(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """A bent, wound path from `start` to `end`."""
        chord = float(np.hypot(*(end - start)))
        middle = (start + end) / 2 + self.rng.normal(0, 0.16, 2) * chord
        t = np.linspace(0, 1, max(int(1.1 * chord / STEP_UM), 6))[:, None]
        return self._wound((1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end, pinned=True)

    def _walk(self, root: np.ndarray, heading: float | None) -> np.ndarray:
        """A path that leaves `root` at an angle to `heading` and settles towards it."""
        rng = self.rng
        steps = int((rng.gamma(2.2, 16.0) + 14) / STEP_UM) + 4
        base = rng.uniform(0, 2 * np.pi) if heading is None else heading + np.pi * int(rng.integers(2))
        off = rng.choice([-1.0, 1.0]) * abs(rng.normal(0.35, 0.2 + 0.7 * self.isotropy))
        noise = np.cumsum(rng.standard_normal(steps)) * rng.uniform(0.03, 0.10)
        direction = base + off * np.exp(-np.arange(steps) * STEP_UM / rng.choice([25.0, 80.0, 400.0])) + noise
        path = root + np.cumsum(STEP_UM * np.stack([np.cos(direction), np.sin(direction)], 1), axis=0)
        return self._wound(np.concatenate([root[None], path]), pinned=False)

    def _wound(self, path: np.ndarray, pinned: bool) -> np.ndarray:
        """`path` displaced across its course by waves of two lengths and by corners."""
        rng, arc = self.rng, arc_lengths(path)
        off = evaluate(waves(rng, self.tortuosity * rng.uniform(0.20, 0.45), (35.0, 90.0), 3), arc)
        off += evaluate(waves(rng, self.tortuosity * rng.uniform(0.12, 0.35), (14.0, 30.0), 3), arc)
        corners = np.arange(-20.0, arc[-1] + 40, 1.0)
        corners = corners[rng.random(len(corners)) < 1 / 22]
        if len(corners) > 1:
            off += np.interp(arc, corners, self.tortuosity * rng.normal(0, 1.8, len(corners)))
        off -= off[0]
        if pinned:
            off *= np.clip((arc[-1] - arc) / 10, 0, 1)
        tangent = np.gradient(path, axis=0)
        tangent /= np.maximum(np.hypot(*tangent.T), 1e-9)[:, None]
        return path + off[:, None] * np.stack([-tangent[:, 1], tangent[:, 0]], 1)

    def _placed(self, path: np.ndarray, rooted: bool, joined: bool) -> tuple[np.ndarray, tuple[bool, bool]] | None:
        """The part of `path` that is drawn: within the field, apart from others, up to the fibre that it runs into."""
        outside = np.flatnonzero(~self._inside(path))
        if len(outside):
            path = path[: outside[0] + 3]  # a little beyond the edge
        taken = self.occupancy.owners(path) > 0
        if taken.mean() > MOST_SHARED + (2 * TOUCHING_UM / STEP_UM) / max(len(path), 1):
            return None
        free = np.flatnonzero(~taken)
        ends_free = not joined and not len(outside)
        if not joined and len(free):
            met = np.flatnonzero(taken[free[0] :])
            if len(met):
                # Sprouts end on the fibre that they meet.
                path = path[: free[0] + int(met[0]) + math.ceil(TOUCHING_UM / STEP_UM)]
                ends_free = False
        if len(free) * STEP_UM < 6.0 or arc_lengths(path)[-1] < LEAST_UM:
            return None
        return path, (not rooted, ends_free)
