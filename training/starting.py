"""A run that starts from an adapter: its tensors in an injected transformer, whose first picture is the file's."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.adaptation import parameters_of
from training.config import TrainingConfig
from wdlora.adapter import Adapter
from wdlora.dataset.split import TABLE as SPLIT
from wdlora.errors import InputError
from wdlora.layer.function import norm_exact
from wdlora.layer.variants import weight_sq
from wdlora.study import Study
from wdlora.weights.rows import weight_rows

log = logging.getLogger(__name__)


def read_start(path: Path, study: Study, config: TrainingConfig) -> Adapter:
    """The adapter to start from. Raises InputError for what is none, for one decomposed over the input axis, of another
    rank than the run, or with magnitudes that a plain LoRA cannot hold.

    Whether its layers are the run's shows only in the model; see `starting_values`.
    """
    adapter = Adapter.load(path)
    if any(layer.axis == "input" for layer in adapter.layers.values()):
        raise InputError(f"{path} is decomposed over the input axis, which is not trained here: start from another one")
    if config.method == "lora" and any(layer.magnitude is not None for layer in adapter.layers.values()):
        raise InputError(f"{path.name} has magnitudes, which a plain LoRA does not hold: train with method=wdlora")
    for name, layer in adapter.layers.items():
        if config.extra_rank == "none" and layer.rank != config.rank:
            raise _of_another_rank(path.name, name, layer.rank, config.rank, adapter.rank)
    known = adapter.metadata
    if known.study_sha256 not in (None, study.sha256):
        log.warning("%s was trained on the study %s, and this run is on %s.", path.name, known.study, study.label)
    return adapter


def _of_another_rank(file: str, layer: str, rank: int, own: int, usual: int) -> InputError:
    return InputError(f"{file} has rank {rank} in {layer} and this run {own}: set rank={usual}, or start again")


def split_beside(adapter: Path) -> Path | None:
    """The split of the run that wrote an adapter into its folder or into a checkpoint; None where there is none."""
    folder = adapter if adapter.is_dir() else adapter.parent
    return next((place / SPLIT for place in (folder, folder.parent.parent) if (place / SPLIT).is_file()), None)


@torch.no_grad()
def starting_values(transformer: Any, adapter: Adapter, name: str) -> dict[str, Tensor]:
    """What the parameters of an injected transformer are to be, by name.

    A plain LoRA becomes weight-decomposed where the run is: m = ‖W₀ + sBA‖, so that its gain is 1. Where the scalings
    differ, B makes up for it. Raises InputError where layers or ranks differ.
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
            raise _of_another_rank(name, layer, held.rank, rank, adapter.rank)
        magnitude = f"{layer}.lora_magnitude_vector.default.weight"
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
