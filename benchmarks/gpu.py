"""Qwen-Image-Edit at full size with random weights on a GPU: seconds a training step and peak memory.

Not part of `make bench`: `make bench-gpu` runs it. Speed and memory do not depend on the weights' values, so none are
downloaded. The conditioning stands for the cached one: 300 tokens.
"""

import gc
import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.timing import table
from training.adaptation import prepare_transformer
from training.config import load_preset
from training.objective import batch_loss
from training.optimiser import build_optimiser
from training.prepare import Batch
from wdlora.errors import InputError
from wdlora.qwen.encode import Conditioning
from wdlora.weights.linear import Float8Linear, to_float8, to_nf4

TITLE = "Training at full size on a GPU, batch 1, gradient checkpointing, cached conditioning"

TEXT_TOKENS = 300
STEPS, WARMUP = 8, 3


def random_transformer(precision: str, device: torch.device, **shape: Any) -> Any:
    """The transformer with small random weights, its blocks stored at a precision of the presets.

    Of full size, unless `shape` holds other arguments of QwenImageTransformer2DModel.
    """
    from accelerate import init_empty_weights
    from diffusers import QwenImageTransformer2DModel

    with init_empty_weights():
        model = QwenImageTransformer2DModel(**shape).requires_grad_(False)
    for name, module in list(model.named_modules()):
        for key, parameter in list(module.named_parameters(recurse=False)):
            value = torch.randn(parameter.shape, device=device, dtype=torch.bfloat16) * 0.02
            module.register_parameter(key, torch.nn.Parameter(value, requires_grad=False))
        if isinstance(module, torch.nn.Linear) and name.startswith("transformer_blocks.") and precision != "bf16":
            parent = model.get_submodule(name.rpartition(".")[0])
            if precision == "fp8":
                codes, scale = to_float8(module.weight)
                stored: Any = Float8Linear(codes, scale, module.bias, torch.bfloat16)
            else:
                stored = to_nf4(module.weight, module.bias, device, torch.bfloat16)
            setattr(parent, name.rpartition(".")[2], stored)
    return model.to(device)


def random_batch(size: int, device: torch.device, joint_dim: int = 3584) -> Batch:
    """One training example of `size`² pixels."""
    shape = (1, 16, 1, size // 8, size // 8)
    return Batch(
        torch.randn(shape, device=device),
        (torch.randn(shape, device=device),),
        torch.zeros(1, size, size, dtype=torch.uint8, device=device),
        Conditioning(torch.randn(1, TEXT_TOKENS, joint_dim, device=device, dtype=torch.bfloat16)),
    )


def measure_sizes(precision: str, method: str, rank: int, sizes: tuple[int, ...]) -> dict[int, tuple[float, float]]:
    """Median seconds a step and peak GB at every size that fits."""
    results = {}
    try:
        for size, seconds, memory in _measured(precision, method, rank, sizes):
            results[size] = seconds, memory
    except RuntimeError as error:  # cuBLAS has a plain one where its workspace does not fit
        if not isinstance(error, torch.OutOfMemoryError) and "ALLOC_FAILED" not in str(error):
            raise
    gc.collect()
    torch.cuda.empty_cache()
    return results


def _measured(precision: str, method: str, rank: int, sizes: tuple[int, ...]) -> Iterator[tuple[int, float, float]]:
    device = torch.device("cuda")
    config = load_preset("paper_r16", {"method": method, "rank": rank, "alpha": float(rank), "precision": precision})
    transformer = prepare_transformer(random_transformer(precision, device), config).train()
    optimiser = build_optimiser({n: p for n, p in transformer.named_parameters() if p.requires_grad}, config)
    for size in sizes:
        batch = random_batch(size, device)
        generator = torch.Generator().manual_seed(0)
        seconds = []
        torch.cuda.reset_peak_memory_stats()
        for _ in range(WARMUP + STEPS):
            torch.cuda.synchronize()
            start = time.perf_counter()
            batch_loss(transformer, batch, config, generator).backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        yield size, statistics.median(seconds[WARMUP:]), torch.cuda.max_memory_allocated() / 1e9


def row(precision: str, size: int, lora: tuple[float, float] | None, wdlora: tuple[float, float] | None) -> list[str]:
    """The figures of one storage and size, (seconds, GB) each; None does not fit on the card."""
    (a, memory_a), (b, memory_b) = (
        ("does not fit", "–") if one is None else (f"{one[0]:.3f}", f"{one[1]:.1f}") for one in (lora, wdlora)
    )
    ratio = f"{wdlora[0] / lora[0]:.3f}" if lora and wdlora else "–"
    return [precision, f"{size}²", a, b, ratio, memory_a, memory_b]


def run() -> str:
    """The table. Raises InputError where there is no GPU."""
    if not torch.cuda.is_available():
        raise InputError("PyTorch finds no CUDA device here, and this suite measures one; nothing was written")
    rows = []
    sizes, rank = (384, 512), 16
    for precision in ("bf16", "fp8", "nf4"):
        lora, wdlora = (measure_sizes(precision, method, rank, sizes) for method in ("lora", "wdlora"))
        rows += [row(precision, size, lora.get(size), wdlora.get(size)) for size in sizes]
    header = ["storage", "image", "LoRA, s", "WDLoRA, s", "WDLoRA ÷ LoRA", "LoRA, GB", "WDLoRA, GB"]
    name = torch.cuda.get_device_name()
    return f"{table(header, rows)}\n\nRank {rank}, {name}. Medians of {STEPS} steps after {WARMUP}."
