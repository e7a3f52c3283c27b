"""Merging an adapter into a weight: WDLoRA's row chunks against peft's DoRA merge."""

from collections.abc import Callable
from typing import Any

import peft
import torch

from benchmarks.timing import interleave, table
from wdlora.decomposition import compose
from wdlora.layer import inject

TITLE = "Merging one adapter, rank 16"
SHAPES = (((3072, 3072), torch.bfloat16), ((3072, 3072), torch.float32), ((12288, 3072), torch.bfloat16))
SECONDS_A_ROW = 15.0


def adapted(shape: tuple[int, int], dtype: torch.dtype, by_peft: bool) -> Any:
    """A linear layer with the same slightly trained weight-decomposed adapter, in peft's form or in ours."""
    rng = torch.Generator().manual_seed(0)
    model: Any = torch.nn.Sequential(torch.nn.Linear(shape[1], shape[0], dtype=dtype)).requires_grad_(False)
    with torch.no_grad():
        model[0].weight.copy_(torch.randn(shape, generator=rng) / shape[1] ** 0.5)
    config = peft.LoraConfig(r=16, lora_alpha=16, target_modules=["0"], use_dora=True)
    if by_peft:
        peft.inject_adapter_in_model(config, model)
    else:
        inject(model, config)
    with torch.no_grad():
        a, b = model[0].lora_A["default"].weight, model[0].lora_B["default"].weight
        a.copy_(torch.randn(a.shape, generator=rng) / shape[1] ** 0.5)
        b.copy_(0.01 * torch.randn(b.shape, generator=rng))
        model[0].lora_magnitude_vector["default"].weight.mul_(1.01)
    return model


def merge(layer: Any) -> Callable[[], None]:
    """Merge, forgetting the merge before: the weight moves on, the work stays the same."""

    def call() -> None:
        layer.merged_adapters.clear()
        layer.merge()

    return call


def error(layer: Any) -> float:
    """‖merged − exact‖ / ‖exact − base‖ of a first merge, the exact weight from the layer's own tensors in float64."""
    base = layer.get_base_layer().weight.detach().double()
    a, b, m = (
        part["default"].weight.detach().double() for part in (layer.lora_A, layer.lora_B, layer.lora_magnitude_vector)
    )
    exact = compose(base, a, b, m, layer.scaling["default"])
    layer.merge()
    return float((layer.get_base_layer().weight.double() - exact).norm() / (exact - base).norm())


def measured_row(shape: tuple[int, int], dtype: torch.dtype, seconds: float = SECONDS_A_ROW) -> list[str]:
    """One row of the table."""
    theirs, ours = adapted(shape, dtype, True)[0], adapted(shape, dtype, False)[0]
    weight = ours.get_base_layer().weight.detach().clone()
    a, b, m = (part["default"].weight.detach() for part in (ours.lora_A, ours.lora_B, ours.lora_magnitude_vector))
    errors = {"peft": error(theirs), "ours": error(ours)}
    calls = {"peft": merge(theirs), "ours": merge(ours), "compose": lambda: compose(weight, a, b, m, 1.0)}
    pilot = interleave(calls, rounds=1, warmup=1)
    rounds = max(7, min(101, int(seconds / sum(pilot.values()))))
    times = interleave(calls, rounds=rounds, warmup=1)
    milliseconds = [f"{1e3 * times[name]:.1f}" for name in ("peft", "ours", "compose")]
    name = str(dtype).removeprefix("torch.")
    errors_of_update = [f"{errors[name]:.1e}" for name in ("peft", "ours")]
    return [f"{shape[0]}×{shape[1]}", name, *milliseconds, f"{times['ours'] / times['peft']:.2f}", *errors_of_update]


def run() -> str:
    """The table, as Markdown."""
    header = ["weight", "dtype", "peft merge, ms", "WDLoRA merge, ms", "`compose`, ms", "WDLoRA ÷ peft"]
    header += ["error ÷ update: peft", "WDLoRA"]
    return table(header, [measured_row(shape, dtype) for shape, dtype in SHAPES]) + (
        "\n\nMedians of interleaved runs. `merge` starts from an adapted layer, which knows ‖W‖² since injection; "
        "`compose` starts from bare tensors and returns a new weight. In 16-bit storage most of the error is the "
        "rounding of the stored result."
    )
