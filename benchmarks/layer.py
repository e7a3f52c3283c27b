"""Training through one adapted linear layer: WDLoRA and peft's DoRA, each against peft's plain LoRA."""

from collections.abc import Callable
from typing import Any

import peft
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.timing import interleave, table
from wdlora.layer import inject

TITLE = "The trainable layer: forward and backward of a 3072² linear"
WIDTH = 3072
RANKS = (8, 16, 32)
TOKENS = (64, 512, 1152)
DTYPES = (torch.float32, torch.bfloat16)
SECONDS_A_ROW = 10.0


class PeakMemory(TorchDispatchMode):
    """The most bytes of tensors alive at once among those made while it is on, kernels' own scratch aside."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[StorageWeakRef, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {id(t) for t in args if isinstance(t, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        outputs = result if isinstance(result, tuple | list) else (result,)
        for tensor in outputs:
            if isinstance(tensor, torch.Tensor) and id(tensor) not in before and not func.is_view:
                storage = tensor.untyped_storage()
                self.alive[StorageWeakRef(storage)] = storage.nbytes()
        self.alive = {ref: size for ref, size in self.alive.items() if not ref.expired()}
        self.peak = max(self.peak, sum(self.alive.values()))
        return result


def adapted(kind: str, rank: int, dtype: torch.dtype) -> torch.nn.Module:
    """A 3072² linear layer in `dtype` with an adapter that has been trained a little."""
    rng = torch.Generator().manual_seed(0)
    model: Any = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH, dtype=dtype)).requires_grad_(False)
    config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=["0"], use_dora=kind != "LoRA")
    if kind == "WDLoRA":
        inject(model, config)
    else:
        peft.inject_adapter_in_model(config, model)
    with torch.no_grad():
        b = model[0].lora_B["default"].weight
        b.copy_(1e-3 * torch.randn(b.shape, generator=rng))
    return model


def step(model: torch.nn.Module, x: torch.Tensor, dy: torch.Tensor) -> Callable[[], None]:
    """One forward and backward pass, gradients of the input and of the adapter included."""

    def call() -> None:
        x.grad = None
        model.zero_grad(set_to_none=True)
        model(x).backward(dy)

    return call


def measured_row(rank: int, tokens: int, dtype: torch.dtype, seconds: float = SECONDS_A_ROW) -> list[str]:
    """One row of the table."""
    x = torch.randn(1, tokens, WIDTH, dtype=dtype, requires_grad=True)
    dy = torch.randn(1, tokens, WIDTH, dtype=dtype)
    calls = {kind: step(adapted(kind, rank, dtype), x, dy) for kind in ("LoRA", "DoRA", "WDLoRA")}
    pilot = interleave(calls, rounds=1, warmup=1)
    rounds = max(9, min(101, int(seconds / sum(pilot.values()))))
    times = interleave(calls, rounds=rounds, warmup=1)
    peaks = {}
    for kind, call in calls.items():
        x.grad = None
        with PeakMemory() as memory:
            call()
        peaks[kind] = memory.peak
    ratios = [f"{times[kind] / times['LoRA']:.2f}" for kind in ("DoRA", "WDLoRA")]
    megabytes = [f"{peaks[kind] / 1e6:.1f}" for kind in ("LoRA", "DoRA", "WDLoRA")]
    memory_ratio = f"{peaks['WDLoRA'] / peaks['LoRA']:.2f}"
    name = str(dtype).removeprefix("torch.")
    return [name, str(tokens), str(rank), f"{1e3 * times['LoRA']:.1f}", *ratios, *megabytes, memory_ratio]


def run() -> str:
    """The table, as Markdown."""
    header = ["dtype", "tokens", "rank", "peft LoRA, ms", "peft DoRA ÷ LoRA", "WDLoRA ÷ LoRA"]
    header += ["peak MB: LoRA", "DoRA", "WDLoRA", "WDLoRA ÷ LoRA"]
    rows = [measured_row(rank, tokens, dtype) for dtype in DTYPES for tokens in TOKENS for rank in RANKS]
    return table(header, rows) + (
        "\n\nMedians of interleaved runs. Peak MB counts the tensors made in a forward and backward pass, gradients "
        "included; kernels' own scratch memory is not seen. WDLoRA keeps A, B and the magnitude in float32 on every "
        "base, peft its adapters in the base's dtype."
    )
