"""Beside ComfyUI's own LoRAs: stacked with one, against the stock evaluation, exported, on another base."""

from typing import Any

import comfy.lora
import comfy.sd
import torch
from comfy.weight_adapter.lora import LoRAAdapter
from common import (
    ENGINE,
    adapters,
    away,
    base_weights,
    digest,
    fresh,
    miniature,
    patched_weight,
    patching,
    random_adapter,
    velocity,
    weight_patch,
)


def core_lora(model: Any, adapter: Any, strength: float = 1.0) -> Any:
    """A plain LoRA through ComfyUI's own loader."""
    loaded, _ = comfy.sd.load_lora_for_models(model, None, adapter.state_dict("comfyui"), strength, 0)
    return loaded


def check_stacking() -> dict[str, Any]:
    """With a core LoRA before and after: what order changes, and how much of the LoRA is left."""
    model = fresh()
    weights = {name: tensor.clone() for name, tensor in base_weights(model).items()}
    ours, theirs = random_adapter(weights, spread=0.03), random_adapter(weights, magnitude=False, seed=6)
    before = digest(model)
    plain = velocity(model)
    both = {
        "LoRA first": ENGINE.patch(core_lora(model, theirs), ours, 1, 1)[0],
        "WDLoRA first": core_lora(ENGINE.patch(model, ours, 1, 1)[0], theirs),
    }
    results, worst = {}, 0.0
    for order, stacked in both.items():
        results[order] = velocity(stacked)
        for name, layer in ours.layers.items():
            base, other = weights[f"{name}.weight"].double(), theirs.layers[name]
            g = layer.gain(base)
            low, more = layer.lora_b.double() @ layer.lora_a.double(), other.lora_b.double() @ other.lora_a.double()
            exact = g * (base + more + low) if order == "LoRA first" else g * (base + low) + more
            worst = max(worst, float((patched_weight(stacked, name).double() - exact).norm() / (exact - base).norm()))
        away(stacked)
    update = (results["LoRA first"] - plain).norm()
    return {
        "error_of_update": worst,
        "order_changes_of_update": float((results["LoRA first"] - results["WDLoRA first"]).norm() / update),
        "restored": digest(model) == before,
    }


def check_stock() -> dict[str, Any]:
    """Stock ComfyUI's evaluation of one weight-decomposed layer against Eq. 6, for shapes as files have them."""
    found = {}
    generator = torch.Generator().manual_seed(0)
    for ratio in (0.05, 0.3, 1.0):
        figures = found[f"{ratio:g}"] = {}
        for shape in ((192, 128), (128, 128)):
            weight = torch.randn(shape, generator=generator) / 128**0.5
            a, b = torch.randn(8, shape[1], generator=generator), torch.randn(shape[0], 8, generator=generator)
            b *= ratio * weight.norm() / (b @ a).norm()
            m = weight.norm(dim=1) * (1 + 0.1 * torch.randn(shape[0], generator=generator))
            layer = adapters.AdapterLayer(a, b, m, 1.0)
            exact = layer.compose(weight.double())

            def error(patch: Any) -> float:
                result = comfy.lora.calculate_weight([(1.0, patch, 1.0, None, None)], weight.clone(), "w")  # noqa: B023
                return float((result - exact).norm() / (exact - weight).norm())  # noqa: B023

            def stock(scale: torch.Tensor) -> float:
                return error(LoRAAdapter(set(), (b, a, None, None, scale, None)))  # noqa: B023

            if shape[0] == shape[1]:
                figures["stock, dora_scale [out] on a square weight"] = stock(m)
                continue
            ours = patching.WDLoRA(set(), (a, b, weight_patch.Gain(layer, 1.0, 1.0), 1.0, 1.0, "output"))
            figures["this pack"] = error(ours)
            figures["stock, dora_scale [out, 1]"] = stock(m[:, None])
            figures["stock, bound export"] = stock((m * weight.norm(dim=1) / (weight + b @ a).norm(dim=1))[:, None])
            figures["stock, dora_scale [out] on another weight"] = stock(m)  # refused in the log, nothing applied
    return found


def check_export() -> dict[str, Any]:
    """The same adapter through this pack and, exported for ComfyUI, through its own LoRA loader."""
    model = fresh()
    weights = {name: tensor.clone() for name, tensor in base_weights(model).items()}
    adapter = random_adapter(weights)
    plain = velocity(model)
    ours, _ = ENGINE.patch(model, adapter, 1, 1)
    mine = velocity(ours)
    away(ours)
    found = {}
    unbound = {}
    for name, layer in adapter.layers.items():
        key = f"diffusion_model.{name}"
        unbound |= {f"{key}.lora_up.weight": layer.lora_b, f"{key}.lora_down.weight": layer.lora_a}
        unbound |= {f"{key}.alpha": torch.tensor(layer.alpha), f"{key}.dora_scale": layer.magnitude[:, None]}
    peft_keys = adapter.state_dict("peft")
    for kind, tensors in (
        ("bound export", adapter.state_dict("comfyui", weights)),
        ("magnitudes as they are", unbound),
    ):
        loaded, _ = comfy.sd.load_lora_for_models(model, None, dict(tensors), 1.0, 0)
        found[kind] = float((velocity(loaded) - mine).norm() / (mine - plain).norm())
        away(loaded)
    loaded, _ = comfy.sd.load_lora_for_models(model, None, dict(peft_keys), 1.0, 0)
    found["peft's own keys loaded"] = len(loaded.patches)
    return found


def check_base() -> dict[str, Any]:
    """What is said of another base than the adapter was trained on, from a few layers' row norms."""
    model = fresh()
    adapter = random_adapter(base_weights(model))
    adapter.record_base(str(miniature.transformer))
    own = ENGINE.patch(model, adapter, 1, 1)[1].base
    adapter.row_norms = {name: 1.1 * norm for name, norm in adapter.row_norms.items()}
    return {"own": own, "other": ENGINE.patch(model, adapter, 1, 1)[1].base}
