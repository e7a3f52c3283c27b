"""Nerve masks to order: drawn from a cohort, grown, drawn, measured and corrected until they measure as drawn."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ...cohorts import FIELD_MM2, nearest
from ...cohorts import cohort as find_cohort
from ...errors import InputError
from ..biomarkers.panel import Biomarkers, measure
from ..nerve_mask import NerveMask
from ..scale import FIELD_UM, PIXEL_SIZE_UM
from .drawing import mask_of_fibres
from .fine_network import drawn_share
from .growth import Plexus
from .strand import Field
from .targets import BRANCH_POINTS_PER_TRUNK, KEYS, draw_targets
from .widths import fibres, relative_widths

ENTROPY = 1
"""Enters every seed: masks of both recipes are the same."""

EXCESS = (0.028, 0.040, 0.055)
"""Median arc/chord ratio of trunks minus one at severity 0, 1 and 2: an assumption."""

FINE, MOST_FINE = "fine_share", 2.0
"""Target for the fine network: its length over that of the annotated nerves, and the most there is."""

ATTEMPTS = 6
LENGTH_TOLERANCE = 0.006
WIDTH_TOLERANCE = 0.004

LOST_AT_BRANCH_UM = 3.5
LOST_AT_TIP_UM = 0.8
"""What thinning takes from the vectors' length at every branch point and free tip (fitted on 240 masks)."""


@dataclass(frozen=True)
class Order:
    """What one mask shall measure in its own field: length in µm, counts, mean width in µm.

    `trunks` cross the whole field; each is counted in `windows` windows.
    """

    length: float
    trunks: int
    branch_points: int
    width_um: float
    windows: int

    def target(self, area_mm2: float) -> dict[str, float]:
        """The same in the units of the biomarkers."""
        return {
            "cnfl": self.length / 1000 / area_mm2,
            "cnfd": self.trunks * self.windows / area_mm2,
            "cnbd": self.branch_points / area_mm2,
            "cnfw": self.width_um / area_mm2,
            "width_um": self.width_um,
        }


def sample_mask(
    cohort: str,
    seed: int,
    size: int | tuple[int, int] = 384,
    pixel_size_um: float = PIXEL_SIZE_UM,
    severity: float | None = None,
    targets: Mapping[str, float] | None = None,
    shifts: Mapping[str, float] | None = None,
    whorl: bool = False,
) -> NerveMask:
    """Draw one nerve mask of a cohort.

    >>> nerves = sample_mask("T1DPN", seed=3)
    >>> nerves.mask.shape, nerves.mask.dtype.name
    ((384, 384), 'bool')
    >>> round(nerves.target["cnfl"]), round(nerves.biomarkers.cnfl)  # drawn and measured, mm/mm²
    (11, 11)

    `size` is the side or (height, width) in pixels. `severity` 0–2 takes the place of the cohort's own on the
    axis from Control to T1DPN; in between, quantiles are interpolated. `targets` fixes any of `cnfl` (mm/mm²),
    `cnfd`, `cnbd` (no./mm², rounded to whole nerves and branch points in the field), and `cnfw` (µm/mm²) or
    `width_um`, and the rest is drawn given them; `fine_share` there is the length of the fine network over that of
    the annotated nerves, 0 without it (recipe 1). `shifts` moves the cohort's means by so much and keeps the SDs.
    `whorl` turns the nerves about a centre as in the inferior whorl.

    In fields that are not 400 µm wide trunks keep their spacing and branch points their number per area; from
    600 µm of height on a trunk counts once in every window of about 400 µm that it crosses, as it is measured. The
    same arguments give the same mask; seeds are independent of each other and across cohorts. The result's
    `.target` is what was drawn, its `.biomarkers` what was measured (rules `acc_like`).

    Raises InputError on bad arguments and on targets that no field can hold.
    """
    known = find_cohort(cohort)
    place = float(known.severity if severity is None else severity)
    name = nearest(place).name
    shape = _shape(size)
    field = _field(shape, pixel_size_um)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed {seed!r} is not a whole number from 0 up")
    share = fine_share(dict(targets or {}), int(seed), place)
    entropy = [ENTROPY, known.severity, int(seed)]
    order = _order(np.random.default_rng(np.random.SeedSequence([*entropy, 0])), field, place, targets, shifts)
    best: tuple[int, NerveMask] | None = None
    for attempt in range(1, ATTEMPTS + 1):
        rng = np.random.default_rng(np.random.SeedSequence([*entropy, attempt]))
        made = _make(rng, order, field, shape, pixel_size_um, place, whorl)
        if best is None or made[0] < best[0]:
            best = made
        if best[0] == 0:
            break
    assert best is not None
    return replace(best[1], cohort=name, seed=int(seed), severity=place, fine_share=share)


