"""Reading a frozen linear layer's weight by rows, however it is stored: dense, fp8, 4-bit or 8-bit."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..decomposition import compute_dtype, row_chunks, row_sq, rows_at, weight_times
from ..errors import InputError
from .linear import Float8Linear


class WeightRows:
    """The rows of a dense weight [out, in], in its compute dtype."""

    def __init__(self, weight: Any, shape: tuple[int, int]) -> None:
        self.weight = weight
        self.dense: Tensor = weight.detach()
        self.shape = shape

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which rows are handed out: float64 for float64 storage, else float32."""
        return compute_dtype(self.weight.dtype)

    @property
    def state(self) -> tuple[Any, ...]:
        """Equal as long as the weight has not been replaced, moved, cast or written to."""
        return id(self.weight), self.weight._version, self.weight.dtype, self.weight.device

    def piece(self, rows: slice) -> Tensor:
        """Consecutive rows [n, in]."""
        return self.weight[rows].to(self.dtype)

    def at(self, index: Tensor) -> Tensor:
        """The rows [n, in] at an index tensor [n]."""
        return rows_at(self.weight, index).to(self.dtype)

    def row_sq(self) -> Tensor:
        """Squared norm of every row: [out]."""
        return row_sq(self.weight)

    def times(self, lora_a: Tensor) -> Tensor:
        """WAᵀ [out, r]."""
        return weight_times(self.weight, lora_a)


class QuantisedRows(WeightRows):
    """The same for a weight that has to be dequantised, a few rows at a time."""

    dtype = torch.float32

    def row_sq(self) -> Tensor:
        """Squared norm of every row: [out]."""
        return torch.cat([self.piece(rows).square().sum(1) for rows in row_chunks(self.shape, self.dense.device)])

    def times(self, lora_a: Tensor) -> Tensor:
        """WAᵀ [out, r]."""
        return torch.cat([self.piece(rows) @ lora_a.T for rows in row_chunks(self.shape, self.dense.device)])


class FourBitRows(QuantisedRows):
    """bitsandbytes 4 bit (nf4, fp4; Dettmers et al. 2023, arXiv 2305.14314): a scale a block of numbers."""

    def __init__(self, layer: Any) -> None:
        super().__init__(layer.weight, (layer.out_features, layer.in_features))
        # On some processors bitsandbytes repacks the weight when it is first used for inference. Rows cannot be
        # read from that layout, nor can it be trained on.
        layer.support_avx512bf16_for_cpu = False
        if getattr(layer.weight.quant_state, "packing_format_for_cpu", False):
            from bitsandbytes.functional import _convert_weight_packed_for_cpu_inverse

            layer.weight.data, layer.weight.quant_state = _convert_weight_packed_for_cpu_inverse(
                layer.weight.data, layer.weight.quant_state
            )
        blocksize = layer.weight.quant_state.blocksize
        self.step = blocksize // math.gcd(blocksize, layer.in_features)  # rows that end where a block ends

    def piece(self, rows: slice) -> Tensor:
        """Consecutive rows [n, in]."""
        from bitsandbytes.functional import QuantState, dequantize_4bit, dequantize_blockwise

        state, inputs = self.weight.quant_state, self.shape[1]
        start = rows.start // self.step * self.step
        stop = min(-(-rows.stop // self.step) * self.step, self.shape[0])
        blocks = slice(start * inputs // state.blocksize, -(-stop * inputs // state.blocksize))
        scales = state.absmax
        if state.nested:
            scales = dequantize_blockwise(scales, state.state2) + state.offset
        part = QuantState(
            absmax=scales[blocks].float(),
            shape=torch.Size((stop - start, inputs)),
            code=state.code,
            blocksize=state.blocksize,
            quant_type=state.quant_type,
            dtype=torch.float32,
        )
        packed = self.weight.data.view(torch.uint8).flatten()[start * inputs // 2 : -(-stop * inputs // 2)]
        return dequantize_4bit(packed.view(-1, 1), part)[rows.start - start : rows.stop - start]

    def at(self, index: Tensor) -> Tensor:
        """The rows [n, in] at an index tensor [n]."""
        return torch.cat([self.piece(slice(i, i + 1)) for i in index.tolist()])


class EightBitRows(QuantisedRows):
    """bitsandbytes 8 bit (LLM.int8; Dettmers et al. 2022, arXiv 2208.07339): a scale a row."""

    def __init__(self, layer: Any) -> None:
        super().__init__(layer.weight, (layer.out_features, layer.in_features))
        self.scale = layer.weight.SCB if getattr(layer.weight, "SCB", None) is not None else layer.state.SCB

    def piece(self, rows: slice) -> Tensor:
        """Consecutive rows [n, in]."""
        return self._scaled(rows)

    def at(self, index: Tensor) -> Tensor:
        """The rows [n, in] at an index tensor [n]."""
        return self._scaled(index)

    def _scaled(self, rows: slice | Tensor) -> Tensor:
        return self.weight.data[rows].float() * (self.scale.to(self.weight.device)[rows, None] / 127)


class Float8Rows(QuantisedRows):
    """`Float8Linear`: fp8 codes, kept as bytes, and a scale for all or one a row."""

    def __init__(self, layer: Any) -> None:
        super().__init__(layer.codes, (layer.out_features, layer.in_features))
        self.kind, self.scale = layer.kind, layer.scale

    def piece(self, rows: slice) -> Tensor:
        """Consecutive rows [n, in]."""
        return self._scaled(rows)

    def at(self, index: Tensor) -> Tensor:
        """The rows [n, in] at an index tensor [n]."""
        return self._scaled(index)

    def _scaled(self, rows: slice | Tensor) -> Tensor:
        scale = self.scale if self.scale.ndim == 0 else self.scale[rows]
        return self.dense[rows].view(self.kind).float() * scale


def weight_rows(layer: nn.Module) -> WeightRows:
    """The reader for a frozen linear layer. Raises InputError for storage that it cannot read."""
    if isinstance(layer, Float8Linear):
        return Float8Rows(layer)
    weight: Any = layer.weight
    kind = type(weight).__name__
    if kind == "Params4bit" and weight.quant_state is not None:
        return FourBitRows(layer)
    if kind == "Int8Params" and weight.dtype == torch.int8:
        return EightBitRows(layer)
    if not isinstance(weight, Tensor) or not weight.dtype.is_floating_point or weight.ndim != 2:
        raise InputError(
            f"a {type(layer).__name__} that stores its weight as {kind} cannot be adapted; use a plain linear layer "
            "or bitsandbytes 4 or 8 bit, quantised (moved to its device) before the adapter is added"
        )
    return WeightRows(weight, (weight.shape[0], weight.shape[1]))
