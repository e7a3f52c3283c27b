"""Checks that run in ComfyUI's own Python, on its own ModelPatcher, samplers and loaders, without its server.

    PYTHON inside.py COMFYUI_FOLDER PACK_FOLDER DIFFUSERS_FOLDER OUT.json [GGUF_PACK_FOLDER|-] [CHECK …]

DIFFUSERS_FOLDER holds the miniature in diffusers' layout.

Every function named `check_…` returns figures; `test_inside.py` says what they must be. Nothing here is random from
run to run.
"""

import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

COMFYUI, PACK, DIFFUSERS, OUT = (Path(argument).absolute() for argument in sys.argv[1:5])
GGUF = Path(sys.argv[5]) if len(sys.argv) > 5 and sys.argv[5] != "-" else None
ONLY = sys.argv[6:]
sys.argv = [sys.argv[0], "--cpu"]
sys.path.insert(0, str(COMFYUI))

import torch  # noqa: E402

torch.set_num_threads(1)

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import comfy.lora  # noqa: E402
import comfy.model_detection  # noqa: E402
import comfy.model_management as management  # noqa: E402
import comfy.model_patcher  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.utils  # noqa: E402
from comfy.weight_adapter.lora import LoRAAdapter  # noqa: E402


def load_pack(folder: Path, name: str) -> Any:
    """Import a custom node's folder under a name of its own, as ComfyUI does."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


load_pack(PACK, "pack")
engine_module = importlib.import_module("pack.nodes.comfy_engine")
decomposition = importlib.import_module("pack.wdlora.decomposition")
adapters = importlib.import_module("pack.wdlora.adapter")
miniature = importlib.import_module("pack.wdlora.qwen.miniature_files").miniature_files()
ENGINE = engine_module.ComfyEngine()
RANK = 4
UPDATE = 0.1  # ‖sBA‖ against ‖W‖


def fresh(dtype: str = "float32") -> Any:
    """The miniature's MODEL."""
    return ENGINE.load_model(str(miniature.transformer), dtype, "edit")


def base_weights(model: Any) -> dict[str, Any]:
    """The transformer's state."""
    state: dict[str, Any] = model.model.diffusion_model.state_dict()
    return state


def digest(model: Any) -> str:
    """SHA-256 over all bytes of the transformer."""
    total = hashlib.sha256()
    for name, tensor in sorted(base_weights(model).items()):
        total.update(name.encode())
        if tensor.numel():
            total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def random_adapter(
    weights: dict[str, Any], magnitude: bool = True, seed: int = 5, axis: str = "output", spread: float = 0.05
) -> Any:
    """An adapter of attention and MLP layers: updates of a tenth of the weight, magnitudes `spread` off its norms."""
    generator = torch.Generator().manual_seed(seed)
    layers = {}
    for name, weight in weights.items():
        if not name.endswith((".to_q.weight", ".to_out.0.weight", ".net.2.weight", ".add_v_proj.weight")):
            continue
        weight = weight.float()
        a = torch.randn(RANK, weight.shape[1], generator=generator)
        b = torch.randn(weight.shape[0], RANK, generator=generator)
        b *= UPDATE * weight.norm() / (b @ a).norm()
        norm = weight.norm(dim=1 if axis == "output" else 0)
        m = norm * (1 + spread * torch.randn(norm.shape, generator=generator))
        layers[name.removesuffix(".weight")] = adapters.AdapterLayer(a, b, m if magnitude else None, 1.0, axis)
    return adapters.Adapter(layers)


def velocity(model: Any, load: bool = True) -> torch.Tensor:
    """The transformer's answer to fixed inputs."""
    if load:
        management.load_models_gpu([model], force_full_load=True)
    generator = torch.Generator().manual_seed(9)
    x = torch.randn(1, 16, 1, 8, 12, generator=generator)
    width = model.model.diffusion_model.txt_norm.weight.shape[0]
    context = torch.randn(1, 9, width, generator=generator)
    reference = torch.randn(1, 16, 1, 8, 12, generator=generator)
    with torch.inference_mode():
        return model.model.apply_model(
            x, torch.tensor([0.7]), c_crossattn=context, ref_latents=[reference], transformer_options={}
        ).float()


def away(model: Any) -> None:
    """Take the model off the device, as ComfyUI does when another needs the room."""
    management.unload_all_models()
    model.detach()


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    """‖one − other‖ / ‖other‖."""
    return float((one.double() - other.double()).norm() / other.double().norm())


def patched_weight(model: Any, name: str) -> torch.Tensor:
    return model.model.diffusion_model.get_submodule(name).weight.detach().clone()


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
    dimensions = engine_module.transformer_config(engine_module.Checkpoint(miniature.transformer))
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
                model = engine_module._any_width(dimensions, held, {}, metadata, False)
            finally:
                management.unet_manual_cast = manual_cast
        model.set_model_compute_dtype(torch.bfloat16)
        before = digest(model)
        some = [name for name in adapter_names(model) if name.endswith("to_q") or name.endswith("net.2")]
        base = {n: engine_module.pristine(model.model, {}, f"diffusion_model.{n}.weight", "cpu") for n in some}
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
            floor = torch.nn.functional.linear(
                x, exact.to(torch.bfloat16), None if module.bias is None else module.bias.to(torch.bfloat16)
            )
            with torch.inference_mode():
                outputs = [module(x) for _ in range(10)]
            error = float((outputs[0].double() - wanted).norm())
            ratios.append(error / float((floor.double() - wanted).norm()))
            of_update.append(error / float(update))
            alike.append(all(torch.equal(outputs[0], one) for one in outputs[1:]))
        away(patched)
        rounded = model.clone()
        for name, layer in adapter.layers.items():  # what a weight patch, rounded to the storage again, would cost
            gain = importlib.import_module("pack.nodes.weight_patch").Gain(layer, 1.0, 1.0)
            state = (layer.lora_a, layer.lora_b, gain, layer.scaling, 1.0, layer.axis)
            rounded.add_patches({f"diffusion_model.{name}.weight": engine_module.WDLoRA(set(), state)})
        management.load_models_gpu([rounded], force_full_load=True)
        for name, layer in adapter.layers.items():
            kept = engine_module.pristine(rounded.model, {}, f"diffusion_model.{name}.weight", "cpu").double()
            exact = layer.compose(base[name].double())
            stock.append(float((kept - exact).norm() / (exact - base[name]).norm()))
        away(rounded)
        found[kind] = {
            "layers": len(report.matched),
            "wrapped": len(patched.weight_wrapper_patches),
            "patched": len(patched.patches),
            "worst_ratio_to_floor": max(ratios),
            "worst_error_of_update": max(of_update),
            "ten_alike": all(alike),
            "restored": digest(model) == before,
            "a_patch_would_lose": max(stock),
        }
    return found


