"""The adapter on every storage: weights written, streamed, rebuilt, quantised, in GGUF."""

import importlib
import json
from typing import Any

import comfy.lora
import comfy.model_detection
import comfy.model_patcher
import comfy.sd
import comfy.utils
import torch
from common import (
    ENGINE,
    GGUF,
    away,
    base_weights,
    digest,
    fresh,
    load_pack,
    loading,
    management,
    miniature,
    patched_weight,
    patching,
    random_adapter,
    relative,
    velocity,
    weight_patch,
)


def check_patch() -> dict[str, Any]:
    """Full load on 32-bit storage: the weights are `compose`'s, and the base comes back bit for bit."""
    model = fresh()
    before, plain = digest(model), velocity(model)
    weights = {name: tensor.clone() for name, tensor in base_weights(model).items()}
    found: dict[str, Any] = {"strengths": {}}
    for axis in ("output", "input"):
        adapter = random_adapter(weights, axis=axis)
        for d, k in [(0, 0), (0, 1), (1, 0), (0.5, 0.5), (1, 1), (-1, 2)]:
            patched, report = ENGINE.patch(model, adapter, d, k)
            out = velocity(patched)
            worst = 0.0
            for name, layer in adapter.layers.items():
                base = weights[f"{name}.weight"]
                exact = layer.compose(base.double(), d, k)
                difference = (patched_weight(patched, name).double() - exact).norm()
                worst = max(
                    worst, float(difference / max(float((exact - base).norm()), 1e-9 + 1e-7 * float(base.norm())))
                )
            found["strengths"][f"{axis} {d:g}/{k:g}"] = {
                "error_of_update": worst,
                "moves": relative(out, plain),
                "matched": len(report.matched),
            }
            away(patched)
            found.setdefault("restored", []).append(digest(model) == before)
    found["again"] = relative(velocity(model), plain)
    found["layers"] = len(adapter.layers)
    return found


def check_low_vram() -> dict[str, Any]:
    """Weights that stay in main memory and are patched at every use give what a full load gives; also in 16 bits."""
    found = {}
    for dtype in ("float32", "bfloat16"):
        model = fresh(dtype)
        adapter = random_adapter(base_weights(model))
        before = digest(model)
        patched, _ = ENGINE.patch(model, adapter, 1, 1)
        full, plain = velocity(patched), None
        away(patched)
        plain = velocity(model)
        away(model)
        patched.patch_model(torch.device("cpu"), lowvram_model_memory=1)
        counted = patched.lowvram_patch_counter()
        low = velocity(patched, load=False)
        low_again = velocity(patched, load=False)
        patched.detach()
        found[dtype] = {
            "lowvram_patches": counted,
            "difference_of_update": float((low - full).norm() / (full - plain).norm()),
            "steps_alike": bool(torch.equal(low, low_again)),
            "restored": digest(model) == before,
        }
    return found


def check_rebuilt() -> dict[str, Any]:
    """ComfyUI rebuilds adapters from `weights` when it streams them: the same result."""
    model = fresh()
    adapter = random_adapter(base_weights(model))
    patched, _ = ENGINE.patch(model, adapter, 1, 0.5)
    key = next(iter(patched.patches))
    weight = comfy.utils.get_attr(model.model, key)
    plain = comfy.lora.calculate_weight(patched.patches[key], weight.clone(), key)
    again, _ = ENGINE.patch(model, adapter, 1, 0.5)
    patch = comfy.model_patcher.LowVramPatch(key, again.patches)
    room = torch.empty(patch.memory_required(), dtype=torch.uint8)
    patch.prepare(room, None)
    rebuilt = patch(weight.clone())
    return {"bytes": patch.memory_required(), "same": bool(torch.equal(plain, rebuilt))}


