"""How a plexus loses nerves: branches let go, fibres die back, trunks break. Nothing ever grows.

A plexus is a set of pieces, stretches of the fibres that it started with. `DyingBack.to` takes away what must go
to reach a length and two counts, and only ever takes away, so states that follow each other are nested.
Lengths in µm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .strand import LEAST_BRANCH_UM, LEAST_FREE_UM, LEAST_FROM_EDGE_UM, Field, Strand

CLEARANCE_UM = 10.0
"""Distance of a branch that has let go from the centreline of its trunk."""

GAP_UM = 18.0
"""First gap of a broken trunk."""

GAP_CLEARANCE_UM = 8.0
"""A gap lies at least so far from a branch point, where the trunk has such a place."""

GAP_PLACES = 32
GAP_RANGE = (0.3, 0.7)
"""Places at which a gap is tried, drawn evenly in this part of a trunk's visible length."""

STILL_TRUNK = (0.07, 0.45)
"""A side of a gap whose ends lie so deep in the border zone and so far apart (in sides) might pass for a trunk."""

SPARED_UM = 100.0
"""A gap that leaves no such side is worth so much clearance."""

JOINED_UM = 2.6
"""A branch whose tip is this near to another trunk's centreline is connected to it."""

WINDING_AS_BRANCHES = 30.0
"""A trunk's arc over its chord minus one counts like so many branches for how long it stays."""

ENOUGH_UM = 0.5
"""No more is taken away for less than this."""


@dataclass
class Piece:
    """The stretch from `start` to `end` of a fibre, both measured along it.

    `joins` are the trunks that its two ends branch from (None: free, or over the edge of the field); `dies` says
    which end retracts. `least` is the length below which the piece disappears.
    """

    fibre: int
    start: float
    end: float
    kind: Literal["trunk", "branch", "free", "fragment", "stump"]
    joins: list[int | None]
    dies: Literal["start", "end"]
    least: float


@dataclass(frozen=True)
class Phase:
    """What loses length before all that comes later: pieces of a `kind`, down to this share of their strand."""

    kind: Literal["branch", "free", "fragment", "stump"]
    kept_share: float = 0.0


PHASES = (Phase("fragment"), Phase("branch", kept_share=0.5), Phase("free"), Phase("branch"), Phase("stump"))
"""Loose fragments go first, then branch tips by half, free fibres, the rest of the branches, stumps of trunks last."""


