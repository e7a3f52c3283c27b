"""The biomarker panel of corneal confocal microscopy, measured on a nerve mask."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ...errors import InputError
from ..scale import PIXEL_SIZE_UM, pixel_sides
from ..skeleton import paths as _paths
from ..skeleton.arms import arm_directions
from ..skeleton.crossings import is_crossing, merge_crossings
from ..skeleton.graph import SkeletonGraph, skeleton_graph
from .descriptors import box_counting_dimension, nerve_areas
from .rules import RuleSet, rule_set
from .trunks import find_trunks, join_nerves
from .units import UNITS
from .windows import border, cut, windows_of

SMOOTHING_PX = 2.5
"""Standard deviation, in points, of the kernel that takes the pixels' rounding out of a path (at 400/384 µm)."""

BEND_PX = 7
"""Points over which thinning bends a branch towards the nerve that it leaves (at 400/384 µm)."""

CURVATURE_PX = 8.0
"""The same for curvature, which rounding disturbs far more than length."""


@dataclass(frozen=True)
class Nerve:
    """One nerve: a trunk, a branch (connected to a trunk, directly or not) or a free fibre.

    `path` float64 [n, 2] is its smoothed centreline, x (column) and y (row) in pixels; it may end a few pixels
    outside the image. Lengths count what lies inside. `width_um` is area over length.
    """

    kind: Literal["trunk", "branch", "free"]
    length_um: float
    chord_um: float
    tortuosity: float
    curvature_per_mm: float
    width_um: float
    branch_points: int
    path: np.ndarray = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The nerve as JSON values, with the pixel coordinates of its ends; NaN becomes None."""
        (x0, y0), (x1, y1) = self.path[[0, -1]].tolist()
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "path"}
        values |= {"x0": x0, "y0": y0, "x1": x1, "y1": y1}
        return {name: _json(value) for name, value in values.items()}


@dataclass(frozen=True)
class Biomarkers:
    """The panel. `units.UNITS` has the units; `reasons` says why a figure is NaN.

    `cnfl`, `cnfd`, `cnbd`, `ctbd`, `cnfa`, `cnfw`, `mean_width_um`, `cnfrd` are the field's. `tortuosity`
    (arc over chord), `curvature_per_mm` (mean absolute curvature) and `tortuosity_legacy` (Kallinikos et al.
    2004, on raw pixels) are means over the trunks, weighted by length. `branch_xy` float64 [b, 2] are the
    branch points in pixels (x, y), `branch_on_trunk` bool [b] those that count for CNBD. `nerves` is the
    table of nerves.
    """

    cnfl: float
    cnfd: float
    cnbd: float
    ctbd: float
    cnfa: float
    cnfw: float
    mean_width_um: float
    cnfrd: float
    tortuosity: float
    curvature_per_mm: float
    tortuosity_legacy: float
    length_mm: float
    area_mm2: float
    trunks: int
    branch_points: int
    branch_points_on_trunks: int
    rules: str
    pixel_size_um: tuple[float, float]
    shape: tuple[int, int]
    reasons: dict[str, str] = field(default_factory=dict)
    nerves: tuple[Nerve, ...] = field(default=(), repr=False, compare=False)
    branch_xy: np.ndarray = field(default_factory=lambda: np.empty((0, 2)), repr=False, compare=False)
    branch_on_trunk: np.ndarray = field(default_factory=lambda: np.empty(0, bool), repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The panel as JSON values, without the table of nerves; NaN becomes None, `reasons` says why."""
        values: dict[str, Any] = {name: _json(getattr(self, name)) for name in UNITS}
        values["rules"] = self.rules
        values["pixel_size_um"] = list(self.pixel_size_um)
        values["shape"] = list(self.shape)
        values["reasons"] = dict(self.reasons)
        return values


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def measure(
    mask: np.ndarray,
    pixel_size_um: float | tuple[float, float] = PIXEL_SIZE_UM,
    rules: str | RuleSet = "acc_like",
    valid: np.ndarray | None = None,
    image: np.ndarray | None = None,
) -> Biomarkers:
    """Measure the biomarkers of a nerve mask.

    `mask` [H, W]: what is not 0 is nerve. `pixel_size_um`: one number, or (height, width) of a pixel.
    `rules`: the name of a rule set, or a rule set. `valid` bool [H, W]: the part of the image that was seen;
    its bounding box is the field, its area the area. `image` [H, W]: brightness, which then has a say where
    trunks compete. Raises InputError on anything else.
    """
    rules = rule_set(rules)
    pixel_um = pixel_sides(pixel_size_um)
    mask = _plane(mask, "the mask") != 0
    image = None if image is None else _plane(image, "the image")
    if image is not None and image.shape != mask.shape:
        raise InputError(f"the image is {_size(image)} but the mask is {_size(mask)}: they must match")
    corner = (0, 0)
    if valid is not None:
        valid = _plane(valid, "the valid area") != 0
        if valid.shape != mask.shape:
            raise InputError(f"the valid area is {_size(valid)} but the mask is {_size(mask)}: they must match")
        if not valid.any():
            raise InputError("the valid area is empty: there is nothing to measure")
        rows, columns = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
        corner = (int(rows[0]), int(columns[0]))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        mask, valid = (mask & valid)[box], valid[box]
        image = None if image is None else image[box]
    return _panel(mask, valid, image, rules, pixel_um, corner)


