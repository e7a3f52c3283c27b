"""The adapter in the transformer: which layers get one, of which rank, and what of it is trained."""

from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor

from training.config import TrainingConfig
from wdlora.adapter import Adapter
from wdlora.layer import inject


def prepare_transformer(transformer: Any, config: TrainingConfig) -> Any:
    """Freeze a transformer and inject the configured adapter, whose initialisation follows from the seed."""
    transformer.requires_grad_(False)
    if config.gradient_checkpointing:
        transformer.enable_gradient_checkpointing()
    adapter = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha if config.alpha is not None else config.rank,
        target_modules=config.target_modules,
        use_dora=config.method != "lora",
        **_matched_ranks(transformer, config),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        inject(transformer, adapter, norm_gradient=config.norm_gradient)
    if config.method == "magnitude":
        for name, parameter in transformer.named_parameters():
            parameter.requires_grad_("lora_magnitude_vector" in name)
    return transformer


def parameters_of(adapter: Adapter) -> dict[str, Tensor]:
    """The tensors of an adapter under the names that an injected transformer's parameters have."""
    values: dict[str, Tensor] = {}
    for name, layer in adapter.layers.items():
        values[f"{name}.lora_A.default.weight"] = layer.lora_a
        values[f"{name}.lora_B.default.weight"] = layer.lora_b
        if layer.magnitude is not None:
            values[f"{name}.lora_magnitude_vector.default.weight"] = layer.magnitude
    return values


def _matched_ranks(transformer: Any, config: TrainingConfig) -> dict[str, Any]:
    """Rank and alpha patterns that give plain LoRA the parameters which WDLoRA spends on magnitudes.

    One rank more in a layer costs in + out numbers; every other layer is taken first, until the next one would
    leave the count further from WDLoRA's than stopping. alpha/rank stays the same everywhere.
    """
    if config.extra_rank == "none":
        return {}
    layers = {
        name: module
        for name, module in transformer.named_modules()
        if any(name == end or name.endswith(f".{end}") for end in config.target_modules)
    }
    missing = sum(module.out_features for module in layers.values())
    scaling = (config.alpha if config.alpha is not None else config.rank) / config.rank
    ranks = dict.fromkeys(layers, config.rank)
    spread = [*list(layers)[::2], *list(layers)[1::2]]
    while missing > 0:
        for name in spread:
            cost = layers[name].in_features + layers[name].out_features
            if missing < cost / 2:
                missing = 0
                break
            ranks[name] += 1
            missing -= cost
    return {"rank_pattern": ranks, "alpha_pattern": {name: scaling * rank for name, rank in ranks.items()}}