def check_quantised() -> dict[str, Any]:
    """fp8 as it is, fp8 with scales and int8: layer outputs against the compute type's own rounding, ten times."""
    full = fresh("bfloat16")
    names = [name for name in base_weights(full) if name.startswith("transformer_blocks") and name.endswith(".weight")]
    tensors, metadata = comfy.utils.load_torch_file(str(miniature.transformer), return_metadata=True)
    dimensions = loading.transformer_config(loading.Checkpoint(miniature.transformer))
    found = {}
    for kind in ("fp8", "scaled fp8", "int8"):
        held = dict(tensors)
        if kind == "fp8":
            model = fresh("fp8_e4m3fn")
        else:
            for name in names:
                if held[name].ndim != 2:
                    continue
                weight, layer = held[name].float(), name.removesuffix(".weight")
                largest, marker = (448.0, "float8_e4m3fn") if kind == "scaled fp8" else (127.0, "int8_tensorwise")
                scale = weight.abs().max() / largest
                stored = torch.float8_e4m3fn if kind == "scaled fp8" else torch.int8
                codes = weight / scale if kind == "scaled fp8" else (weight / scale).round()
                held[name] = codes.to(stored)
                held[f"{layer}.weight_scale"] = scale.clone()
                conf = json.dumps({"format": marker}).encode()
                held[f"{layer}.comfy_quant"] = torch.tensor(list(conf), dtype=torch.uint8)
            manual_cast = management.unet_manual_cast
            management.unet_manual_cast = lambda *_, **__: torch.bfloat16  # as it is on a GPU
            try:
                model = loading.any_width(dimensions, held, {}, metadata, False)
            finally:
                management.unet_manual_cast = manual_cast
        model.set_model_compute_dtype(torch.bfloat16)
        before = digest(model)
        some = [name for name in adapter_names(model) if name.endswith("to_q") or name.endswith("net.2")]
        base = {n: patching.pristine(model.model, {}, f"diffusion_model.{n}.weight", "cpu") for n in some}
        adapter = random_adapter({f"{n}.weight": w for n, w in base.items()})
        patched, report = ENGINE.patch(model, adapter, 1, 1)
        management.load_models_gpu([patched], force_full_load=True)
        ratios, alike, of_update, stock = [], [], [], []
        generator = torch.Generator().manual_seed(3)
        for name, layer in adapter.layers.items():
            module = patched.model.diffusion_model.get_submodule(name)
            x = torch.randn(64, layer.shape[1], generator=generator).to(torch.bfloat16)
            exact = layer.compose(base[name].double())
            bias = 0 if module.bias is None else module.bias.double()
            wanted = x.double() @ exact.T + bias
            update = (wanted - (x.double() @ base[name].double().T + bias)).norm()
            rounded_once = torch.nn.functional.linear(
                x, exact.to(torch.bfloat16), None if module.bias is None else module.bias.to(torch.bfloat16)
            )
            with torch.inference_mode():
                outputs = [module(x) for _ in range(10)]
            error = float((outputs[0].double() - wanted).norm())
            ratios.append(error / float((rounded_once.double() - wanted).norm()))
            of_update.append(error / float(update))
            alike.append(all(torch.equal(outputs[0], one) for one in outputs[1:]))
        away(patched)
        rounded = model.clone()
        for name, layer in adapter.layers.items():  # what a weight patch, rounded to the storage again, would cost
            gain = weight_patch.Gain(layer, 1.0, 1.0)
            state = (layer.lora_a, layer.lora_b, gain, layer.scaling, 1.0, layer.axis)
            rounded.add_patches({f"diffusion_model.{name}.weight": patching.WDLoRA(set(), state)})
        management.load_models_gpu([rounded], force_full_load=True)
        for name, layer in adapter.layers.items():
            kept = patching.pristine(rounded.model, {}, f"diffusion_model.{name}.weight", "cpu").double()
            exact = layer.compose(base[name].double())
            stock.append(float((kept - exact).norm() / (exact - base[name]).norm()))
        away(rounded)
        found[kind] = {
            "layers": len(report.matched),
            "wrapped": len(patched.weight_wrapper_patches),
            "patched": len(patched.patches),
            "worst_ratio_to_rounding": max(ratios),
            "worst_error_of_update": max(of_update),
            "ten_alike": all(alike),
            "restored": digest(model) == before,
            "a_patch_would_lose": max(stock),
        }
    return found


