"""A run that starts from an adapter: its tensors in an injected transformer, whose first picture is the file's."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.adaptation import parameters_of
from wdlora.adapter import Adapter
from wdlora.dataset.split import TABLE as SPLIT
from wdlora.errors import InputError
from wdlora.layer.function import norm_exact
from wdlora.layer.variants import weight_sq
from wdlora.study import Study
from wdlora.weights.rows import weight_rows

log = logging.getLogger(__name__)


def read_start(path: Path, study: Study) -> Adapter:
    """The adapter to start from. Raises InputError for what is none, and for one decomposed over the input axis."""
    adapter = Adapter.load(path)
    if any(layer.axis == "input" for layer in adapter.layers.values()):
        raise InputError(f"{path} is decomposed over the input axis, which is not trained here: start from another one")
    known = adapter.metadata
    if known.study_sha256 not in (None, study.sha256):
        log.warning("%s was trained on the study %s, and this run is on %s.", path.name, known.study, study.label)
    return adapter


def split_beside(adapter: Path) -> Path | None:
    """The split of the run that wrote an adapter into its folder or into a checkpoint; None where there is none."""
    folder = adapter if adapter.is_dir() else adapter.parent
    return next((place / SPLIT for place in (folder, folder.parent.parent) if (place / SPLIT).is_file()), None)


@torch.no_grad()
def starting_values(transformer: Any, adapter: Adapter, name: str) -> dict[str, Tensor]:
    """What the parameters of an injected transformer are to be, by name.

    A plain LoRA becomes weight-decomposed where the run is: m = ‖W₀ + sBA‖, so that its gain is 1. Where the scalings
    differ, B makes up for it. Raises InputError where layers or ranks differ, and for magnitudes that a plain LoRA
    cannot hold.
    """
    own = {key: value for key, value in transformer.named_parameters() if ".lora_" in key}
    layers = {key.partition(".lora_A.")[0] for key in own if ".lora_A." in key}
    if odd := sorted(layers ^ adapter.layers.keys()):
        where = "the adapter alone" if odd[0] in adapter.layers else "this run alone"
        raise InputError(
            f"{name} adapts other layers than this run: {len(odd)} differ, the first {odd[0]} in {where}. Set targets "
            "to the adapter's"
        )
    modules = dict(transformer.named_modules())
    found: dict[str, Tensor] = {}
    for layer, held in adapter.layers.items():
        module = modules[layer]
        rank, scaling = module.r["default"], float(module.scaling["default"])
        if held.rank != rank:
            raise InputError(
                f"{name} has rank {held.rank} in {layer} and this run {rank}: set rank={adapter.rank}, or start anew"
            )
        magnitude = f"{layer}.lora_magnitude_vector.default.weight"
        if held.magnitude is not None and magnitude not in own:
            raise InputError(f"{name} has magnitudes, which a plain LoRA does not hold: train with method=wdlora")
        values = parameters_of(Adapter({layer: held}))
        if held.scaling != scaling:
            values[f"{layer}.lora_B.default.weight"] = held.lora_b.float() * (held.scaling / scaling)
        if magnitude in own and held.magnitude is None:
            device = own[magnitude].device
            a, b = (values[f"{layer}.lora_{part}.default.weight"].to(device).float() for part in "AB")
            rows = weight_rows(module.get_base_layer())
            values[magnitude] = norm_exact(rows, a, b, scaling, weight_sq(module))
        found |= values
    return {key: value.to(own[key]) for key, value in found.items()}
