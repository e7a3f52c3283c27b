"""A plexus grown to order: a number of trunks, of branch points on them, and a total length.

Trunks cross the field side by side along a common course. Branches leave them at 25 to 65°, thin and oblique,
and end freely (Y) or on another trunk (H). Free fibres, nerves that enter or leave the focal plane within the
field, follow the same course and make up the rest of the length. Lengths in µm.
"""

import math
from dataclasses import dataclass

import numpy as np

from .branches import BRANCH_ANGLES, Candidates, draw_candidates, heading_at
from .course import Course, draw_course
from .curves import STEP_UM, arc_lengths
from .occupancy import Occupancy
from .strand import LEAST_BRANCH_UM, LEAST_FREE_UM, LEAST_FROM_EDGE_UM, OVERHANG_UM, Field, Strand

REACH_UM = 11.0
"""Least distance between fibres that do not meet."""

ROOT_SPACING_UM = 20.0
"""Least distance of branch points along a trunk, on whichever side."""

EDGE_UM = 15.0
"""Least distance of a branch point from the edge of the field."""

CALM = (1.0, 1.0, 0.75, 0.5, 0.3, 0.15, 0.05)
"""Courses tried for the trunks one after the other: how much of the usual bend and slant each has."""

CLEAR_TRUNK = (0.065, 0.56)
"""A line whose ends lie so deep in the border zone and so far apart (in sides) will be measured as a trunk."""

NEARLY_TRUNK = (0.07, 0.4)
"""A free fibre with such ends might be measured as one."""

BRANCH_POINT_UM = 26.0
"""Length to be kept for every branch point that is still to come."""

BRANCH_SHARE = 0.62
"""Share of the length that trunks leave which branches take; free fibres take the rest."""

LONGEST_MEAN_BRANCH_UM = 150.0
BRANCH_SPREAD = (0.45, 1.5)
"""Branches have so many times the mean length that the plexus can afford, drawn evenly."""

CONNECTING_SHARE = 0.45
"""How often a branch that leads to another trunk is looked for …"""

CONNECTING_STRETCH = 1.4
"""… which may be so many times as long …"""

CONNECTING_BONUS_UM = 60.0
"""… and wins over one that is nearer to the desired length by less than this."""

FREE_SPREAD = (0.32, 1.0)
"""Free fibres have such shares of the longest that the field holds, drawn evenly."""

LONGEST_FREE_SHARE = 0.78
"""The longest free fibre, as a share of a window's height."""


@dataclass(frozen=True)
class _Branch:
    """A branch that could grow: how far it is from what is wanted (µm), and the branch points that it makes."""

    misfit: float
    strand: Strand
    roots: list[tuple[int, float]]


