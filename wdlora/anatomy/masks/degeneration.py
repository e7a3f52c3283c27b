"""One plexus followed from healthy towards neuropathy and back.

This is a model of cross-sectional data, not of a patient's future: nobody whose nerves were measured here was
seen twice. A plexus keeps its rank: the quantiles that its CNFL, trunks given CNFL, and branch points given
both have where it starts are read off in the distributions at the severity asked for, so that a population of
healthy plexuses becomes the populations of the cohorts. What must go for that goes in a fixed order (branches,
loose fibres, trunks last, which break and die back from the gap), so states are nested; what remains is
thinner by the ratio of the cohorts' CNFW and wound a little more, by at most 0.4 px. Most of the rise in
tortuosity is selection: straight trunks with few branches break first.
"""

import math

import numpy as np

from ...cohorts import COHORTS, FIELD_MM2, nearest
from ...errors import InputError
from ..biomarkers.panel import measure
from ..fibre import Fibre
from ..nerve_mask import NerveMask
from ..scale import FIELD_UM
from .drawing import mask_of_fibres
from .dying_back import DyingBack, Piece, lateral_shift
from .sampler import LOST_AT_BRANCH_UM, LOST_AT_TIP_UM, Order
from .strand import Field, Strand
from .targets import MAX_BRANCH_POINTS, MAX_TRUNKS, draw_targets
from .widths import TAPER_UM, TIP

STEPS_PER_UNIT = 16
"""States between two cohorts that a plexus passes through; fixed, so that any two severities are nested."""

SHIFT_PX = 0.4
"""Greatest displacement, at severity 2."""

SHIFT_WAVELENGTH_PX = 14.0
GROWTH_PX = 0.5
"""Thin fibres that outlive thick ones may be drawn this much wider on either side, to keep the mean width."""

KEPT_BRANCH_POINTS = (1.0, 1.06, 1.32)
"""Trunks that stay do not always have as many branch points as wanted; the others keep so much more (fitted)."""

WIDTH_TOLERANCE = 0.002
RANKS = 1024
ROLE = 0x6465


def degenerate(nerve_mask: NerveMask, severity: float) -> NerveMask:
    """The same plexus at another severity, 0 (Control) to 2 (T1DPN).

    At its own severity it is returned as it is, bit for bit. Nothing grows: CNFL and the counts never rise with
    severity, and nothing lies farther than 1 px from where it was. A mask that has degenerated goes back
    through its `origin`, so `degenerate(degenerate(mask, 2), 0)` is `mask`. Raises InputError for a severity
    below that of the mask that the plexus started with, and for a mask without centrelines.
    """
    if not (isinstance(severity, int | float) and math.isfinite(severity) and 0 <= severity <= 2):
        raise InputError(f"severity {severity!r} is not a number from 0 (Control) to 2 (T1DPN)")
    origin = nerve_mask.origin or nerve_mask
    if severity == nerve_mask.severity:
        return nerve_mask
    if severity == origin.severity:
        return origin
    if severity < origin.severity:
        raise InputError(
            f"severity {severity:g} is below {origin.severity:g}, at which this plexus was drawn, and nerves do not "
            "grow here; sample a mask at a lower severity and degenerate that"
        )
    if origin.biomarkers is None or (not origin.centrelines and origin.mask.any()):
        raise InputError("this mask has no centrelines; only masks from the sampler can degenerate")
    return _Path(origin).at(float(severity))


