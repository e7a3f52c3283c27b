"""The biomarker panel of corneal confocal microscopy, measured on a nerve mask."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from . import paths as _paths
from . import trunks as _trunks
from .graph import SkeletonGraph, skeleton_graph
from .plexus import FIELD_UM, PIXEL_SIZE_UM
from .rules import RuleSet, rule_set

UNITS = {
    "cnfl": "mm/mm²",
    "cnfd": "no./mm²",
    "cnbd": "no./mm²",
    "ctbd": "no./mm²",
    "cnfa": "mm²/mm²",
    "cnfw": "µm/mm²",
    "mean_width_um": "µm",
    "cnfrd": "",
    "tortuosity": "",
    "curvature_per_mm": "1/mm",
    "tortuosity_legacy": "",
    "length_mm": "mm",
    "area_mm2": "mm²",
    "trunks": "",
    "branch_points": "",
    "branch_points_on_trunks": "",
}
"""Unit of every figure in the panel."""

CURVATURE_UM = 8.0
"""Curvature is read from paths smoothed with this standard deviation: pixel rounding is gone, undulation is not."""


@dataclass(frozen=True)
class Nerve:
    """One nerve: a trunk, a branch (connected to a trunk, directly or not) or a free fibre.

    `path` float64 [n, 2] is its smoothed centreline, x (column) and y (row) in pixels. Lengths in µm inside
    the image; `width_um` is area over length and NaN where the nerve has no area of its own.
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
        values = {
            "kind": self.kind,
            "length_um": self.length_um,
            "chord_um": self.chord_um,
            "tortuosity": self.tortuosity,
            "curvature_per_mm": self.curvature_per_mm,
            "width_um": self.width_um,
            "branch_points": self.branch_points,
            "x0": float(self.path[0, 0]),
            "y0": float(self.path[0, 1]),
            "x1": float(self.path[-1, 0]),
            "y1": float(self.path[-1, 1]),
        }
        return {name: _json(value) for name, value in values.items()}


@dataclass(frozen=True)
class Biomarkers:
    """The panel; `UNITS` has the units, `reasons` says why a figure is NaN.

    `cnfl`, `cnfd`, `cnbd`, `ctbd`, `cnfa`, `cnfw`, `mean_width_um`, `cnfrd` are the field's. `tortuosity`
    (arc over chord), `curvature_per_mm` (mean absolute curvature) and `tortuosity_legacy` (Kallinikos et al.
    2004, on raw pixels) are length-weighted means over the trunks. `branch_xy` float64 [b, 2] are the branch
    points in pixels, `branch_on_trunk` bool [b].
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
        """The panel as JSON values; NaN becomes None and `reasons` says why. Without the table of nerves."""
        values: dict[str, Any] = {name: _json(getattr(self, name)) for name in UNITS}
        values |= {
            "rules": self.rules,
            "pixel_size_um": list(self.pixel_size_um),
            "shape": list(self.shape),
            "reasons": dict(self.reasons),
        }
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
    `valid` bool [H, W]: the part of the image that was seen; areas are its area, and its bounding box is
    the field. `image` [H, W]: brightness, which then helps to decide between competing trunks.
    Raises InputError on anything else.
    """
    rules = rule_set(rules)
    pixel_um = _pixel_um(pixel_size_um)
    mask = _plane(mask, "the mask") != 0
    if valid is None:
        area_px = mask.size
        top = left = 0
    else:
        mask, valid, image, (top, left), area_px = _crop(mask, valid, image)
    if image is not None and np.shape(image) != mask.shape:
        raise InputError(f"the image is {_size(np.asarray(image))} but the mask is {_size(mask)}")
    area_mm2 = area_px * pixel_um[0] * pixel_um[1] * 1e-6
    graph = skeleton_graph(mask, rules, pixel_um)
    windows = [_trunks.Window(0, mask.shape[0], 0, mask.shape[1])]
    return _panel(mask, graph, rules, pixel_um, windows, area_mm2, image, (top, left))


def _plane(array: np.ndarray, what: str) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{what} must be two-dimensional and not empty, not of shape {array.shape}")
    if array.dtype.kind not in "buif":
        raise InputError(f"{what} must hold numbers, not {array.dtype}")
    return array


def _size(array: np.ndarray) -> str:
    return " × ".join(map(str, array.shape))