def fine_share(targets: Mapping[str, float], seed: int, severity: float) -> float:
    """The share of the fine network that `targets` fixes, or else the one that is drawn for this cornea."""
    return float(targets[FINE]) if FINE in targets else drawn_share(seed, severity)


def _shape(size: int | tuple[int, int]) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int | np.integer) else tuple(size)
    if len(pair) != 2 or not all(isinstance(n, int | np.integer) and n > 0 for n in pair):
        raise InputError(f"size {size!r} is neither a number of pixels nor (height, width)")
    return int(pair[0]), int(pair[1])


def _field(shape: tuple[int, int], pixel_size_um: float) -> Field:
    if not (math.isfinite(pixel_size_um) and 0.05 <= pixel_size_um <= 3.0):
        raise InputError(f"pixel size {pixel_size_um!r} µm cannot show nerves of 5 µm; give 0.05 to 3 µm")
    field = Field(shape[1] * pixel_size_um, shape[0] * pixel_size_um)
    if min(field.width, field.height) < 150 or max(field.width, field.height) > 4000:
        raise InputError(
            f"a field of {field.width:.0f} × {field.height:.0f} µm is out of range; "
            "change size or pixel size to get sides of 150 to 4000 µm"
        )
    if max(field.width, field.height) > 2.5 * min(field.width, field.height):
        raise InputError(
            f"a field of {field.width:.0f} × {field.height:.0f} µm is too long for the rules that define trunks; "
            "its sides may differ by a factor of 2.5"
        )
    return field


def _order(
    rng: np.random.Generator,
    field: Field,
    severity: float,
    targets: Mapping[str, float] | None,
    shifts: Mapping[str, float] | None,
) -> Order:
    """Draw what the mask shall measure."""
    area_mm2 = field.width * field.height / 1e6
    across = field.width / FIELD_UM
    fixed = _fixed(targets or {}, area_mm2, field.windows)
    for name, value in (shifts or {}).items():
        if name not in KEYS or not math.isfinite(value):
            raise InputError(f"{name}={value!r} is not a shift; give numbers for any of {', '.join(KEYS)}")
    # The joint distribution is that of the 400 µm field.
    conditions = dict(fixed)
    if "trunks" in fixed:
        conditions["trunks"] = round(fixed["trunks"] / across)
    if "branch_points" in fixed:
        conditions["branch_points"] = round(fixed["branch_points"] * FIELD_MM2 / area_mm2)
    uniform = rng.random((1, 4))
    rounding = rng.random(2)
    cnfl, trunks, branch_points, cnfw = draw_targets(severity, uniform, conditions, shifts)[0]
    length = cnfl * area_mm2 * 1000
    trunks = fixed.get("trunks", math.floor(trunks * across + rounding[0]))
    branch_points = fixed.get("branch_points", math.floor(branch_points * area_mm2 / FIELD_MM2 + rounding[1]))
    if "trunks" not in fixed:
        trunks = min(trunks, math.floor(length / (1.03 * field.height)))
    if "branch_points" not in fixed:
        most = BRANCH_POINTS_PER_TRUNK * field.height / FIELD_UM * trunks
        branch_points = min(branch_points, most, max(length - 1.03 * field.height * trunks, 0) / 26)
    return Order(float(length), int(trunks), int(branch_points), float(cnfw * FIELD_MM2), field.windows)


