"""Plain and weight-decomposed LoRA on linear layers, as the variants that peft calls."""

from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.lora.layer import LoraLayer, LoraVariant
from torch import Tensor, nn

from ..decomposition import apply_gain, compute_dtype, gain_of
from ..decomposition import gain as pristine_gain
from ..errors import InputError
from ..weights.rows import weight_rows
from .function import AdaptedForward, norm_constant, norm_exact, norm_with_gradient


class Magnitude(nn.Module):
    """Holds the magnitude m [out] under the name that peft gives it."""

    def __init__(self, magnitude: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(magnitude)


class PlainVariant(LoraVariant):
    """W + sBA: LoRA (Hu et al. 2021, arXiv 2106.09685)."""

    def init(self, module: LoraLayer, adapter_name: str, **kwargs: Any) -> None:
        """Plain LoRA has nothing beside A and B."""
        weight_rows(module.get_base_layer())

    def gain(self, module: LoraLayer, adapter: str) -> Tensor | None:
        """The gain [out] of the forward pass, None for 1 throughout."""
        return None

    def forward(self, module: LoraLayer, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any) -> Tensor:
        """`result` [.., out], the output of the base and of the adapters before this one, with this one added."""
        dropout = module.lora_dropout[active_adapter]
        gain = self.gain(module, active_adapter)
        inner = None
        if module.training and not isinstance(dropout, nn.Identity):
            x = dropout(x)
            inner = module.get_base_layer()(x).to(result.dtype) if gain is not None else None
        return AdaptedForward.apply(
            x,
            result,
            inner,
            module.lora_A[active_adapter].weight,
            module.lora_B[active_adapter].weight,
            gain,
            module.get_base_layer().bias,
            float(module.scaling[active_adapter]),
        )

    def merge_unsafe(self, module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> None:
        """Merge into `orig_weight` [out, in] in place, by rows."""
        self.merge_safe(module, active_adapter, orig_weight.data)

    @torch.no_grad()
    def merge_safe(self, module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:
        """Merge into `orig_weight` [out, in], a copy that peft has made, by rows."""
        a, b, scaling = _factors(module, active_adapter)
        gain = self._gain_to_merge(module, active_adapter, orig_weight)
        module._cache_store(f"{active_adapter}-merged", (gain, scaling))
        return apply_gain(orig_weight, a, b, gain, scaling, out=orig_weight)

    @torch.no_grad()
    def unmerge(self, module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:
        """Take the merged adapter out of `orig_weight` [out, in] in place, by rows, up to the storage's rounding.

        Raises InputError where a magnitude of 0 has left nothing of a row.
        """
        weight = self._without(module, active_adapter, orig_weight.data)
        module._cache_pop(f"{active_adapter}-merged")
        return weight

    def _without(self, module: LoraLayer, adapter: str, weight: Tensor) -> Tensor:
        a, b, _ = _factors(module, adapter)
        gain, scaling = module._caches[f"{adapter}-merged"]
        if bool((gain == 0).any()):
            raise InputError(
                f"the adapter {adapter!r} cannot be unmerged: {int((gain == 0).sum())} of its magnitudes are 0 and "
                "have erased those rows of the weight; load the base model again"
            )
        # W = W'/g − sBA = (1/g)∘(W' − s·(g∘B)A)
        return apply_gain(weight, a, b.to(gain) * gain[:, None], 1 / gain, -scaling, out=weight)

    def _gain_to_merge(self, module: LoraLayer, adapter: str, weight: Tensor) -> Tensor:
        return torch.ones(weight.shape[0], dtype=compute_dtype(weight.dtype), device=weight.device)


class WeightDecomposedVariant(PlainVariant):
    """g ∘ (W + sBA), g = m/‖W + sBA‖: paper Eq. 6, DoRA (Liu et al. 2024, arXiv 2402.09353)."""

    def __init__(self, norm_gradient: bool = False) -> None:
        self.norm_gradient = norm_gradient

    def supports_lora_conversion(self) -> bool:
        """Whether peft can turn the adapter into a low-rank one from its delta weight."""
        return False

    def init(self, module: LoraLayer, adapter_name: str, **kwargs: Any) -> None:
        """Start the magnitude at the norm of the rows as they are, in float32 from the stored weight."""
        a, b, scaling = _factors(module, adapter_name)
        rows = weight_rows(module.get_base_layer())
        if a.is_meta or b.is_meta or rows.weight.is_meta:
            magnitude = torch.empty(b.shape[0], dtype=b.dtype, device="meta")
        else:
            magnitude = norm_exact(rows, a, b, scaling, weight_sq(module)).clone()
        module.lora_magnitude_vector[adapter_name] = Magnitude(magnitude)

    def gain(self, module: LoraLayer, adapter: str) -> Tensor:
        """The gain [out] of the forward pass, differentiable in m (and in A and B if the norm is)."""
        if self.norm_gradient:
            return self._gain(module, adapter, norm_with_gradient)
        if module._norms is None or torch.compiler.is_compiling():
            return self._gain(module, adapter, norm_constant)

        def kept(*given: Any) -> Tensor:
            if adapter not in module._norms:
                module._norms[adapter] = norm_constant(*given)
            return module._norms[adapter]

        return self._gain(module, adapter, kept)

    def _gain(self, module: LoraLayer, adapter: str, norm: Callable[..., Tensor]) -> Tensor:
        a, b, scaling = _factors(module, adapter)
        with torch.autocast(a.device.type, enabled=False):
            rows = weight_rows(module.get_base_layer())
            return gain_of(module.lora_magnitude_vector[adapter].weight, norm(rows, a, b, scaling, weight_sq(module)))

    def _gain_to_merge(self, module: LoraLayer, adapter: str, weight: Tensor) -> Tensor:
        """From the pristine base, also when other adapters have been merged into `weight` before."""
        if not module.merged_adapters:
            return self._gain(module, adapter, norm_exact)
        a, b, scaling = _factors(module, adapter)
        pristine = weight.to(compute_dtype(weight.dtype), copy=True)
        for name in reversed(module.merged_adapters):
            pristine = module.lora_variant[name]._without(module, name, pristine)
        return pristine_gain(pristine, a, b, module.lora_magnitude_vector[adapter].weight, scaling)


def _factors(module: LoraLayer, adapter: str) -> tuple[Tensor, Tensor, float]:
    return module.lora_A[adapter].weight, module.lora_B[adapter].weight, float(module.scaling[adapter])


def weight_sq(module: LoraLayer) -> Tensor:
    """‖W‖² of every row of the module's base layer, kept until that weight changes."""
    if torch.compiler.is_compiling() and module._kept_weight_sq is not None:
        return module._kept_weight_sq[1]
    return _current_weight_sq(module)


@torch.compiler.disable
@torch.no_grad()
def _current_weight_sq(module: LoraLayer) -> Tensor:
    rows = weight_rows(module.get_base_layer())
    if module._kept_weight_sq is None or module._kept_weight_sq[0] != rows.state:
        module._kept_weight_sq = (rows.state, rows.row_sq())
    return module._kept_weight_sq[1]
