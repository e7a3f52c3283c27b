"""From a mask to its nerves: skeleton graph, trunks, smooth paths, what the rules keep, branch points, areas."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..scale import PIXEL_SIZE_UM
from ..skeleton import paths as _paths
from ..skeleton.arms import arm_directions
from ..skeleton.chains import Chains
from ..skeleton.crossings import is_crossing, merge_crossings
from ..skeleton.graph import SkeletonGraph, skeleton_graph
from ..skeleton.paths import Paths
from .descriptors import nerve_areas
from .rules import RuleSet
from .trunks import find_trunks, join_nerves
from .windows import Windows, border, cut, windows_of

SMOOTHING_PX = 2.5
"""Standard deviation, in points, of the kernel that takes the pixels' rounding out of a path (at 400/384 µm)."""

BEND_PX = 7
"""Points over which thinning bends a branch towards the nerve that it leaves (at 400/384 µm)."""

LEAST_BEND_PX = 4
"""The same at any pixel size."""

CURVATURE_PX = 8.0
"""As `SMOOTHING_PX` for curvature, which rounding disturbs far more than length."""


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
        return {name: finite_or_none(value) for name, value in values.items()}


def finite_or_none(value: Any) -> Any:
    """The value, None where it is a float that JSON cannot hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Nerves:
    """The n nerves of a mask on its skeleton graph of N nodes, also those too short for the rules."""

    graph: SkeletonGraph
    windows: Windows
    chains: Chains
    """One chain a nerve."""
    raw: Paths
    """Pixel path of each nerve."""
    path: Paths
    """Smooth path of each nerve, where the rules smooth."""
    length_um: np.ndarray
    """float64 [n]: length inside the image."""
    area_um2: np.ndarray
    """float64 [n]: area of the mask that belongs to each nerve."""
    kept: np.ndarray
    """bool [n]: not part of a piece too short for the rules."""
    trunk: np.ndarray
    """bool [n]: main nerve trunks."""
    trunks: int
    """Number of trunks; one that runs on in the next window counts in both."""
    branching: np.ndarray
    """bool [N]: branch points."""
    on_trunk: np.ndarray
    """bool [N]: branch points on trunks."""

    @property
    def total_um(self) -> float:
        """Length of all kept nerves."""
        return float(self.length_um[self.kept].sum())


def find_nerves(
    mask: np.ndarray,
    pixel_um: tuple[float, float],
    rules: RuleSet,
    valid: np.ndarray | None = None,
    image: np.ndarray | None = None,
) -> Nerves:
    """The nerves of a bool mask [H, W] that fills its field.

    `valid` bool [H, W] says what was seen, which decides on the windows that count; `image` [H, W] holds the brightness
    that has a say where trunks compete.
    """
    graph = skeleton_graph(mask, pixel_um, spur_um=rules.spur_um, extend_to_border=rules.extend_to_border)
    if rules.crossings == "pass":
        graph = merge_crossings(graph)
    windows = windows_of(mask.shape, pixel_um, valid)
    graph, of_node, joined = cut(graph, windows)
    direction = arm_directions(graph)
    trunks = find_trunks(graph, direction, windows, of_node, rules, _brightness(graph, image))
    chains = join_nerves(graph, trunks, direction, joined)

    raw = _paths.join(graph, chains)
    path = _smoothed(raw, graph, chains, direction) if rules.length == "smoothed" else raw
    length = _paths.lengths(path, _paths.steps(path))
    kept = _kept(graph, chains, length, rules)

    nerve_of = chains.of_segments()
    kept_segments = np.append(kept, False)[nerve_of]
    trunks = [trunk for trunk in trunks if kept[nerve_of[trunk[0] // 2]]]
    on_trunk = np.zeros(graph.segments, bool)
    on_trunk[np.concatenate([*trunks, np.empty(0, int)]) // 2] = True
    is_trunk = np.zeros(len(path), bool)
    is_trunk[nerve_of[on_trunk]] = True
    branching = _branch_points(graph, direction, kept_segments, rules)

    nerve = np.repeat(np.where(kept_segments, nerve_of, -1), np.diff(graph.offsets))
    pixel_mm2 = pixel_um[0] * pixel_um[1] * 1e-6
    return Nerves(
        graph=graph,
        windows=windows,
        chains=chains,
        raw=raw,
        path=path,
        length_um=length,
        area_um2=nerve_areas(mask, graph.points, nerve, len(path)) * pixel_mm2 * 1e6,
        kept=kept,
        trunk=is_trunk,
        trunks=len(trunks),
        branching=branching,
        on_trunk=branching & np.isin(np.arange(len(graph.node)), graph.ends[on_trunk]),
    )


def nerve_table(nerves: Nerves, corner: tuple[int, int]) -> tuple[Nerve, ...]:
    """The kept nerves, one row each; `corner` is the field's corner in the image (row, column)."""
    if not nerves.kept.any():
        return ()
    graph, chains, path, length = nerves.graph, nerves.chains, nerves.path, nerves.length_um
    curvature = _paths.mean_curvatures(_paths.smooth(nerves.raw, CURVATURE_PX * max(1, _magnification(graph))))
    chord = _paths.chords(path)
    with np.errstate(divide="ignore", invalid="ignore"):
        tortuosity = np.where(chord > 0, np.maximum(length / chord, 1), np.nan)
        width = np.where(length > 0, nerves.area_um2 / length, np.nan)
    component = graph.component[chains.first // 2]
    with_trunk = np.isin(component, component[nerves.trunk])
    met = np.unique(np.stack([np.repeat(chains.owner, 2), graph.ends[chains.half_edges // 2].ravel()], 1), axis=0)
    branches = np.bincount(met[nerves.branching[met[:, 1]], 0], minlength=len(path))
    points = (path.points + corner)[:, ::-1]
    return tuple(
        Nerve(
            kind="trunk" if nerves.trunk[k] else "branch" if with_trunk[k] else "free",
            length_um=float(length[k]),
            chord_um=float(chord[k]),
            tortuosity=float(tortuosity[k]),
            curvature_per_mm=float(curvature[k]),
            width_um=float(width[k]),
            branch_points=int(branches[k]),
            path=points[path.offsets[k] : path.offsets[k + 1]],
        )
        for k in np.flatnonzero(nerves.kept).tolist()
    )


def _magnification(graph: SkeletonGraph) -> float:
    """How many times finer the pixels are than those of 400/384 µm."""
    row_um, column_um = graph.pixel_um
    return PIXEL_SIZE_UM / math.sqrt(row_um * column_um)


def _brightness(graph: SkeletonGraph, image: np.ndarray | None) -> np.ndarray | None:
    """float64 [S]: mean brightness of each segment relative to the mean of all, None without an image."""
    if image is None or not graph.segments:
        return None
    row, column = np.clip(np.rint(graph.points), 0, np.array(graph.shape) - 1).astype(int).T
    value = image[row, column].astype(float)
    each = np.add.reduceat(value, graph.offsets[:-1]) / np.diff(graph.offsets)
    return each / max(value.mean(), 1e-12)


def _smoothed(raw: Paths, graph: SkeletonGraph, chains: Chains, direction: np.ndarray) -> Paths:
    """The pixel paths without their rounding, branches led up to the axis of the nerve that they leave."""
    magnification = _magnification(graph)
    bend = max(LEAST_BEND_PX, round(BEND_PX * magnification))
    return _paths.smooth(
        _paths.reach_parents(raw, graph, chains, direction, bend), SMOOTHING_PX * max(1, magnification)
    )


def _kept(graph: SkeletonGraph, chains: Chains, length: np.ndarray, rules: RuleSet) -> np.ndarray:
    """bool [n]: not part of a piece too short for the rules."""
    component = graph.component[chains.first // 2]
    total = np.bincount(component, length)
    field_box = np.array([[-0.5, graph.shape[0] - 0.5, -0.5, graph.shape[1] - 0.5]])
    zone = border(graph, np.zeros(len(graph.node), int), field_box, rules.border_fraction).near
    touches = np.zeros(len(total), bool)
    touches[graph.component[zone[graph.ends].any(1)]] = True
    least = np.where(touches, rules.isolated_border_um, rules.isolated_um)
    return ((total > 0) & (total >= least))[component]


def _branch_points(graph: SkeletonGraph, direction: np.ndarray, kept: np.ndarray, rules: RuleSet) -> np.ndarray:
    """bool [N]: junctions of kept segments inside the image, without crossings where the rules say so."""
    inside = ((graph.node >= -0.5) & (graph.node <= np.array(graph.shape) - 0.5)).all(1)
    branching = (graph.degree >= 3) & inside & np.isin(np.arange(len(graph.node)), graph.ends[kept])
    return branching & ~is_crossing(graph, direction) if rules.crossings == "pass" else branching