def _pixel_um(pixel_size_um: float | tuple[float, float]) -> tuple[float, float]:
    sizes = np.ravel(np.asarray(pixel_size_um, float))
    if len(sizes) not in (1, 2) or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise InputError(f"the pixel size must be one or two positive numbers in µm, not {pixel_size_um!r}")
    return float(sizes[0]), float(sizes[-1])


def _crop(mask, valid, image):  # type: ignore[no-untyped-def]
    """Everything cut to the bounding box of `valid`, and its corner and number of valid pixels."""
    valid = np.asarray(valid) != 0
    if valid.shape != mask.shape:
        raise InputError(f"the valid area is {_size(valid)} but the mask is {_size(mask)}")
    area = int(valid.sum())
    if not area:
        raise InputError("the valid area is empty: there is nothing to measure")
    rows, columns = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return (
        (mask & valid)[box],
        valid[box],
        None if image is None else np.asarray(image)[box],
        (rows[0], columns[0]),
        area,
    )


def _panel(
    mask: np.ndarray,
    graph: SkeletonGraph,
    rules: RuleSet,
    pixel_um: tuple[float, float],
    windows: list[_trunks.Window],
    area_mm2: float,
    image: np.ndarray | None,
    corner: tuple[int, int],
) -> Biomarkers:
    reasons: dict[str, str] = {}
    bridge = np.zeros(graph.segments, bool)
    if rules.crossings == "pass":
        graph, bridge = _trunks.merge_crossings(graph, pixel_um)
    direction = _trunks.arms(graph, pixel_um)
    found = _trunks.find_trunks(
        graph, bridge, np.zeros(len(graph.node), int), windows, rules, pixel_um, _brightness(graph, image)
    )
    courses, offsets = _trunks.nerves(graph, bridge, found, direction)
    raw = _paths.join(graph, courses, offsets)
    sigma = max(2.0, 2 * PIXEL_SIZE_UM / math.sqrt(pixel_um[0] * pixel_um[1]))
    path = _paths.smooth(raw, sigma) if rules.length == "smoothed" else raw
    step, owner = _paths.steps(path, pixel_um, mask.shape)
    length = np.bincount(owner, step, minlength=len(path)) if len(path) else np.empty(0)

    component = graph.component[courses[offsets[:-1]] // 2]
    kept = _kept(graph, component, length, rules, pixel_um, windows)
    # A bridge belongs to two nerves; each of them runs over it.
    total_um = float(length[kept].sum())

    trunk_segments = {course // 2 for run in found for course in run}
    is_trunk = np.isin(courses[offsets[:-1]] // 2, list(trunk_segments)) & kept
    nodes_on_trunk = np.zeros(len(graph.node), bool)
    if trunk_segments:
        nodes_on_trunk[graph.ends[sorted(trunk_segments)].ravel()] = True
    node_kept = np.zeros(len(graph.node), bool)
    kept_components = np.unique(component[kept])
    node_kept[graph.ends[np.isin(graph.component, kept_components)].ravel()] = True
    inside = ((graph.node >= -0.5) & (graph.node <= np.array(mask.shape) - 0.5)).all(1)
    branching = (graph.degree >= 3) & node_kept & inside
    if rules.crossings == "pass":
        branching &= ~_trunks.is_crossing(graph, bridge, direction)
    on_trunk = branching & nodes_on_trunk

    area_um2 = _areas(mask, graph, courses, offsets, kept) * pixel_um[0] * pixel_um[1]
    width = float(area_um2.sum()) / total_um if total_um > 0 else math.nan
    if not total_um > 0:
        reasons["mean_width_um"] = reasons["cnfw"] = "no nerve, so no width"
    if not is_trunk.any():
        for name in ("tortuosity", "curvature_per_mm", "tortuosity_legacy"):
            reasons[name] = "no trunk, so no tortuosity"
    cnfrd = box_counting_dimension(mask)
    if math.isnan(cnfrd):
        reasons["cnfrd"] = "no nerve, so no dimension" if not mask.any() else "too small an image for two box sizes"

    curvature = _curvature(raw, pixel_um, mask.shape)
    first, last = path.points[path.offsets[:-1]], path.points[path.offsets[1:] - 1]
    first, last = (np.clip(p, -0.5, np.array(mask.shape) - 0.5) for p in (first, last))
    chord = np.hypot(*((last - first) * pixel_um).T)
    with np.errstate(divide="ignore", invalid="ignore"):
        arc_chord = np.where(chord > 0, np.maximum(length / chord, 1.0), np.nan)
        width_each = np.where(area_um2 > 0, area_um2 / length, np.nan)
    with_trunk = np.isin(component, component[is_trunk])
    branch_counts = _branches_each(graph, courses, offsets, branching)
    nerves = tuple(
        Nerve(
            kind="trunk" if is_trunk[k] else "branch" if with_trunk[k] else "free",
            length_um=float(length[k]),
            chord_um=float(chord[k]),
            tortuosity=float(arc_chord[k]),
            curvature_per_mm=float(curvature[k]),
            width_um=float(width_each[k]),
            branch_points=int(branch_counts[k]),
            path=path[k][:, ::-1] + (corner[1], corner[0]),
        )
        for k in np.flatnonzero(kept)
    )
    weight = length[is_trunk] / max(length[is_trunk].sum(), 1e-12)
    legacy = [_kallinikos(raw[k]) for k in np.flatnonzero(is_trunk)]

    def mean(values: np.ndarray) -> float:
        return float((values * weight).sum()) if is_trunk.any() else math.nan

    return Biomarkers(
        cnfl=total_um * 1e-3 / area_mm2,
        cnfd=int(is_trunk.sum()) / area_mm2,
        cnbd=int(on_trunk.sum()) / area_mm2,
        ctbd=int(branching.sum()) / area_mm2,
        cnfa=int(mask.sum()) * pixel_um[0] * pixel_um[1] * 1e-6 / area_mm2,
        cnfw=width / area_mm2,
        mean_width_um=width,
        cnfrd=cnfrd,
        tortuosity=mean(arc_chord[is_trunk]),
        curvature_per_mm=mean(curvature[is_trunk]),
        tortuosity_legacy=mean(np.array(legacy)),
        length_mm=total_um * 1e-3,
        area_mm2=area_mm2,
        trunks=int(is_trunk.sum()),
        branch_points=int(branching.sum()),
        branch_points_on_trunks=int(on_trunk.sum()),
        rules=rules.label,
        pixel_size_um=pixel_um,
        shape=mask.shape,
        reasons=reasons,
        nerves=nerves,
        branch_xy=graph.node[branching][:, ::-1] + (corner[1], corner[0]),
        branch_on_trunk=on_trunk[branching],
    )


def _brightness(graph: SkeletonGraph, image: np.ndarray | None) -> np.ndarray | None:
    """float64 [S]: mean brightness of each segment relative to the mean of all, None without an image."""
    if image is None or not graph.segments:
        return None
    inside = np.clip(np.rint(graph.points), 0, np.array(graph.shape) - 1).astype(int)
    value = np.asarray(image, float)[inside[:, 0], inside[:, 1]]
    each = np.add.reduceat(value, graph.offsets[:-1]) / np.diff(graph.offsets)
    return each / max(value.mean(), 1e-12)


def _kept(graph, component, length, rules, pixel_um, windows):  # type: ignore[no-untyped-def]
    """bool [nerves]: not a piece too short for the rules."""
    if not len(length):
        return np.empty(0, bool)
    total = np.bincount(component, length)
    zone, _, _ = _trunks._border(graph, np.zeros(len(graph.node), int), windows, rules, pixel_um)
    touches = np.zeros(len(total), bool)
    touches[graph.component[zone[graph.ends].any(1)]] = True
    enough = (total >= rules.isolated_um) | (touches & (total >= rules.isolated_border_um))
    return (enough & (total > 0))[component]


def _areas(mask, graph, courses, offsets, kept):  # type: ignore[no-untyped-def]
    """float64 [nerves]: mask pixels nearest to each kept nerve, found by growing the skeleton inside the mask."""
    count = np.zeros(len(kept))
    if not kept.any():
        return count
    width = mask.shape[1] + 2
    open_mask = np.pad(mask, 1).ravel()
    label = np.full(open_mask.size, -1, np.int32)
    nerve_of_segment = np.full(graph.segments, -1)
    nerve_of_segment[courses // 2] = np.repeat(np.arange(len(kept)), np.diff(offsets))
    nerve_of_segment = np.where(
        (nerve_of_segment >= 0) & np.append(kept, False)[nerve_of_segment], nerve_of_segment, -1
    )
    nerve = np.repeat(nerve_of_segment, np.diff(graph.offsets))
    cell = np.rint(graph.points).astype(int) + 1
    inside = ((cell >= 1) & (cell <= mask.shape)).all(1) & (nerve >= 0)
    label[cell[inside, 0] * width + cell[inside, 1]] = nerve[inside]
    waiting = np.flatnonzero(open_mask & (label < 0))
    steps = np.array([1, -1, width, -width, width + 1, width - 1, 1 - width, -1 - width])
    for _ in range(24):
        new = label[waiting + steps[0]]
        for step in steps[1:]:
            np.maximum(new, label[waiting + step], out=new)
        reached = new >= 0
        if not reached.any():
            break
        label[waiting[reached]] = new[reached]
        waiting = waiting[~reached]
    label = label[open_mask & (label >= 0)]
    return np.bincount(label, minlength=len(kept)).astype(float)


def _branches_each(graph, courses, offsets, branching):  # type: ignore[no-untyped-def]
    """int [nerves]: branch points along each nerve."""
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    pairs = np.stack([np.repeat(owner, 2), graph.ends[courses // 2].ravel()], 1)
    pairs = np.unique(pairs[branching[pairs[:, 1]]], axis=0)
    return np.bincount(pairs[:, 0], minlength=len(offsets) - 1)


def _curvature(raw, pixel_um, shape):  # type: ignore[no-untyped-def]
    """float64 [paths]: mean absolute curvature in 1/mm, length-weighted."""
    if not len(raw):
        return np.empty(0)
    sigma = max(2.0, CURVATURE_UM / math.sqrt(pixel_um[0] * pixel_um[1]))
    path = _paths.smooth(raw, sigma)
    step, owner = _paths.steps(path, pixel_um, shape)
    move = np.diff(path.points, axis=0) * pixel_um
    a, b = move[:-1], move[1:]
    turn = np.abs(np.arctan2(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], (a * b).sum(1)))
    turn = turn * (owner[:-1] == owner[1:]) * (step[:-1] > 0) * (step[1:] > 0)
    # A step that ends in another path is no step; its turn was zeroed by the zero step there.
    total = np.bincount(owner[:-1], turn, minlength=len(raw))
    length = np.bincount(owner, step, minlength=len(raw))
    return 1e3 * total / np.maximum(length, 1e-9)


def _kallinikos(points: np.ndarray) -> float:
    """Tortuosity coefficient of a pixel path (Kallinikos et al. 2004), in pixels.

    The path is turned so that its ends lie on the x axis and read as a function there, one value a pixel:
    TC = √ Σ (f′² + f″²). Dominated by the rounding to pixels; for comparison with older figures only.
    """
    chord = points[-1] - points[0]
    reach = float(np.hypot(*chord))
    if reach < 3:
        return math.nan
    along = (points - points[0]) @ chord / reach
    across = (points - points[0]) @ np.array([-chord[1], chord[0]]) / reach
    order = np.argsort(along, kind="stable")
    f = np.interp(np.arange(int(reach) + 1), along[order], across[order])
    slope, bend = f[2:] - f[1:-1], f[2:] - 2 * f[1:-1] + f[:-2]
    return float(np.sqrt((slope**2 + bend**2).sum()))


def box_counting_dimension(mask: np.ndarray) -> float:
    """Box-counting dimension of a bool [H, W] mask, boxes of 2, 4 … 2^⌊log2(min(H, W)/2)⌋ pixels.

    Slope of log N against log 1/size (least squares); NaN for an empty mask or fewer than two box sizes.
    """
    largest = int(math.log2(max(min(mask.shape) / 2, 1)))
    if largest < 2 or not mask.any():
        return math.nan
    boxes, counts = mask, []
    for _ in range(largest):
        boxes = np.pad(boxes, [(0, n % 2) for n in boxes.shape])
        boxes = boxes[::2] | boxes[1::2]
        boxes = boxes[:, ::2] | boxes[:, 1::2]
        counts.append(np.count_nonzero(boxes))
    return float(-np.polyfit(np.arange(1, largest + 1) * math.log(2), np.log(counts), 1)[0])


__all__ = ["FIELD_UM", "UNITS", "Biomarkers", "Nerve", "box_counting_dimension", "measure"]