class _Path:
    """Everything that one plexus goes through."""

    def __init__(self, origin: NerveMask):
        self.origin = origin
        height, width = (n * origin.pixel_size_um for n in origin.mask.shape)
        self.field = Field(width, height)
        self.area_mm2 = width * height / 1e6
        self.rng = np.random.default_rng(np.random.SeedSequence([ROLE, origin.seed, round(1000 * origin.severity)]))
        self.rounding = self.rng.random(2)
        self.start = self._counts(np.array([[origin.target[k] for k in ("cnfl", "cnfd", "cnbd")]]))[0]
        uniform = self._ranks()
        self.places = [known.severity for known in COHORTS.values() if known.severity > origin.severity]
        self.milestones = [self.start] + [
            self._in_field(draw_targets(place, uniform))[0] * [1, 1, KEPT_BRANCH_POINTS[place]] for place in self.places
        ]

    def _counts(self, target: np.ndarray) -> np.ndarray:
        """Length in µm and counts in this field, from CNFL and densities."""
        return target * [1000 * self.area_mm2, self.area_mm2 / self.field.windows, self.area_mm2]

    def _in_field(self, drawn: np.ndarray) -> np.ndarray:
        """The same from draws for the 400 µm field: trunks keep their spacing, branch points their density."""
        scale = [1000 * self.area_mm2, self.field.width / FIELD_UM, self.area_mm2 / FIELD_MM2]
        return drawn[:, :3] * scale

    def _ranks(self) -> np.ndarray:
        """Uniform numbers [1, 4] that draw this plexus at the severity at which it starts, or come nearest."""
        u = (np.arange(RANKS) + 0.5) / RANKS
        chosen = np.full((1, 4), 0.5)
        limits = (0, MAX_TRUNKS, MAX_BRANCH_POINTS)
        for column in range(3):
            tries = np.repeat(chosen, RANKS, axis=0)
            tries[:, column] = u
            values = self._in_field(draw_targets(self.origin.severity, tries))[:, column]
            if column:
                values = np.floor(values + self.rounding[column - 1])
                wanted = min(round(self.start[column]), limits[column])
                distance = np.abs(values - wanted)
                fitting = np.flatnonzero(distance == distance.min())
                chosen[0, column] = u[fitting[int(self.rng.random() * len(fitting))]]
            else:
                chosen[0, 0] = np.interp(self.start[0], values, u)
        return chosen

    def wanted(self, severity: float) -> tuple[int, int, float]:
        """Trunks, branch points and length at a severity, each never more than before."""
        least = np.minimum.accumulate(np.array(self.milestones), axis=0)
        at = [np.interp(severity, [self.origin.severity, *self.places], least[:, k]) for k in range(3)]
        counts = [math.floor(value + extra) for value, extra in zip(at[1:], self.rounding, strict=True)]
        if not counts[0]:
            counts[1] = 0
        return counts[0], counts[1], float(at[0])

    def at(self, severity: float) -> NerveMask:
        """The plexus at a severity above the one that it starts with."""
        origin = self.origin
        strands = [
            Strand((fibre.points + 0.5) * origin.pixel_size_um, fibre.kind, self.field, fibre.parent)
            for fibre in origin.centrelines
            if fibre.kind != "fine"
        ]
        thickness = [float(fibre.width_um.mean()) / origin.target["width_um"] for fibre in origin.centrelines]
        dying = DyingBack(self.rng, strands, thickness, self.field, LOST_AT_BRANCH_UM, LOST_AT_TIP_UM)
        assert origin.biomarkers is not None
        # What the estimate of the measured length misses at the start it misses throughout.
        share = dying.length / max(1000 * origin.biomarkers.length_mm, 1e-9)
        grid = np.arange(math.floor(origin.severity * STEPS_PER_UNIT) + 1, 2 * STEPS_PER_UNIT + 1) / STEPS_PER_UNIT
        for step in [*grid[grid < severity], severity]:
            trunks, branch_points, length = self.wanted(float(step))
            dying.to(trunks, branch_points, length * share)
        trunks, branch_points, length = self.wanted(severity)
        name = nearest(severity).name
        order = Order(length, trunks, branch_points, self._width(severity), self.field.windows)
        mask, fibres = self._draw(dying, severity, order.width_um * dying.length / share)
        biomarkers = measure(mask, origin.pixel_size_um)
        for _ in range(2):
            if not biomarkers.length_mm or abs(biomarkers.mean_width_um / order.width_um - 1) <= WIDTH_TOLERANCE:
                break
            mask, fibres = self._draw(dying, severity, order.width_um * 1000 * biomarkers.length_mm)
            biomarkers = measure(mask, origin.pixel_size_um)
        return NerveMask(
            mask=mask,
            centrelines=fibres,
            pixel_size_um=origin.pixel_size_um,
            cohort=name,
            seed=origin.seed,
            severity=severity,
            target=order.target(self.area_mm2),
            biomarkers=biomarkers,
            origin=origin,
            fine_share=origin.fine_share,
            kept=tuple(self._stretch(dying, piece)[0] / origin.pixel_size_um - 0.5 for piece in dying.pieces),
        )

    def _width(self, severity: float) -> float:
        """Mean width: the origin's as measured, times the ratio of the cohorts' mean CNFW."""
        places = [known.severity for known in COHORTS.values()]
        means = [known.distributions["cnfw"][0] for known in COHORTS.values()]
        ratio = np.interp(severity, places, means) / np.interp(self.origin.severity, places, means)
        assert self.origin.biomarkers is not None
        return float(self.origin.biomarkers.mean_width_um * ratio)

    def _draw(self, dying: DyingBack, severity: float, area_um2: float) -> tuple[np.ndarray, tuple[Fibre, ...]]:
        """Draw the pieces, displaced, with all widths scaled until they cover the area."""
        origin, pixel = self.origin, self.origin.pixel_size_um
        direction = self._direction()
        amplitude = SHIFT_PX * (severity - origin.severity) / 2 * pixel
        phase = 2 * math.pi * np.random.default_rng(np.random.SeedSequence([ROLE, origin.seed, 1])).random(2)
        pieces = []
        for piece in dying.pieces:
            points, widths, taper = self._stretch(dying, piece)
            points = lateral_shift(points, direction, amplitude, SHIFT_WAVELENGTH_PX * pixel, phase)
            pieces.append((points / pixel - 0.5, widths, taper, dying.strands[piece.fibre].kind))
        scale = 1.0
        for _ in range(6):
            fibres = tuple(
                Fibre(points, np.minimum(scale * taper * widths, widths + 2 * GROWTH_PX * pixel), kind)
                for points, widths, taper, kind in pieces
            )
            mask = mask_of_fibres(fibres, origin.mask.shape, pixel)
            covered = int(mask.sum()) * pixel**2
            if not covered or abs(covered / area_um2 - 1) < WIDTH_TOLERANCE:
                break
            scale *= area_um2 / covered
        return mask, fibres

    def _stretch(self, dying: DyingBack, piece: Piece) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points and widths of a piece in µm, and by how much its new ends taper."""
        strand = dying.strands[piece.fibre]
        fibre = self.origin.centrelines[piece.fibre]
        inner = strand.arc[(strand.arc > piece.start + 1e-6) & (strand.arc < piece.end - 1e-6)]
        at = np.concatenate([[piece.start], inner, [piece.end]])
        points = np.stack([np.interp(at, strand.arc, strand.path[:, axis]) for axis in (0, 1)], axis=1)
        widths = np.interp(at, strand.arc, fibre.width_um)
        taper = np.ones(len(at))
        if piece.start > 0:
            taper *= TIP + (1 - TIP) * np.clip((at - piece.start) / TAPER_UM, 0, 1)
        if piece.end < strand.arc[-1] - 1e-6:
            taper *= TIP + (1 - TIP) * np.clip((piece.end - at) / TAPER_UM, 0, 1)
        return points, widths, taper

    def _direction(self) -> float:
        """The direction in which most of the plexus runs, radians."""
        steps = np.concatenate(
            [np.zeros((1, 2)), *[np.diff(fibre.points, axis=0) for fibre in self.origin.centrelines]]
        )
        doubled = np.arctan2(steps[:, 1], steps[:, 0]) * 2
        weight = np.hypot(*steps.T)
        return float(np.arctan2((weight * np.sin(doubled)).sum(), (weight * np.cos(doubled)).sum()) / 2)
