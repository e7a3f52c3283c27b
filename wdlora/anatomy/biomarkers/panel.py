"""The biomarker panel of corneal confocal microscopy, measured on a nerve mask."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import InputError
from ..scale import PIXEL_SIZE_UM, pixel_sides
from ..skeleton.paths import kallinikos
from .descriptors import box_counting_dimension
from .nerves import Nerve, Nerves, find_nerves, finite_or_none, nerve_table
from .rules import RuleSet, rule_set
from .units import UNITS


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
        values: dict[str, Any] = {name: finite_or_none(getattr(self, name)) for name in UNITS}
        values["rules"] = self.rules
        values["pixel_size_um"] = list(self.pixel_size_um)
        values["shape"] = list(self.shape)
        values["reasons"] = dict(self.reasons)
        return values


def measure(
    mask: np.ndarray,
    pixel_size_um: float | tuple[float, float] = PIXEL_SIZE_UM,
    rules: str | RuleSet = "acc_like",
    valid: np.ndarray | None = None,
    image: np.ndarray | None = None,
) -> Biomarkers:
    """Measure the biomarkers of a nerve mask.

    >>> mask = np.zeros((384, 384), bool)
    >>> mask[:, 190:193] = True  # one nerve from edge to edge of a field of 400 × 400 µm
    >>> round(measure(mask).cnfl, 3), round(measure(mask).cnfd, 3)  # 0.4 mm and one trunk in 0.16 mm²
    (2.5, 6.25)

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
    found = find_nerves(mask, pixel_um, rules, valid, image)
    nerves = nerve_table(found, corner)
    pixel_mm2 = pixel_um[0] * pixel_um[1] * 1e-6
    area_mm2 = int(mask.size if valid is None else valid.sum()) * pixel_mm2
    window_mm2 = found.windows.area_px * pixel_mm2
    total_um = found.total_um
    width = float(found.area_um2.sum()) / total_um if total_um > 0 else math.nan
    points, points_on_trunks = int(found.branching.sum()), int(found.on_trunk.sum())
    trunks = [nerve for nerve in nerves if nerve.kind == "trunk"]
    cnfrd = box_counting_dimension(mask)
    legacy = [kallinikos(found.raw[k]) for k in np.flatnonzero(found.trunk).tolist()]
    return Biomarkers(
        cnfl=total_um * 1e-3 / area_mm2,
        cnfd=found.trunks / window_mm2 if window_mm2 else math.nan,
        cnbd=points_on_trunks / window_mm2 if window_mm2 else math.nan,
        ctbd=points / area_mm2,
        cnfa=int(mask.sum()) * pixel_mm2 / area_mm2,
        cnfw=width / area_mm2,
        mean_width_um=width,
        cnfrd=cnfrd,
        tortuosity=_over_trunks(found, [nerve.tortuosity for nerve in trunks]),
        curvature_per_mm=_over_trunks(found, [nerve.curvature_per_mm for nerve in trunks]),
        tortuosity_legacy=_over_trunks(found, legacy),
        length_mm=total_um * 1e-3,
        area_mm2=area_mm2,
        trunks=found.trunks,
        branch_points=points,
        branch_points_on_trunks=points_on_trunks,
        rules=rules.label,
        pixel_size_um=pixel_um,
        shape=mask.shape,
        reasons=_reasons(found, mask, cnfrd),
        nerves=nerves,
        branch_xy=(found.graph.node[found.branching] + corner)[:, ::-1],
        branch_on_trunk=found.on_trunk[found.branching],
    )


def _over_trunks(found: Nerves, values: list[float]) -> float:
    """Mean of one value a trunk, weighted by length; NaN without a trunk."""
    if not found.trunk.any():
        return math.nan
    weight = np.where(found.trunk, found.length_um, 0)
    return float(np.array(values) @ weight[found.trunk] / weight.sum())


def _reasons(found: Nerves, mask: np.ndarray, cnfrd: float) -> dict[str, str]:
    """Why figures of the panel are NaN."""
    reasons: dict[str, str] = {}
    if not found.total_um > 0:
        reasons["mean_width_um"] = reasons["cnfw"] = "there is no nerve to be wide"
    if not found.trunk.any():
        for name in ("tortuosity", "curvature_per_mm", "tortuosity_legacy"):
            reasons[name] = "there is no trunk to be tortuous"
    if math.isnan(cnfrd):
        reasons["cnfrd"] = "there is no nerve" if not mask.any() else "the image has fewer than two box sizes"
    if not found.windows.area_px:
        reasons["cnfd"] = reasons["cnbd"] = "no 400 µm window of the mosaic was seen for the greater part"
    return reasons