def adapter_names(model: Any) -> list[str]:
    """Modules of the blocks that an adapter may change."""
    found = []
    for name, module in model.model.diffusion_model.named_modules():
        weight = getattr(module, "weight", None)
        if name.startswith("transformer_blocks") and weight is not None and len(weight.shape) == 2:
            found.append(name)
    return found


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
    weight_patch = importlib.import_module("pack.nodes.weight_patch")
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
            ours = engine_module.WDLoRA(set(), (a, b, weight_patch.Gain(layer, 1.0, 1.0), 1.0, 1.0, "output"))
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


def check_tokens() -> dict[str, Any]:
    """The miniature's CLIP keeps every token of a prompt after the template, with one picture and with two."""
    encode = importlib.import_module("pack.wdlora.qwen.encode")
    view = importlib.import_module("pack.wdlora.qwen.view")
    clip = ENGINE.load_clip(str(miniature.text_encoder))
    words = importlib.import_module("pack.wdlora.qwen.miniature_files").miniature_tokenizer()
    found = {}
    image = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(0))
    side = view.view_size(64, 96)
    count = side[0] * side[1] // 28**2
    for variant, images in (("edit", [image]), ("2511", [image, image])):
        text = encode.prompt_text("thin (curved:1.2) nerves", len(images), variant)
        ids, _, prefix = encode.token_ids(words, text, [count] * len(images))
        conditioning = ENGINE.encode(clip, "thin (curved:1.2) nerves", images, variant)
        found[variant] = {"kept": conditioning[0][0].shape[1], "expected": len(ids) - prefix}
    core = clip.encode_from_tokens_scheduled(clip.tokenize("thin nerves", images=[image]))
    ids, _, prefix = encode.token_ids(words, encode.prompt_text("thin nerves", 1, "edit"), [count])
    found["core node"] = {"kept": core[0][0].shape[1], "expected": len(ids) - prefix}
    return found


def check_cloned() -> dict[str, Any]:
    """Nodes that build a MODEL anew from its factory get the same weights."""
    model = fresh()
    factory, arguments = model.cached_patcher_init[:2]
    again = factory(*arguments, disable_dynamic=True)
    clip = ENGINE.load_clip(str(miniature.text_encoder))
    factory, arguments = clip.patcher.cached_patcher_init[:2]
    twin = factory(*arguments, disable_dynamic=True)
    one, other = clip.patcher.model.state_dict(), twin.model.state_dict()
    return {
        "model": digest(again) == digest(model),
        "clip": all(torch.equal(one[name], other[name]) for name in one),
        "file": Path(engine_module.file_of(model)).name,
    }


def check_diffusers_folder() -> dict[str, Any]:
    """The same model from shards in diffusers' layout: transformer, text encoder with its tokenizer, VAE."""
    image = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(0))
    found: dict[str, Any] = {}
    models, clips, latents, pictures = [], [], [], []
    for place in (None, str(DIFFUSERS)):
        models.append(velocity(ENGINE.load_model(place or str(miniature.transformer), "float32", "edit")))
        clips.append(ENGINE.encode(ENGINE.load_clip(place or str(miniature.text_encoder)), "nerves", [image], "edit"))
        vae = ENGINE.load_vae(place or str(miniature.vae))
        latents.append(ENGINE.vae_encode(vae, image))
        pictures.append(ENGINE.vae_decode(vae, latents[0]))
    found["model"], found["latents"] = relative(models[1], models[0]), relative(latents[1], latents[0])
    found["clip"], found["picture"] = relative(clips[1][0][0], clips[0][0][0]), relative(pictures[1], pictures[0])
    marked = ENGINE.load_model(str(DIFFUSERS), "float32", "2511").model.diffusion_model
    found["2511 sees references at"] = marked.default_ref_method
    return found


def check_base() -> dict[str, Any]:
    """What is said of another base than the adapter was trained on, from a few layers' row norms."""
    model = fresh()
    adapter = random_adapter(base_weights(model))
    adapter.record_base(str(miniature.transformer))
    own = ENGINE.patch(model, adapter, 1, 1)[1].base
    adapter.row_norms = {name: 1.1 * norm for name, norm in adapter.row_norms.items()}
    return {"own": own, "other": ENGINE.patch(model, adapter, 1, 1)[1].base}


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
    dimensions = engine_module.transformer_config(engine_module.Checkpoint(miniature.transformer))
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


def main() -> None:
    from comfyui_version import __version__

    found: dict[str, Any] = {"comfyui": __version__, "torch": torch.__version__}
    for name, check in list(globals().items()):
        short = name.removeprefix("check_")
        if name.startswith("check_") and (not ONLY or short in ONLY):
            found[short] = check()
            OUT.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
