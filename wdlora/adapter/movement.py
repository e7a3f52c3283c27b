"""How far an adapter moves its base."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..weights.base import Weights
from .names import block_and_target, natural

if TYPE_CHECKING:
    import numpy as np

    from ..weights.base import Base
    from .file import Adapter
    from .layer import AdapterLayer


@dataclass(frozen=True)
class Movement:
    """How far each row of one module moved.

    `degrees` [out]: the angle between the rows of W and of W + sBA, NaN for a row of zeros. `magnitude_percent`
    [out]: 100·(m/‖W‖ − 1), signed; for plain LoRA m is ‖W + sBA‖. Columns instead of rows if the module is
    decomposed over the input axis.
    """

    module: str
    degrees: "np.ndarray"
    magnitude_percent: "np.ndarray"


def movement(module: str, layer: "AdapterLayer", weights: Weights) -> Movement:
    """Measure one module against its base weight, without making BA.

    With u = ⟨W, sBA⟩/‖W‖ the angle is atan2(√(‖sBA‖² − u²), ‖W‖ + u): unlike an arccosine it keeps its digits where
    angles are small.
    """
    import torch

    from ..decomposition import row_norm, row_sq, weight_times

    w, a, b = layer.by_rows(weights.module(module))
    a, b, s = a.float(), b.float(), layer.scaling
    norm = row_sq(w).sqrt().double()
    along = s * (b.double() * weight_times(w, a).double()).sum(1) / norm
    length_sq = s * s * ((b.double() @ (a.double() @ a.double().T)) * b.double()).sum(1)
    across = (length_sq - along.square()).clamp_min(0).sqrt()
    degrees = torch.atan2(across, norm + along) * (180 / math.pi)
    magnitude = row_norm(w, a, b, s) if layer.magnitude is None else layer.magnitude
    percent = 100 * (magnitude.to(norm) / norm - 1)
    finite = torch.isfinite(percent) & torch.isfinite(degrees)
    nan = torch.full_like(percent, math.nan)
    moved = [torch.where(finite, values, nan).cpu().numpy() for values in (degrees, percent)]
    return Movement(module, *moved)


def movements(
    adapter: "Adapter", base: "Base", progress: Callable[[Iterable[str]], Iterable[str]] = lambda modules: modules
) -> list[Movement]:
    """Every module's movement, in natural order. Raises InputError if the base does not fit."""
    weights = Weights(base)
    adapter.check_fit(weights)
    return [movement(name, adapter.layers[name], weights) for name in progress(sorted(adapter.layers, key=natural))]


def summary(moved: list[Movement]) -> dict[str, Any]:
    """Median and 95th percentile over all rows: degrees, |magnitude change| in %, and its signed mean in %."""
    import numpy as np

    degrees = np.concatenate([m.degrees for m in moved])
    percent = np.concatenate([m.magnitude_percent for m in moved])
    if not np.isfinite(degrees).any():
        return {"rows": 0}
    return {
        "rows": int(np.isfinite(degrees).sum()),
        "direction_degrees_median": float(np.nanmedian(degrees)),
        "direction_degrees_p95": float(np.nanpercentile(degrees, 95)),
        "magnitude_percent_median": float(np.nanmedian(np.abs(percent))),
        "magnitude_percent_p95": float(np.nanpercentile(np.abs(percent), 95)),
        "magnitude_percent_mean": float(np.nanmean(percent)),
    }


def by_block(moved: list[Movement]) -> dict[int | None, list[Movement]]:
    """Movements grouped by block, in order; those outside the blocks under None, last."""
    groups: dict[int | None, list[Movement]] = {}
    for m in moved:
        groups.setdefault(block_and_target(m.module)[0], []).append(m)
    return dict(sorted(groups.items(), key=lambda item: math.inf if item[0] is None else item[0]))