def _plane(array: np.ndarray, what: str) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{what} must be two-dimensional and not empty, but its shape is {array.shape}")
    if array.dtype.kind not in "buif":
        raise InputError(f"{what} must hold numbers, not {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{what} holds values that are not finite; set them to 0 or mark them as not valid")
    return array


def _size(array: np.ndarray) -> str:
    return " × ".join(map(str, array.shape))


def _panel(
    mask: np.ndarray,
    valid: np.ndarray | None,
    image: np.ndarray | None,
    rules: RuleSet,
    pixel_um: tuple[float, float],
    corner: tuple[int, int],
) -> Biomarkers:
    """The panel of a mask that fills its field; `corner` is the field's corner in the image (row, column)."""
    pixel_mm2 = pixel_um[0] * pixel_um[1] * 1e-6
    scale = PIXEL_SIZE_UM / math.sqrt(pixel_um[0] * pixel_um[1])
    area_mm2 = int(mask.size if valid is None else valid.sum()) * pixel_mm2

    reasons: dict[str, str] = {}

    graph = skeleton_graph(mask, rules, pixel_um)
    if rules.crossings == "pass":
        graph = merge_crossings(graph, pixel_um)
    windows = windows_of(mask.shape, pixel_um, valid)
    graph, of_node, joined = cut(graph, windows)
    direction = arm_directions(graph, pixel_um)
    brightness = _brightness(graph, image)
    found = find_trunks(graph, direction, windows, of_node, rules, pixel_um, brightness)
    courses, offsets, partner = join_nerves(graph, found, direction, joined)

    raw = _paths.join(graph, courses, offsets)
    path = raw
    if rules.length == "smoothed":
        bend = max(4, round(BEND_PX * scale))
        path = _paths.reach_parents(raw, graph, courses, offsets, partner, direction, bend)
        path = _paths.smooth(path, SMOOTHING_PX * max(1, scale))
    length = _paths.lengths(path, _paths.steps(path, pixel_um, mask.shape))
    kept = _kept(graph, courses, offsets, length, rules, pixel_um)
    total_um = float(length[kept].sum())

    nerve_of = np.empty(graph.segments, int)
    nerve_of[courses // 2] = np.repeat(np.arange(len(path)), np.diff(offsets))
    nerve_of[graph.bridge] = -1
    found = [trunk for trunk in found if kept[nerve_of[trunk[0] // 2]]]
    on_trunk = np.zeros(graph.segments, bool)
    on_trunk[np.concatenate([*found, np.empty(0, int)]) // 2] = True
    trunk = np.zeros(len(path), bool)
    trunk[nerve_of[on_trunk]] = True
    branching = _branch_points(graph, direction, np.append(kept, False)[nerve_of], rules)
    counted = branching & np.isin(np.arange(len(graph.node)), graph.ends[on_trunk])

    nerve = np.repeat(np.where(np.append(kept, False)[nerve_of], nerve_of, -1), np.diff(graph.offsets))
    area_um2 = nerve_areas(mask, graph.points, nerve, len(path)) * pixel_mm2 * 1e6
    width = float(area_um2.sum()) / total_um if total_um > 0 else math.nan
    if not total_um > 0:
        reasons["mean_width_um"] = reasons["cnfw"] = "there is no nerve to be wide"
    if not trunk.any():
        for name in ("tortuosity", "curvature_per_mm", "tortuosity_legacy"):
            reasons[name] = "there is no trunk to be tortuous"
    cnfrd = box_counting_dimension(mask)
    if math.isnan(cnfrd):
        reasons["cnfrd"] = "there is no nerve" if not mask.any() else "the image has fewer than two box sizes"
    window_mm2 = windows.area_px * pixel_mm2
    points, points_on_trunks = int(branching.sum()), int(counted.sum())
    if not window_mm2:
        reasons["cnfd"] = reasons["cnbd"] = "no 400 µm window of the mosaic was seen for the greater part"

    nerves = _table(graph, path, raw, length, area_um2, kept, trunk, branching, courses, offsets, pixel_um, corner)
    weight = np.where(trunk, length, 0)

    def over_trunks(values: np.ndarray) -> float:
        return float(values @ weight[trunk] / weight.sum()) if trunk.any() else math.nan

    return Biomarkers(
        cnfl=total_um * 1e-3 / area_mm2,
        cnfd=len(found) / window_mm2 if window_mm2 else math.nan,
        cnbd=points_on_trunks / window_mm2 if window_mm2 else math.nan,
        ctbd=points / area_mm2,
        cnfa=int(mask.sum()) * pixel_mm2 / area_mm2,
        cnfw=width / area_mm2,
        mean_width_um=width,
        cnfrd=cnfrd,
        tortuosity=over_trunks(np.array([n.tortuosity for n in nerves if n.kind == "trunk"])),
        curvature_per_mm=over_trunks(np.array([n.curvature_per_mm for n in nerves if n.kind == "trunk"])),
        tortuosity_legacy=over_trunks(np.array([_paths.kallinikos(raw[k]) for k in np.flatnonzero(trunk).tolist()])),
        length_mm=total_um * 1e-3,
        area_mm2=area_mm2,
        trunks=len(found),
        branch_points=points,
        branch_points_on_trunks=points_on_trunks,
        rules=rules.label,
        pixel_size_um=pixel_um,
        shape=mask.shape,
        reasons=reasons,
        nerves=nerves,
        branch_xy=(graph.node[branching] + corner)[:, ::-1],
        branch_on_trunk=counted[branching],
    )


def _brightness(graph: SkeletonGraph, image: np.ndarray | None) -> np.ndarray | None:
    """float64 [S]: mean brightness of each segment relative to the mean of all, None without an image."""
    if image is None or not graph.segments:
        return None
    row, column = np.clip(np.rint(graph.points), 0, np.array(graph.shape) - 1).astype(int).T
    value = image[row, column].astype(float)
    each = np.add.reduceat(value, graph.offsets[:-1]) / np.diff(graph.offsets)
    return each / max(value.mean(), 1e-12)


def _kept(
    graph: SkeletonGraph,
    courses: np.ndarray,
    offsets: np.ndarray,
    length: np.ndarray,
    rules: RuleSet,
    pixel_um: tuple[float, float],
) -> np.ndarray:
    """bool [nerves]: not part of a piece too short for the rules."""
    component = graph.component[courses[offsets[:-1]] // 2]
    total = np.bincount(component, length)
    field_box = np.array([[-0.5, graph.shape[0] - 0.5, -0.5, graph.shape[1] - 0.5]])
    zone, _, _ = border(graph, np.zeros(len(graph.node), int), field_box, rules.border_fraction, pixel_um)
    touches = np.zeros(len(total), bool)
    touches[graph.component[zone[graph.ends].any(1)]] = True
    least = np.where(touches, rules.isolated_border_um, rules.isolated_um)
    return ((total > 0) & (total >= least))[component]


def _branch_points(graph: SkeletonGraph, direction: np.ndarray, kept: np.ndarray, rules: RuleSet) -> np.ndarray:
    """bool [N]: junctions of kept segments inside the image, without crossings where the rules say so."""
    inside = ((graph.node >= -0.5) & (graph.node <= np.array(graph.shape) - 0.5)).all(1)
    branching = (graph.degree >= 3) & inside & np.isin(np.arange(len(graph.node)), graph.ends[kept])
    return branching & ~is_crossing(graph, direction) if rules.crossings == "pass" else branching


def _table(
    graph: SkeletonGraph,
    path: _paths.Paths,
    raw: _paths.Paths,
    length: np.ndarray,
    area_um2: np.ndarray,
    kept: np.ndarray,
    trunk: np.ndarray,
    branching: np.ndarray,
    courses: np.ndarray,
    offsets: np.ndarray,
    pixel_um: tuple[float, float],
    corner: tuple[int, int],
) -> tuple[Nerve, ...]:
    """The kept nerves, one row each."""
    if not kept.any():
        return ()
    scale = PIXEL_SIZE_UM / math.sqrt(pixel_um[0] * pixel_um[1])
    curvature = _paths.mean_curvatures(_paths.smooth(raw, CURVATURE_PX * max(1, scale)), pixel_um, graph.shape)
    chord = _paths.chords(path, pixel_um, graph.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        tortuosity = np.where(chord > 0, np.maximum(length / chord, 1), np.nan)
        width = np.where(length > 0, area_um2 / length, np.nan)
    component = graph.component[courses[offsets[:-1]] // 2]
    with_trunk = np.isin(component, component[trunk])
    nerve = np.repeat(np.arange(len(path)), np.diff(offsets))
    met = np.unique(np.stack([np.repeat(nerve, 2), graph.ends[courses // 2].ravel()], 1), axis=0)
    branches = np.bincount(met[branching[met[:, 1]], 0], minlength=len(path))
    points = (path.points + corner)[:, ::-1]
    return tuple(
        Nerve(
            kind="trunk" if trunk[k] else "branch" if with_trunk[k] else "free",
            length_um=float(length[k]),
            chord_um=float(chord[k]),
            tortuosity=float(tortuosity[k]),
            curvature_per_mm=float(curvature[k]),
            width_um=float(width[k]),
            branch_points=int(branches[k]),
            path=points[path.offsets[k] : path.offsets[k + 1]],
        )
        for k in np.flatnonzero(kept).tolist()
    )
