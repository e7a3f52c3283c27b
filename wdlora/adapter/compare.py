"""How far an adapter moves its base, and how far another base is from the one it was trained on."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..weights import Weights
from .names import block_and_target, natural

if TYPE_CHECKING:
    import numpy as np

    from ..weights import Base
    from .file import Adapter
    from .layer import AdapterLayer


# Short names of storage types, as training presets use them.
STORAGE = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "fp8": "float8_e4m3fn", "int8": "int8_tensorwise"}


def same_storage(one: str, other: str) -> bool:
    """Whether two names mean the same storage: "bf16" and "bfloat16", "fp8" and "float8_e4m3fn, scaled"."""
    plain = [name.removesuffix(", scaled") for name in (one, other)]
    return STORAGE.get(plain[0], plain[0]) == STORAGE.get(plain[1], plain[1])


@dataclass(frozen=True)
class Difference:
    """Another base against the one that the adapter was trained on.

    `median_percent` and `max_percent` are of |‖W‖ − ‖W₀‖|/‖W₀‖ over all adapted rows, None if the adapter records no
    row norms. `same_base` and `same_quantisation` are None where the adapter or the base says nothing.
    """

    same_base: bool | None
    same_quantisation: bool | None
    median_percent: float | None
    max_percent: float | None
    trained_on: str
    applied_to: str

    @property
    def sentence(self) -> str:
        """The difference for the person who reads it."""
        if self.same_base and self.same_quantisation is not False:
            return "the base is the file that the adapter was trained on"
        bases = f"the adapter was trained on {self.trained_on}, this base is {self.applied_to}"
        if self.median_percent is None or self.max_percent is None:
            return f"{bases}; no row norms of its own base are recorded in the adapter, so they cannot be compared"
        if self.max_percent == 0:
            return f"{bases}; all row norms are equal"
        return f"{bases}; row norms differ by {self.median_percent:.2g} % (median), at most {self.max_percent:.2g} %"


def difference(adapter: "Adapter", base: "Base") -> Difference:
    """Compare `base` with the one that `adapter` was trained on, by hash, storage and row norms.

    Applying an adapter to another base works: its gains are taken from the weights it meets. How far its magnitudes
    then miss is what the row norms say. Raises InputError if the base lacks a layer or has another shape there.
    """
    import numpy as np

    from ..decomposition import row_sq

    weights = Weights(base)
    adapter.check_fit(weights)
    known = adapter.metadata
    same = None if known.base_sha256 is None or weights.sha256 is None else known.base_sha256 == weights.sha256
    quantisation = None
    if known.base_quantisation is not None:
        quantisation = same_storage(known.base_quantisation, weights.quantisation)
    median = largest = None
    if adapter.row_norms is not None:
        changes = []
        for name, trained in adapter.row_norms.items():
            norm = row_sq(weights.module(name)).sqrt().double().cpu()
            trained = trained.double()
            changes.append(((norm - trained).abs() / trained.clamp_min(1e-30)).numpy())
        percent = 100 * np.concatenate(changes)
        percent[percent < 1e-4] = 0  # fp32 norms recomputed elsewhere differ in their last digits
        median, largest = float(np.median(percent)), float(percent.max())
    return Difference(
        same,
        quantisation,
        median,
        largest,
        _said(known.base_model, known.base_quantisation),
        _said(Path(weights.label).name if weights.files else None, weights.quantisation),
    )


def _said(name: str | None, quantisation: str | None) -> str:
    return ", ".join(part for part in (name, quantisation) if part) or "not recorded"


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
    percent = 100 * (magnitude.double() / norm - 1)
    finite = torch.isfinite(percent) & torch.isfinite(degrees)
    nan = torch.full_like(percent, math.nan)
    return Movement(module, torch.where(finite, degrees, nan).numpy(), torch.where(finite, percent, nan).numpy())


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