class DyingBack:
    """The state of a plexus that loses nerves."""

    def __init__(
        self,
        rng: np.random.Generator,
        strands: Sequence[Strand],
        thickness: Sequence[float],
        field: Field,
        lost_at_branch: float,
        lost_at_tip: float,
    ):
        self.rng = rng
        self.strands = list(strands)
        self.field = field
        self.lost_at_branch = lost_at_branch
        self.lost_at_tip = lost_at_tip
        self.pieces = [self._piece(i, strand) for i, strand in enumerate(self.strands)]
        self.intact = [i for i, strand in enumerate(self.strands) if strand.kind == "trunk"]
        # Thin fibres go before thick ones.
        self._order = {i: thickness[i] + 0.1 * float(rng.random()) for i in range(len(self.strands))}
        self._gaps: dict[int, float] = {}
        self._breaking = sorted(self.intact, key=self._staying)

    @property
    def length(self) -> float:
        """Length that the skeleton of the drawn mask will show."""
        total = sum(self.visible(piece) for piece in self.pieces)
        joined = sum(join is not None for piece in self.pieces for join in piece.joins)
        tips = sum(
            join is None and self._holds_end(piece, side)
            for piece in self.pieces
            for side, join in enumerate(piece.joins)
        )
        return total - self.lost_at_branch * joined - self.lost_at_tip * tips

    @property
    def branch_points(self) -> int:
        """Branch points on trunks that are intact."""
        return sum(join in self.intact for piece in self.pieces for join in piece.joins if join is not None)

    def visible(self, piece: Piece) -> float:
        """Length of a piece within the field."""
        strand = self.strands[piece.fibre]
        ends = np.interp([piece.start, piece.end], strand.arc, strand.visible)
        return float(ends[1] - ends[0])

    def to(self, trunks: int, branch_points: int, length: float) -> None:
        """Lose nerves until at most so many trunks, branch points and so much length are left."""
        while len(self.intact) > trunks:
            self._break(self._breaking.pop(0))
        while self.branch_points > branch_points:
            self._let_go()
        self._die_back(self.length - length)

    # -- setting out

    def _piece(self, index: int, strand: Strand) -> Piece:
        joins: list[int | None] = [None, None]
        if strand.kind == "trunk":
            return Piece(index, 0.0, strand.stop, "trunk", joins, "end", 0.0)
        if strand.kind == "branch":
            joins[0] = strand.parent
            joins[1] = self._trunk_at(strand.path[-1], strand.parent)
            return Piece(index, 0.0, strand.stop, "branch", joins, "end", LEAST_BRANCH_UM)
        starts_outside = not bool(self.field.holds(strand.path[0]))
        ends_outside = not bool(self.field.holds(strand.path[-1]))
        least = LEAST_FROM_EDGE_UM if starts_outside or ends_outside else LEAST_FREE_UM
        dies: Literal["start", "end"] = "start" if ends_outside else "end"
        return Piece(index, 0.0, strand.stop, "free", joins, dies, least)

    def _trunk_at(self, point: np.ndarray, parent: int | None) -> int | None:
        for index, strand in enumerate(self.strands):
            if strand.kind == "trunk" and index != parent:
                distance = np.hypot(*(strand.path - point).T).min()
                if distance <= JOINED_UM:
                    return index
        return None

    def _staying(self, index: int) -> float:
        """How long a trunk stays: those with many branches and winding ones stay longest."""
        branches = sum(index in piece.joins for piece in self.pieces)
        path = self.strands[index].path
        inside = path[self.field.holds(path)]
        chord = float(np.hypot(*(inside[-1] - inside[0])))
        return branches + WINDING_AS_BRANCHES * (self.strands[index].length / chord - 1)

    # -- losing

    def _break(self, index: int) -> None:
        """Open a gap in a trunk, where no branch leaves it: it spans the field no more."""
        self.intact.remove(index)
        strand = self.strands[index]
        piece = next(piece for piece in self.pieces if piece.fibre == index)
        roots = np.array([self._arc_of_join(other, index) for other in self.pieces if index in other.joins])
        low, high = np.interp(GAP_RANGE, strand.visible / strand.visible[-1], strand.arc)
        places = low + (high - low) * self.rng.random(GAP_PLACES)
        away = np.abs(places[:, None] - roots[None]).min(axis=1) if len(roots) else np.full(len(places), np.inf)
        clearance = np.minimum(away, GAP_UM / 2 + GAP_CLEARANCE_UM)
        clearance = clearance - SPARED_UM * np.array([self._leaves_trunk(strand, at) for at in places])
        place = float(places[clearance.argmax()])
        self.pieces.remove(piece)
        self._gaps[index] = place
        for start, end, dies in ((0.0, place - GAP_UM / 2, "end"), (place + GAP_UM / 2, strand.stop, "start")):
            self.pieces.append(Piece(index, start, end, "stump", [None, None], dies, LEAST_FROM_EDGE_UM))  # type: ignore[arg-type]
        # A stump that a branch leads on to another edge or nerve could pass for a trunk.
        for other in list(self.pieces):
            if index in other.joins:
                side = other.joins.index(index)
                if other.joins[1 - side] is not None or not self._holds_end(other, 1 - side):
                    self._detach(other, side)

    def _leaves_trunk(self, strand: Strand, place: float) -> bool:
        """Whether one side of a gap would still pass for a trunk, as it may beside the edge of the field."""
        inside = self.field.holds(strand.path)
        before = strand.path[inside & (strand.arc < place)]
        after = strand.path[inside & (strand.arc > place)]
        return any(len(part) > 1 and self.field.spans(part[0], part[-1], *STILL_TRUNK) for part in (before, after))

    def _arc_of_join(self, branch: Piece, trunk: int) -> float:
        side = branch.joins.index(trunk)
        point = self.strands[branch.fibre].path[0 if side == 0 else -1]
        strand = self.strands[trunk]
        return float(strand.arc[np.hypot(*(strand.path - point).T).argmin()])

    def _let_go(self) -> None:
        """Separate one branch from one intact trunk."""
        held = [piece for piece in self.pieces if any(join in self.intact for join in piece.joins if join is not None)]
        piece = min(held, key=lambda piece: self._order[piece.fibre])
        sides = [side for side in (1, 0) if piece.joins[side] in self.intact]
        self._detach(piece, sides[0])

    def _detach(self, piece: Piece, side: int) -> None:
        trunk = piece.joins[side]
        assert trunk is not None
        piece.joins[side] = None
        strand, other = self.strands[piece.fibre], self.strands[trunk]
        inside = (strand.arc >= piece.start) & (strand.arc <= piece.end)
        arcs, points = strand.arc[inside], strand.path[inside]
        apart = np.hypot(*(points[:, None] - other.path[None]).transpose(2, 0, 1)).min(axis=1) > CLEARANCE_UM
        if not apart.any():
            self.pieces.remove(piece)
            return
        if side == 0:
            piece.start, piece.dies = float(arcs[apart][0]), "start"
        else:
            piece.end, piece.dies = float(arcs[apart][-1]), "end"
        if piece.joins == [None, None]:
            piece.kind = "fragment"
            edge = self._holds_end(piece, 0) and self._holds_end(piece, 1)
            piece.least = LEAST_FREE_UM if edge else LEAST_FROM_EDGE_UM
        if self.visible(piece) < piece.least:
            self.pieces.remove(piece)

    def _holds_end(self, piece: Piece, side: int) -> bool:
        """Whether an end of a piece lies within the field, not over its edge."""
        strand = self.strands[piece.fibre]
        arc = (piece.start, piece.end)[side]
        at = [float(np.interp(arc, strand.arc, strand.path[:, axis])) for axis in (0, 1)]
        return bool(self.field.holds(np.array(at), 2.0))

    def _die_back(self, excess: float) -> None:
        """Take `excess` µm away: loose fragments and branch tips first, stumps of trunks last."""
        for phase in PHASES:
            if excess <= ENOUGH_UM:
                return
            for piece in sorted(self._mortal(phase), key=lambda piece: self._order[piece.fibre]):
                before = self.length
                self._shorten(piece, excess, phase)
                excess -= before - self.length
                if excess <= ENOUGH_UM:
                    return

    def _mortal(self, phase: Phase) -> list[Piece]:
        """Pieces that may lose length in a phase; a branch between two trunks has no tip to lose."""
        pieces = [piece for piece in self.pieces if piece.kind == phase.kind]
        return [piece for piece in pieces if None in piece.joins] if phase.kind == "branch" else pieces

    def _shorten(self, piece: Piece, excess: float, phase: Phase) -> None:
        """Retract the dying end by at most `excess`, or remove the piece where that takes no more."""
        length = self.visible(piece)
        if piece.kind != "branch" and length <= excess:
            self._drop(piece)
            return
        least = piece.least
        if piece.kind == "branch":
            # Its tip is the end that holds on to nothing.
            piece.dies = "end" if piece.joins[1] is None else "start"
            least = max(least, phase.kept_share * self.strands[piece.fibre].length)
        loss = min(excess, length - least)
        if loss <= 0:
            return
        strand = self.strands[piece.fibre]
        start, end = np.interp([piece.start, piece.end], strand.arc, strand.visible)
        if piece.dies == "end":
            piece.end = _arc_at(strand, end - loss)
        else:
            piece.start = _arc_at(strand, start + loss)
        if piece.kind == "stump":
            self._orphan(piece)

    def _drop(self, piece: Piece) -> None:
        self.pieces.remove(piece)
        if piece.kind == "stump":
            self._orphan(piece, gone=True)

    def _orphan(self, stump: Piece, gone: bool = False) -> None:
        """Branches whose place on a stump is gone have let go."""
        for piece in list(self.pieces):
            if stump.fibre not in piece.joins:
                continue
            at = self._arc_of_join(piece, stump.fibre)
            lower = stump.dies == "end"
            own = at < self._gaps[stump.fibre] if lower else at > self._gaps[stump.fibre]
            if own and (gone or (at > stump.end if lower else at < stump.start)):
                self._detach(piece, piece.joins.index(stump.fibre))


def _arc_at(strand: Strand, visible: float) -> float:
    """Place along a strand where so much of it has been seen."""
    rising = np.flatnonzero(np.diff(strand.visible) > 0)
    first, last = rising[0], rising[-1] + 1
    return float(np.interp(visible, strand.visible[first : last + 1], strand.arc[first : last + 1]))


def lateral_shift(
    path: np.ndarray, direction: float, amplitude: float, wavelength: float, phase: np.ndarray
) -> np.ndarray:
    """Displace points [n, 2] across `direction` by a wave of `amplitude` that runs along it.

    The displacement is a function of the place alone, so fibres that meet still meet. Its crests wander slowly.
    """
    along = path[:, 0] * math.cos(direction) + path[:, 1] * math.sin(direction)
    across = path[:, 1] * math.cos(direction) - path[:, 0] * math.sin(direction)
    wander = 1.5 * np.sin(2 * math.pi * across / (9 * wavelength) + phase[1])
    wave = amplitude * np.sin(2 * math.pi * along / wavelength + wander + phase[0])
    return path + wave[:, None] * [-math.sin(direction), math.cos(direction)]
