"""The adapted linear layers of peft's, with the variants of this package."""

from typing import Any

import peft
import torch
from peft.tuners.lora.layer import Linear, LoraLayer, LoraVariant
from torch import nn

from ..decomposition import compute_dtype
from .variants import PlainVariant, WeightDecomposedVariant


class Adapted(LoraLayer):
    """What the adapted layers share: which variant answers a configuration, and adapters in float32."""

    _kept_weight_sq: tuple[Any, torch.Tensor] | None = None  # with the state of the weight
    _norms: dict[str, torch.Tensor] | None = None  # by adapter, within `norms_kept`

    def resolve_lora_variant(self, *, config: peft.LoraConfig, **kwargs: Any) -> LoraVariant:
        """The variant that `config` asks for."""
        return WeightDecomposedVariant(config.norm_gradient) if config.use_dora else PlainVariant()

    def _get_base_layer_device_and_dtype(self, base_layer: nn.Module) -> tuple[torch.device, torch.dtype]:
        """Where peft puts the adapter: beside the base, in float32 whatever the base is stored in."""
        weight: Any = base_layer.weight
        return weight.device, compute_dtype(weight.dtype)

    def _cast_input_dtype(self, x: Any, dtype: torch.dtype) -> Any:
        """Leave the input as it is: the variants compute in the base's dtype, not in the adapter's."""
        return x


class AdaptedLinear(Adapted, Linear):
    """An adapted torch.nn.Linear."""
