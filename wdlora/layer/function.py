"""The adapted forward and its gradient, written out so that only activations and rank-sized tensors are made."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..decomposition import factored_sq, row_chunks, settle_norm
from ..weights.rows import WeightRows

SIXTEEN_BIT = (torch.bfloat16, torch.float16)
# The part of a squared norm up to which the 16-bit product's rounding is let through while training.
QUICK_TOLERANCE = 1e-4


class AdaptedForward(torch.autograd.Function):
    """y = base + (g − 1)∘(inner − bias) + g∘s·(xAᵀ)Bᵀ, one gain a feature.

    x [.., in]; base [.., out] is the layer's output so far; inner [.., out] is the frozen layer's output for this
    x where dropout has changed x, else None and base is meant. A [r, in], B [out, r], gain [out] or None (1), bias
    [out] or None. The part that is added is made first and added once: with g = 1 and B = 0 the base comes out
    bit for bit in every dtype, and a gain that 16 bits would round to 1 still acts.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        base: Tensor,
        inner: Tensor | None,
        lora_a: Tensor,
        lora_b: Tensor,
        gain: Tensor | None,
        bias: Tensor | None,
        scaling: float,
    ) -> Tensor:
        """The adapted output, in base's shape and dtype."""
        with torch.autocast(x.device.type, enabled=False):
            rows = base.reshape(-1, base.shape[-1])
            xa = _as_rows(x, base.dtype) @ lora_a.to(base.dtype).T
            scaled_b = _scaled(lora_b, gain, scaling).to(base.dtype)
            if gain is None:
                added = xa @ scaled_b.T
            else:
                shift = gain - 1
                offset = torch.zeros_like(shift) if bias is None else -bias * shift
                moved = rows if inner is None else inner.reshape(rows.shape)
                added = torch.addcmul(offset.to(base.dtype), moved, shift.to(base.dtype))
                added.addmm_(xa, scaled_b.T)
            added.add_(rows)
        kept = None if gain is None else base if inner is None else inner
        ctx.save_for_backward(x, kept, lora_a, lora_b, gain, bias, xa)
        ctx.scaling, ctx.dropped = scaling, inner is not None
        return added.view(base.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, base, inner, A, B and the gain."""
        x, kept, lora_a, lora_b, gain, bias, xa = ctx.saved_tensors
        need_x, need_base, need_inner, need_a, need_b, need_gain, _, _ = ctx.needs_input_grad
        grad_x = grad_base = grad_inner = grad_a = grad_b = grad_gain = None
        with torch.autocast(grad.device.type, enabled=False):
            dy = _as_rows(grad, xa.dtype)
            if need_b or need_gain:
                dy_xa = (dy.T @ xa).to(lora_b.dtype)  # [out, r]
                if need_b:
                    grad_b = _scaled(dy_xa, gain, ctx.scaling)
                if need_gain:
                    grad_gain = _column_dot(dy, kept.reshape(dy.shape), bias, lora_b.dtype)
                    grad_gain += ctx.scaling * (lora_b * dy_xa).sum(1)
            if need_x or need_a:
                dxa = dy @ _scaled(lora_b, gain, ctx.scaling).to(dy.dtype)
                if need_a:
                    grad_a = (dxa.T @ _as_rows(x, dy.dtype)).to(lora_a.dtype)
                if need_x:
                    grad_x = (dxa @ lora_a.to(dy.dtype)).view(x.shape).to(x.dtype)
            if gain is None:
                grad_base = grad
            else:
                shift = (gain - 1).to(dy.dtype)
                if ctx.dropped:
                    grad_base = grad
                    grad_inner = (dy * shift).view(grad.shape) if need_inner else None
                elif need_base:
                    grad_base = torch.addcmul(dy, dy, shift).view(grad.shape)
        return grad_x, grad_base if need_base else None, grad_inner, grad_a, grad_b, grad_gain, None, None


def _as_rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.reshape(-1, x.shape[-1]).to(dtype)


def _scaled(lora_b: Tensor, gain: Tensor | None, scaling: float) -> Tensor:
    """s·B, or g∘s·B: [out, r]."""
    return lora_b * scaling if gain is None else lora_b * (scaling * gain)[:, None]


def _column_dot(dy: Tensor, output: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Σ dy∘(output − bias) over tokens: [out], accumulated in `dtype`, a few tokens at a time on a CPU."""
    if dy.device.type != "cpu":
        total = (dy * output).sum(0, dtype=dtype)
    else:
        total = torch.zeros(dy.shape[1], dtype=dtype, device=dy.device)
        for tokens in row_chunks(dy.shape, dy.device):
            total += (dy[tokens] * output[tokens]).sum(0, dtype=dtype)
    if bias is None:
        return total
    column_sum = dy.new_ones(1, len(dy)) @ dy if dy.dtype == dtype else dy.sum(0, dtype=dtype)
    return total.sub_(bias * column_sum.view(-1))


class WeightTimes(torch.autograd.Function):
    """WAᵀ [out, r], differentiable in A, the weight read by rows in both directions."""

    @staticmethod
    def forward(ctx: Any, lora_a: Tensor, weight: WeightRows) -> Tensor:
        """WAᵀ."""
        ctx.weight = weight
        return weight.times(lora_a)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """The gradient of A: gradᵀ·W."""
        total = grad.new_zeros(grad.shape[1], ctx.weight.shape[1])
        for rows in row_chunks(ctx.weight.shape, grad.device):
            total.addmm_(grad[rows].T, ctx.weight.piece(rows))
        return total, None


def norm_constant(weight: WeightRows, lora_a: Tensor, lora_b: Tensor, scaling: float, weight_sq: Tensor) -> Tensor:
    """‖W + sBA‖ of every row, [out], for which nothing gets a gradient (DoRA section 4.3)."""
    if torch.compiler.is_compiling() and type(weight) is WeightRows:
        return dense_row_norm(weight.dense, lora_a.detach(), lora_b.detach(), scaling, weight_sq)
    return _norm_constant(weight, lora_a, lora_b, scaling, weight_sq)


@torch.compiler.disable
@torch.no_grad()
def _norm_constant(weight: WeightRows, lora_a: Tensor, lora_b: Tensor, scaling: float, weight_sq: Tensor) -> Tensor:
    if weight.dense.dtype in SIXTEEN_BIT:
        product = quick_product(weight.dense, lora_a)
        norm_sq, _ = factored_sq(weight_sq, product, lora_a, lora_b, scaling)
        doubt = torch.finfo(weight.dense.dtype).eps * 2 * abs(scaling) * (lora_b * product).abs().sum(1)
        if bool((doubt <= QUICK_TOLERANCE * norm_sq).all()):
            return norm_sq.sqrt()
    return norm_exact(weight, lora_a, lora_b, scaling, weight_sq)


@torch.no_grad()
def norm_exact(weight: WeightRows, lora_a: Tensor, lora_b: Tensor, scaling: float, weight_sq: Tensor) -> Tensor:
    """‖W + sBA‖ of every row, [out], to float32's accuracy on every storage: what a merge uses."""
    sums = factored_sq(weight_sq, weight.times(lora_a), lora_a, lora_b, scaling)
    return settle_norm(*sums, weight.at, lora_a, lora_b, scaling)


def quick_product(weight: Tensor, lora_a: Tensor) -> Tensor:
    """WAᵀ [out, r] of a 16-bit weight without converting it: A goes in as two 16-bit parts, W is read once.

    Each number of the result is off by its rounding to 16 bits, which the caller weighs.
    """
    high = lora_a.to(weight.dtype)
    low = (lora_a - high).to(weight.dtype)
    both = (weight @ torch.cat([high, low]).T).to(lora_a.dtype)
    return both[:, : len(lora_a)] + both[:, len(lora_a) :]


@torch.compiler.disable
def norm_with_gradient(weight: WeightRows, lora_a: Tensor, lora_b: Tensor, scaling: float, weight_sq: Tensor) -> Tensor:
    """‖W + sBA‖ of every row, [out], with its gradient to A and B."""
    norm_sq, parts_sq = factored_sq(weight_sq, WeightTimes.apply(lora_a, weight), lora_a, lora_b, scaling)
    norm = settle_norm(norm_sq.detach(), parts_sq, weight.at, lora_a.detach(), lora_b.detach(), scaling)
    return norm + (norm_sq - norm_sq.detach()) / (2 * torch.where(norm > 0, norm, 1.0))


@torch.library.custom_op("wdlora::dense_row_norm", mutates_args=())
def dense_row_norm(weight: Tensor, lora_a: Tensor, lora_b: Tensor, scaling: float, weight_sq: Tensor) -> Tensor:
    """`norm_constant` as one operator, into which torch.compile does not look: the numbers decide what runs."""
    return _norm_constant(WeightRows(weight, (weight.shape[0], weight.shape[1])), lora_a, lora_b, scaling, weight_sq)


@dense_row_norm.register_fake
def _(weight: Tensor, lora_a: Tensor, lora_b: Tensor, scaling: float, weight_sq: Tensor) -> Tensor:
    return weight_sq.new_empty(weight_sq.shape)
