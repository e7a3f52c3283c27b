"""How a linear layer keeps its weight: in full, in fp8 with a scale, or in nf4.

fp8 is storage only: the layer computes in the type of its input, as on GPUs without fp8 units. nf4 is
bitsandbytes' (Dettmers et al. 2023). `dequantised` gives any of them back as a plain weight.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError

FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
_E4M3_MAX = 448.0


class _Float8Product(torch.autograd.Function):
    """x Wᵀ + b without keeping the dequantised W for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: "Float8Linear") -> Tensor:
        ctx.layer = layer
        bias = None if layer.bias is None else layer.bias.to(x.dtype)
        return nn.functional.linear(x, layer.dequantise(x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        return grad @ ctx.layer.dequantise(grad.dtype), None


class Float8Linear(nn.Linear):
    """A frozen linear layer whose weight is stored in 8 bits: W = scale ∘ codes.

    `codes` are the bytes of a float8 tensor [out, in] (kept as uint8, so that a cast of the model leaves them
    alone), `scale` float32, one number or [out, 1]. `weight` is a dequantised copy in the compute type.
    """

    codes: nn.Parameter
    scale: nn.Parameter
    bias: nn.Parameter | None  # type: ignore[assignment]

    def __init__(self, codes: Tensor, scale: Tensor | None, bias: Tensor | None, dtype: torch.dtype) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = codes.shape
        self.kind = codes.dtype
        self.dtype = dtype
        # Parameters, for what diffusers streams by blocks leaves buffers on the card.
        self.codes = nn.Parameter(codes.view(torch.uint8), requires_grad=False)
        scale = torch.ones((), device=codes.device) if scale is None else scale.float()
        scale = scale.reshape(()) if scale.numel() == 1 else scale.reshape(-1, 1)
        self.scale = nn.Parameter(scale, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.to(dtype), requires_grad=False)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return self.dequantise(self.dtype)

    def dequantise(self, dtype: torch.dtype) -> Tensor:
        """The weight [out, in], multiplied out in float32 and rounded once to `dtype`."""
        return (self.codes.view(self.kind).float() * self.scale).to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        return _Float8Product.apply(x, self)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {str(self.kind).removeprefix('torch.')}"


def to_float8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a weight [out, in] to e4m3 with one scale a row: codes and float32 scale [out, 1]."""
    values = weight.float()
    largest = values.abs().amax(1, keepdim=True)
    scale = torch.where(largest > 0, largest / _E4M3_MAX, torch.ones_like(largest))
    return (values / scale).to(torch.float8_e4m3fn), scale


def require_nf4() -> None:
    """Raise InputError where the package that nf4 storage needs is missing."""
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise InputError(
            "nf4 storage needs the package bitsandbytes, which is not installed: "
            "install requirements-train.txt or choose fp8"
        ) from None


def to_nf4(weight: Tensor, bias: Tensor | None, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A bitsandbytes layer holding `weight` [out, in] in nf4 with double quantisation, computing in `dtype`."""
    require_nf4()
    from bitsandbytes.nn import Linear4bit, Params4bit

    layer = Linear4bit(1, 1, bias=False, compute_dtype=dtype, quant_type="nf4", device="meta")
    # On CPUs with AVX512-BF16 bitsandbytes would rewrite the weight in place at the first use, with bf16 scales.
    layer.support_avx512bf16_for_cpu = False
    layer.out_features, layer.in_features = weight.shape
    layer.weight = Params4bit(weight.to(dtype).contiguous(), requires_grad=False, quant_type="nf4", module=layer)
    layer.bias = None if bias is None else nn.Parameter(bias.to(dtype), requires_grad=False)
    return layer.to(device)


def is_quantised(layer: nn.Module) -> bool:
    """Whether a layer's weight has less than 16 bits, so that a small change to it would be rounded away."""
    return isinstance(layer, Float8Linear) or type(layer).__name__ in ("Linear4bit", "Linear8bitLt", "LinearFP4")


@torch.no_grad()
def dequantised(layer: nn.Module) -> Tensor:
    """The weight [out, in] of a linear layer, float32 for quantised storage, itself otherwise."""
    if isinstance(layer, Float8Linear):
        return layer.dequantise(torch.float32)
    if type(layer).__name__ == "Linear4bit":
        from bitsandbytes.functional import dequantize_4bit

        weight: Any = layer.weight
        return dequantize_4bit(weight.data, weight.quant_state).float()
    if isinstance(layer, nn.Linear):
        return layer.weight.detach()
    raise InputError(f"a layer of type {type(layer).__name__} is not a linear layer that can be adapted")