class Plexus:
    """Strands in a field and the places that they occupy."""

    def __init__(self, rng: np.random.Generator, field: Field, excess: float, whorl: bool = False):
        self.rng = rng
        self.field = field
        self.excess = excess
        self.whorl = whorl
        self.strands: list[Strand] = []
        self.roots: list[tuple[int, float]] = []
        self.occupancy = Occupancy(field.width, field.height, REACH_UM)
        self.course: Course | None = None

    @property
    def length(self) -> float:
        """Total length in the field."""
        return sum(strand.length for strand in self.strands)

    @property
    def branch_points(self) -> int:
        """Number of branch points on trunks."""
        return len(self.roots)

    def grow(self, trunks: int, branch_points: int, length: float) -> None:
        """Grow everything; what finds no place stays away, and the counts say so."""
        self._grow_trunks(trunks, length - BRANCH_POINT_UM * branch_points)
        self._grow_branches(branch_points, length)
        self._grow_free(length)
        self.tune(length)

    # -- trunks

    def _grow_trunks(self, count: int, budget: float) -> None:
        """Place `count` trunks, straighter and more upright where the budget is tight."""
        best: list[np.ndarray] = []
        for calm in CALM:
            self.course = draw_course(self.rng, self.field.width, self.field.height, self.excess, self.whorl, calm)
            lines = self._lines(count) if count else []
            if len(lines) >= len(best):
                best = lines
            if len(lines) == count and self._visible(lines) <= budget:
                break
        for line in best:
            self._accept(Strand(line, "trunk", self.field))

    def _visible(self, lines: list[np.ndarray]) -> float:
        return sum(Strand(line, "trunk", self.field).length for line in lines)

    def _lines(self, count: int) -> list[np.ndarray]:
        """Up to `count` lines that cross the field apart from each other."""
        assert self.course is not None
        course, field = self.course, self.field
        along = course.parameters()
        extent = field.width * abs(math.sin(course.direction)) + field.height * abs(math.cos(course.direction))
        gap = min(70.0, 0.6 * extent / count)
        found: list[np.ndarray] = []
        while gap > 12.0:
            tries = max(16, 5 * count)
            across = (self.rng.random(tries) - 0.5) * extent
            bent = across[:, None] + course.own(self.rng, along, tries)
            points = course.lines(along, bent)
            held = field.holds(points)
            taken: list[int] = []
            found = []
            for row in range(tries):
                line = self._crossing(points[row], held[row])
                if line is None:
                    continue
                both = held[taken] & held[row]
                apart = np.abs(bent[taken] - bent[row])
                if taken and np.where(both, apart, np.inf).min() < gap:
                    continue
                taken.append(row)
                found.append(line)
                if len(found) == count:
                    return found
            gap *= 0.8
        return found

    def _crossing(self, points: np.ndarray, held: np.ndarray) -> np.ndarray | None:
        """The part of a line that crosses the field with a little overhang, if that makes a clear trunk."""
        run = np.flatnonzero(held)
        if len(run) < 20 or run[-1] - run[0] + 1 != len(run):
            return None
        if not self.field.spans(points[run[0]], points[run[-1]], *CLEAR_TRUNK):
            return None
        middle = points[run[0] + 18 : run[-1] - 17]
        if not self.field.holds(middle, 8.0).all():
            return None
        over = math.ceil(OVERHANG_UM / STEP_UM)
        return points[max(run[0] - over, 0) : run[-1] + over + 1]

    # -- branches

    def _grow_branches(self, count: int, length: float) -> None:
        trunks = [i for i, strand in enumerate(self.strands) if strand.kind == "trunk"]
        if not trunks or not count:
            return
        ways = self.rng.choice([-1.0, 1.0])
        for attempt in range(12 + 5 * count):
            wanted = count - self.branch_points
            if wanted <= 0:
                return
            spare = length - self.length
            share = BRANCH_SHARE if spare * (1 - BRANCH_SHARE) > 1.5 * LEAST_FREE_UM else 1.0
            mean = min(max(share * spare / wanted, LEAST_BRANCH_UM), LONGEST_MEAN_BRANCH_UM)
            desired = max(LEAST_BRANCH_UM, mean * float(self.rng.uniform(*BRANCH_SPREAD)))
            if attempt > 8 + 2 * count:
                desired = LEAST_BRANCH_UM
            most = max(spare - BRANCH_POINT_UM * (wanted - 1), LEAST_BRANCH_UM)
            self._grow_branch(trunks, wanted, min(desired, most), most, ways)

    def _grow_branch(self, trunks: list[int], wanted: int, desired: float, most: float, ways: float) -> None:
        """Try a handful of branches at once and keep the one nearest to the desired length."""
        drawn = draw_candidates(self.rng, self.strands, trunks, ways, self.excess)
        owners = self.occupancy.owners(drawn.paths)
        held = self.field.holds(drawn.paths)
        connecting = wanted >= 2 and len(trunks) > 1 and self.rng.random() < CONNECTING_SHARE
        best: _Branch | None = None
        for k in np.flatnonzero(self.field.holds(drawn.paths[:, 0], EDGE_UM)).tolist():
            if not self._root_is_free(*drawn.root(k)):
                continue
            end, exits, meets = self._way(drawn, k, owners[k], held[k])
            if end * STEP_UM < LEAST_BRANCH_UM:
                continue
            found: list[_Branch | None] = []
            if connecting and meets:
                found.append(self._connecting(drawn, k, end, int(owners[k, end]) - 1, desired, most))
            found.append(self._ending(drawn, k, end, exits, desired))
            for branch in found:
                if branch is not None and (best is None or branch.misfit < best.misfit):
                    best = branch
        if best is not None and best.strand.length <= most + 1e-6:
            self.roots += best.roots
            self._accept(best.strand)

    def _way(self, drawn: Candidates, k: int, owners: np.ndarray, held: np.ndarray) -> tuple[int, bool, bool]:
        """How far a branch may run (index of a point), and whether it leaves the field or meets a fibre there.

        0 where it runs into something before it is clear of its trunk.
        """
        leaving = (1.3 * REACH_UM / np.sin(drawn.angle[k])) / STEP_UM
        own = (owners == drawn.trunk[k] + 1) & (np.arange(len(owners)) <= leaving)
        hit = np.flatnonzero((owners > 0) & ~own & held)
        out = np.flatnonzero(~held)
        end = int(hit[0]) if len(hit) else len(owners) - 1
        exits = len(out) > 0 and bool(out[0] <= end)
        if exits:
            end = int(out[0])
        return (end if end > leaving else 0), exits, len(hit) > 0 and not exits

    def _ending(self, drawn: Candidates, k: int, end: int, exits: bool, desired: float) -> _Branch:
        """A branch that ends freely, or leaves the field."""
        over = math.ceil(OVERHANG_UM / STEP_UM) if exits else 0
        strand = Strand(drawn.paths[k][: end + 1 + over], "branch", self.field, int(drawn.trunk[k]))
        strand.movable, strand.least = True, LEAST_BRANCH_UM
        if strand.length > desired:
            strand.stop = desired
        return _Branch(abs(strand.length - desired), strand, [drawn.root(k)])

    def _connecting(
        self, drawn: Candidates, k: int, end: int, other: int, desired: float, most: float
    ) -> _Branch | None:
        """A branch that leads to the trunk `other`, if it may."""
        joined = self._join(drawn.paths[k], end, other, int(drawn.trunk[k]))
        if joined is None:
            return None
        path, there = joined
        whole = float(arc_lengths(path)[-1])
        if whole > most - BRANCH_POINT_UM:
            return None
        misfit = abs(whole - CONNECTING_STRETCH * desired) - CONNECTING_BONUS_UM
        return _Branch(misfit, Strand(path, "branch", self.field, int(drawn.trunk[k])), [drawn.root(k), there])

    def _root_is_free(self, trunk: int, at: float) -> bool:
        return all(other != trunk or abs(place - at) >= ROOT_SPACING_UM for other, place in self.roots)

    def _join(self, path: np.ndarray, end: int, other: int, own: int) -> tuple[np.ndarray, tuple[int, float]] | None:
        """Lead a branch that comes near the trunk `other` at index `end` on to its centreline, if it may."""
        if other == own or self.strands[other].kind != "trunk":
            return None
        trunk = self.strands[other]
        ahead = path[end : end + 24]
        distance = np.hypot(*(ahead[:, None] - trunk.path[None]).transpose(2, 0, 1))
        step, vertex = np.unravel_index(int(distance.argmin()), distance.shape)
        if distance[step, vertex] > STEP_UM:
            return None
        last = end + int(step)
        meeting = abs(math.sin(heading_at(path, last) - heading_at(trunk.path, int(vertex))))
        if meeting < math.sin(BRANCH_ANGLES[0]) or not self._root_is_free(other, trunk.arc[vertex]):
            return None
        if not self.field.holds(trunk.path[vertex], EDGE_UM):
            return None
        owners = self.occupancy.owners(path[end:last])
        if ((owners > 0) & (owners != other + 1)).any():
            return None
        joined = path[: last + 1].copy()
        bend = min(12, last)
        joined[-bend:] += np.linspace(0, 1, bend)[:, None] ** 2 * (trunk.path[vertex] - joined[-1])
        return joined, (other, float(trunk.arc[vertex]))

    # -- free fibres

    def _grow_free(self, length: float) -> None:
        failures = 0
        while failures < 7:
            spare = length - self.length
            if spare < LEAST_FREE_UM:
                return
            longest = max(LONGEST_FREE_SHARE * self.field.height / self.field.windows, 1.2 * LEAST_FREE_UM)
            desired = float(self.rng.uniform(*FREE_SPREAD)) * longest
            if spare < desired + LEAST_FREE_UM:
                desired = spare if spare < longest else spare / 2
            strand = self._free_strand(desired)
            if strand is None:
                failures += 1
            else:
                self._accept(strand)

    def _free_strand(self, desired: float) -> Strand | None:
        """A fibre of about `desired` length where there is place along the course."""
        assert self.course is not None
        course, rng = self.course, self.rng
        along = course.parameters()
        tries = 8
        extent = 2 * course.half_length
        slant = 0.12 * rng.standard_normal(tries)
        across = (rng.random(tries) - 0.5) * extent
        bent = across[:, None] + slant[:, None] * along + course.own(rng, along, tries)
        points = course.lines(along, bent)
        held = self.field.holds(points)
        open_ = (self.occupancy.owners(points) == 0) & self.field.holds(points, -2 * OVERHANG_UM)
        sideways = course.lines(along, bent + 14.0), course.lines(along, bent - 14.0)
        lonely = (self.occupancy.owners(sideways[0]) == 0) & (self.occupancy.owners(sideways[1]) == 0)
        best: tuple[float, np.ndarray, bool] | None = None
        for k in range(tries):
            first, last = _longest_run(open_[k] & held[k])
            whole = (last - first) * STEP_UM
            from_edge = [first > 0 and not held[k, first - 1], last + 1 < len(along) and not held[k, last + 1]]
            least = LEAST_FROM_EDGE_UM if any(from_edge) else LEAST_FREE_UM
            path = points[k, first : last + 1]
            if whole < least or not self.field.holds(path[12:-12], 6.0).all():
                continue
            over = math.ceil(OVERHANG_UM / STEP_UM)
            if from_edge[0] and (not from_edge[1] or rng.random() < 0.5):
                path = points[k, max(first - over, 0) : last + 1]
                starts_outside = True
            elif from_edge[1]:
                path = points[k, first : last + 1 + over][::-1]
                starts_outside = True
            else:
                path = path if rng.random() < 0.5 else path[::-1]
                starts_outside = False
            if all(from_edge):
                # Across the whole field it would count as a trunk: it ends well before the other edge.
                path = path[: len(path) - math.ceil(0.13 * self.field.side / STEP_UM)]
            if len(path) * STEP_UM < least:
                continue
            if not starts_outside and whole > desired + 20:
                skip = int(rng.uniform(0, whole - desired) / STEP_UM)
                path = path[skip:]
            # Fibres spread over the field: neighbours within twice the least distance count against a place.
            crowded = 1 - float(lonely[k, first : last + 1].mean())
            score = max(desired - whole, 0.0) + 200 * crowded + 30 * float(rng.random())
            if best is None or score < best[0]:
                best = (score, path, starts_outside)
        if best is None:
            return None
        strand = Strand(best[1], "free", self.field, movable=True)
        lead = strand.arc[np.searchsorted(strand.visible, 1e-9)] if best[2] else 0.0
        strand.least = (LEAST_FROM_EDGE_UM if best[2] else LEAST_FREE_UM) + float(lead)
        strand.stop = min(strand.stop, desired + float(lead))
        if strand.stop < strand.least or self._would_span(strand):
            return None
        return strand

    def _would_span(self, strand: Strand) -> bool:
        used = strand.used()
        used = used[self.field.holds(used)]
        return len(used) < 2 or self.field.spans(used[0], used[-1], *NEARLY_TRUNK)

    # -- length

    def tune(self, length: float) -> None:
        """Move the tips of branches and free fibres until the plexus has this length, as far as they may."""
        movable = [i for i, strand in enumerate(self.strands) if strand.movable]
        for index in sorted(movable, key=lambda i: self.strands[i].kind != "free"):
            change = length - self.length
            if abs(change) < 0.5:
                return
            strand = self.strands[index]
            before = strand.stop
            limit = strand.arc[-1] if change < 0 else self._open_until(index)
            strand.stop = float(np.clip(before + change, min(strand.least, before), max(limit, before)))
            if strand.kind == "free" and self._would_span(strand):
                strand.stop = before

    def _open_until(self, index: int) -> float:
        """How far the tip of a strand may grow before it comes near another or near the edge."""
        strand = self.strands[index]
        owners = self.occupancy.owners(strand.path)
        shut = (owners > 0) & (owners != index + 1) | ~self.field.holds(strand.path, 5.0)
        shut &= strand.arc > strand.stop
        blocked = np.flatnonzero(shut)
        return float(strand.arc[blocked[0] - 1]) if len(blocked) else float(strand.arc[-1])

    def _accept(self, strand: Strand) -> None:
        self.strands.append(strand)
        self.occupancy.take(strand.used(), len(self.strands))


def _longest_run(flags: np.ndarray) -> tuple[int, int]:
    """First and last index of the longest run of True; (0, -1) if there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    if not len(edges):
        return 0, -1
    starts, ends = edges[::2], edges[1::2]
    longest = int((ends - starts).argmax())
    return int(starts[longest]), int(ends[longest]) - 1