def check_kept_in_fp8() -> dict[str, Any]:
    """Layers that hold the file's bfloat16 and say that the accelerator keeps fp8, as dynamic VRAM leaves them."""
    model = fresh("bfloat16")
    names = adapter_names(model)
    for name in names:
        model.model.diffusion_model.get_submodule(name).weight_comfy_model_dtype = torch.float8_e4m3fn
    key = f"diffusion_model.{names[0]}.weight"
    weight = model.model.diffusion_model.get_submodule(names[0]).weight
    seen = patching.pristine(model.model, {}, key, "cpu")
    patched, report = ENGINE.patch(model, random_adapter(base_weights(model)), 1, 1)
    return {
        "layers": len(report.matched),
        "wrapped": len(patched.weight_wrapper_patches),
        "patched": len(patched.patches),
        "gain_is_of_what_is_kept": torch.equal(seen, weight.to(torch.float8_e4m3fn).float()),
    }


def adapter_names(model: Any) -> list[str]:
    """Modules of the blocks that an adapter may change."""
    found = []
    for name, module in model.model.diffusion_model.named_modules():
        weight = getattr(module, "weight", None)
        if name.startswith("transformer_blocks") and weight is not None and len(weight.shape) == 2:
            found.append(name)
    return found


def check_gguf() -> dict[str, Any]:
    """ComfyUI-GGUF's layers with weights in Q8_0: patched after they are dequantised."""
    if GGUF is None:
        return {}
    import gguf

    load_pack(GGUF, "gguf_pack")
    ops = importlib.import_module("gguf_pack.ops")
    patchers = importlib.import_module("gguf_pack.nodes")
    tensors, metadata = comfy.utils.load_torch_file(str(miniature.transformer), return_metadata=True)
    held, base = {}, {}
    kind = gguf.GGMLQuantizationType.Q8_0
    for name, tensor in tensors.items():
        if name.startswith("transformer_blocks") and tensor.ndim == 2 and tensor.shape[1] % 32 == 0:
            codes = gguf.quants.quantize(tensor.float().numpy(), kind)
            held[name] = ops.GGMLTensor(torch.from_numpy(codes), tensor_type=kind, tensor_shape=tensor.shape)
            base[name] = torch.from_numpy(gguf.quants.dequantize(codes, kind))
        else:
            held[name] = tensor.float()
    dimensions = loading.transformer_config(loading.Checkpoint(miniature.transformer))
    detect = comfy.model_detection.detect_unet_config
    sizes = {n: dimensions[n] for n in ("attention_head_dim", "num_attention_heads", "joint_attention_dim")}
    sizes["axes_dims_rope"] = dimensions["axes_dims_rope"]
    comfy.model_detection.detect_unet_config = lambda *some, **more: detect(*some, **more) | sizes
    try:  # as ComfyUI-GGUF's loader does it, with ComfyUI's detection told the small model's sizes
        model = comfy.sd.load_diffusion_model_state_dict(held, {"custom_operations": ops.GGMLOps()}, metadata)
    finally:
        comfy.model_detection.detect_unet_config = detect
    model = patchers.GGUFModelPatcher.clone(model)
    adapter = random_adapter(base)
    plain = velocity(model)
    patched, report = ENGINE.patch(model, adapter, 1, 1)
    adapted = velocity(patched)
    errors = []
    for name, layer in adapter.layers.items():
        module = patched.model.diffusion_model.get_submodule(name)
        weight, _ = module.cast_bias_weight(torch.zeros(1))
        exact = layer.compose(base[f"{name}.weight"].double())
        errors.append(float((weight.double() - exact).norm() / (exact - base[f"{name}.weight"]).norm()))
    away(patched)
    return {
        "layers": len(report.matched),
        "error_of_update": max(errors),
        "moves": relative(adapted, plain),
        "restored": relative(velocity(model), plain),
    }