def _fixed(targets: Mapping[str, float], area_mm2: float, windows: int) -> dict[str, float]:
    """`targets` as CNFL, counts in this field and the CNFW that the width would have in the 400 µm field.

    Trunks are those that cross the field, each counted in so many `windows`.
    """
    if {"cnfw", "width_um"} <= targets.keys():
        raise InputError("cnfw and width_um both say how wide the nerves are; give one of them")
    fixed: dict[str, float] = {}
    for name, value in targets.items():
        if name not in (*KEYS, "width_um", FINE) or not (math.isfinite(value) and value >= 0):
            known = ", ".join((*KEYS, "width_um", FINE))
            raise InputError(f"{name}={value!r} is not a target; give numbers ≥ 0 for any of {known}")
        if name == FINE:
            if value > MOST_FINE:
                raise InputError(
                    f"{FINE}={value!r}: a fine network longer than {MOST_FINE:g} times the nerves finds no place"
                )
        elif name == "cnfl":
            fixed["cnfl"] = float(value)
        elif name == "cnfd":
            fixed["trunks"] = round(value * area_mm2 / windows)
        elif name == "cnbd":
            fixed["branch_points"] = round(value * area_mm2)
        else:
            width = value if name == "width_um" else value * area_mm2
            if not 2.0 <= width <= 9.0:
                raise InputError(f"{name}={value!r} is a mean width of {width:.2f} µm; masks can have 2 to 9 µm")
            fixed["cnfw"] = width / FIELD_MM2
    return fixed


def _make(
    rng: np.random.Generator,
    order: Order,
    field: Field,
    shape: tuple[int, int],
    pixel_size_um: float,
    severity: float,
    whorl: bool,
) -> tuple[int, NerveMask]:
    """Grow, draw, measure and correct one mask; returns how many counts it misses, and the mask."""
    excess = float(np.interp(severity, [0, 1, 2], EXCESS) * np.exp(0.3 * rng.standard_normal()))
    plexus = Plexus(rng, field, min(excess, 0.12), whorl)
    wanted = order.length + LOST_AT_BRANCH_UM * order.branch_points + 8 * LOST_AT_TIP_UM
    plexus.grow(order.trunks, order.branch_points, wanted)
    relative = relative_widths(rng, plexus.strands, severity)
    area_mm2 = field.width * field.height / 1e6
    trunk_width = order.width_um * order.length / max(_relative_area(plexus, relative), 1e-9)
    for step in range(3):
        mask, trunk_width = _draw_to_area(
            plexus, relative, trunk_width, order.width_um * order.length, shape, pixel_size_um
        )
        biomarkers = measure(mask, pixel_size_um)
        missed = _missed(biomarkers, order)
        measured = biomarkers.cnfl * area_mm2 * 1000
        if missed or step == 2 or abs(measured - order.length) <= LENGTH_TOLERANCE * order.length:
            break
        wanted += order.length - measured
        plexus.tune(wanted)
    drawn = tuple(fibres(plexus.strands, relative, trunk_width, pixel_size_um))
    return missed, NerveMask(mask, drawn, pixel_size_um, "", 0, severity, order.target(area_mm2), biomarkers)


def _relative_area(plexus: Plexus, relative: list[np.ndarray]) -> float:
    """Area of all strands (µm²) if a trunk were 1 µm wide."""
    total = 0.0
    for strand, width in zip(plexus.strands, relative, strict=True):
        share = np.minimum(strand.visible, strand.length)
        total += float((np.diff(share) * (width[1:] + width[:-1]) / 2).sum())
    return total


def _draw_to_area(
    plexus: Plexus,
    relative: list[np.ndarray],
    trunk_width: float,
    area_um2: float,
    shape: tuple[int, int],
    pixel_size_um: float,
) -> tuple[np.ndarray, float]:
    """Draw with all widths scaled until the mask covers `area_um2`; returns it and the width of a trunk."""
    for step in range(4):
        mask = mask_of_fibres(fibres(plexus.strands, relative, trunk_width, pixel_size_um), shape, pixel_size_um)
        covered = int(mask.sum()) * pixel_size_um**2
        if step == 3 or covered == 0 or abs(covered / area_um2 - 1) <= WIDTH_TOLERANCE:
            break
        trunk_width *= area_um2 / covered
    return mask, trunk_width


def _missed(biomarkers: Biomarkers, order: Order) -> int:
    """Trunks and branch points by which a mask misses its order, a trunk counting double."""
    trunks = abs(biomarkers.trunks - order.trunks * order.windows)
    return 2 * trunks + abs(biomarkers.branch_points_on_trunks - order.branch_points)
