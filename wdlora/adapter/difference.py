"""How far a base is from the one that an adapter was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..weights.base import Weights
from .metadata import Metadata

if TYPE_CHECKING:
    from torch import Tensor

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


def difference(trained_on: Metadata, row_norms: "Mapping[str, Tensor] | None", base: Weights) -> Difference:
    """Compare `base` with what an adapter says of its own base: hash, storage and row norms ‖W₀‖ [out] by module.

    Applying an adapter to another base works: its gains are taken from the weights it meets. How far its magnitudes
    then miss is what the row norms say. `base` must have the modules in the right shapes (`Adapter.check_fit`).
    """
    import numpy as np

    from ..decomposition import row_sq

    same = None
    if trained_on.base_sha256 is not None and base.sha256 is not None:
        same = trained_on.base_sha256 == base.sha256
    quantisation = None
    if trained_on.base_quantisation is not None:
        quantisation = same_storage(trained_on.base_quantisation, base.quantisation)
    median = largest = None
    if row_norms is not None:
        changes = []
        for name, trained in row_norms.items():
            norm = row_sq(base.module(name)).sqrt().double().cpu()
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
        _recorded(trained_on.base_model, trained_on.base_quantisation),
        _recorded(Path(base.label).name if base.files else None, base.quantisation),
    )


def _recorded(name: str | None, quantisation: str | None) -> str:
    return ", ".join(part for part in (name, quantisation) if part) or "not recorded"
