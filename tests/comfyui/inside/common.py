"""A ComfyUI process with this pack in it, and what the checks share: the miniature, adapters, its answers."""

import hashlib
import importlib
import importlib.util
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

import comfy.model_management as management  # noqa: E402


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
engine_module = importlib.import_module("pack.nodes.comfyui.engine")
loading = importlib.import_module("pack.nodes.comfyui.loading")
patching = importlib.import_module("pack.nodes.comfyui.patching")
weight_patch = importlib.import_module("pack.nodes.comfyui.weight_patch")
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
