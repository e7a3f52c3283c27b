"""The seam of `engine.py` on ComfyUI's own MODEL, CLIP and VAE; the twin of `wdlora/host/engine.py`.

Everything goes through ComfyUI's loaders and its ModelPatcher, so that samplers, offloading, previews and other
LoRAs work as ever. This file and `miniature.py` are the only ones that import `comfy`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import comfy.model_detection
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.utils
import torch
from comfy.quant_ops import QuantizedTensor
from comfy.weight_adapter.base import WeightAdapterBase

from ..wdlora.errors import InputError
from ..wdlora.qwen.checkpoint import MARKER_2511, Checkpoint, transformer_config
from .weight_patch import Gain, Wrapper, adapt

if TYPE_CHECKING:
    from ..wdlora.adapter import Adapter

PREVIEW_SIDE = 512
DTYPES = {
    "default": None,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
    "fp8_e4m3fn": torch.float8_e4m3fn,
}
# What ComfyUI's detection takes for granted of every Qwen-Image transformer and of its text encoder.
OFFICIAL_TRANSFORMER = {"attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 3584}
OFFICIAL_TEXT_WIDTH = 3584
BASE_SAMPLE = 6


class Pristine(WeightAdapterBase):
    """Stands before all patches of a weight, shows it to the gain, and leaves it as it is."""

    name = "wdlora_base"

    def __init__(self, loaded_keys: set[str], weights: tuple[Gain]):
        self.loaded_keys = loaded_keys
        self.weights = weights

    def calculate_weight(self, weight: Any, key: str, *_: Any, **__: Any) -> Any:
        """The weight itself."""
        self.weights[0].of(weight)
        return weight


class WDLoRA(WeightAdapterBase):
    """An adapter layer as a weight patch: W ← g ∘ (W + d·s·BA).

    All state is in `weights` (A, B, gain, scaling, direction strength, axis): ComfyUI copies the tensors in it to
    the accelerator and builds the adapter anew from them, where it streams weights.
    """

    name = "wdlora"

    def __init__(self, loaded_keys: set[str], weights: tuple):
        self.loaded_keys = loaded_keys
        self.weights = weights

    def calculate_weight(
        self,
        weight: Any,
        key: str,
        strength: float,
        strength_model: float,
        offset: Any,
        function: Any,
        intermediate_dtype: Any = torch.float32,
        original_weight: Any = None,
    ) -> Any:
        """The adapted weight, computed in float32 whatever `intermediate_dtype` is.

        `strength` is 1 as this pack applies it; where a node that merges models gives another, it is the share of
        the way from the weight to the adapted one.
        """
        a, b, gain, scaling, direction, axis = self.weights
        before = weight.clone() if strength != 1 else None
        adapt(weight, a, b, gain.of(weight), scaling, direction, axis)
        return weight if before is None else weight.copy_(torch.lerp(before, weight, strength))


@dataclass(frozen=True)
class PatchReport:
    """What became of an adapter on a model; see `engine.py`."""

    matched: tuple[str, ...]
    unmatched: tuple[str, ...]
    base: str


class ComfyProgress:
    """ComfyUI's progress bar on the running node."""

    def __init__(self, total: float):
        self._bar = comfy.utils.ProgressBar(total)
        self._value = 0.0

    def update(self, value: float, total: float | None = None, preview: Any = None) -> None:
        """Say that `value` of `total` is done; `preview` is a PIL image. Raises ComfyUI's interruption."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._value = value
        shown = None if preview is None else ("JPEG", preview.convert("RGB"), PREVIEW_SIDE)
        self._bar.update_absolute(value, total, shown)

    def advance(self, step: float = 1) -> None:
        """Say that `step` more is done."""
        self.update(self._value + step)

    def text(self, text: str) -> None:
        """Show a line of text on the running node. Raises ComfyUI's interruption."""
        from comfy_execution.utils import get_executing_context
        from server import PromptServer

        comfy.model_management.throw_exception_if_processing_interrupted()
        context = get_executing_context()
        server = getattr(PromptServer, "instance", None)
        if context is not None and server is not None:
            server.send_progress_text(text, context.node_id, server.client_id)


class ComfyEngine:
    """Does what the nodes ask with ComfyUI's own objects."""

    name = "ComfyUI"

    def load_model(self, path: str, dtype: str = "default", variant: str | None = None) -> Any:
        """MODEL of a single file or of a diffusers folder; a 2511 sees its references at timestep zero."""
        if dtype not in DTYPES:
            raise InputError(f"the weight type {dtype!r} is not known: use one of {', '.join(DTYPES)}")
        return load_transformer(str(_part(path, "transformer")), DTYPES[dtype], variant == "2511")

    def load_clip(self, path: str, tokenizer: str | None = None) -> Any:
        """CLIP of a single file or a diffusers folder.

        ComfyUI brings the tokenizer of Qwen2.5-VL-7B. An encoder of another width has one of its own, which is
        looked for in `tokenizer`; else beside the file and in the folders above it.
        """
        import folder_paths

        from ..wdlora.qwen.checkpoint import text_encoder_names

        place = _part(path, "text_encoder")
        weights = Checkpoint(place)
        names = text_encoder_names(weights)
        width = names.get("language_model.norm.weight")
        if width is None or weights.shape(width) != (OFFICIAL_TEXT_WIDTH,):
            from .miniature import load_text_encoder

            return load_text_encoder(str(place), tokenizer)
        embeddings = folder_paths.get_folder_paths("embeddings")
        kind = comfy.sd.CLIPType.QWEN_IMAGE
        if place.is_file() and "model.norm.weight" in weights and "visual.patch_embed.proj.weight" in weights:
            return comfy.sd.load_clip([str(place)], embedding_directory=embeddings, clip_type=kind)
        tensors = text_encoder_tensors(weights, names)
        return comfy.sd.load_text_encoder_state_dicts([tensors], embedding_directory=embeddings, clip_type=kind)

    def load_vae(self, path: str) -> Any:
        """VAE of a single file or a diffusers folder, in ComfyUI's (Wan's) layout or in diffusers'."""
        from ..wdlora.qwen.checkpoint import vae_config

        weights = Checkpoint(_part(path, "vae"))
        _, wan = vae_config(weights)
        if wan and len(weights.files) == 1:
            file = str(weights.files[0])
            tensors, metadata = comfy.utils.load_torch_file(file, return_metadata=True)
            vae = comfy.sd.VAE(sd=tensors, metadata=metadata)
            vae.throw_exception_if_invalid()
            vae.patcher.cached_patcher_init = (comfy.sd.load_vae_patcher, (file, metadata, None))
            return vae
        from ..wdlora.qwen.wan_names import wan_name

        vae = comfy.sd.VAE(sd={name if wan else wan_name(name): weights.read(name) for name in weights})
        vae.throw_exception_if_invalid()
        return vae

    def encode(self, clip: Any, prompt: str, images: Sequence[Any], variant: str = "2511") -> list:
        """CONDITIONING of a prompt and IMAGEs [1, H, W, 3], each in the one VL view, which ComfyUI leaves as it is."""
        from ..wdlora.qwen.encode import prompt_text
        from ..wdlora.qwen.view import vl_view

        views = [vl_view(image[..., :3].movedim(-1, 1)).movedim(1, -1) for image in images]
        tokens = clip.tokenize(prompt_text(prompt, len(views), variant), images=views)
        return clip.encode_from_tokens_scheduled(tokens)

    def vae_encode(self, vae: Any, image: Any) -> Any:
        """IMAGE [B, H, W, 3] → latents [B, 16, 1, H/8, W/8]; one at a time, because a batch is a video to this VAE."""
        from ..wdlora.qwen.latents import check_size

        check_size(*image.shape[1:3])
        return torch.cat([vae.encode(one[None, ..., :3]) for one in image])

    def vae_decode(self, vae: Any, latents: Any) -> Any:
        """Latents [B, 16, 1, h, w] or [B, 16, h, w] → IMAGE [B, 8h, 8w, 3]."""
        cells = latents if latents.ndim == 5 else latents.unsqueeze(2)
        if cells.ndim != 5 or cells.shape[2] != 1:
            raise InputError(f"latents of shape {list(latents.shape)} are not those of pictures [B, 16, 1, h, w]")
        return vae.decode(cells).flatten(0, 1)

    def patch(
        self, model: Any, adapter: "Adapter", direction_strength: float, magnitude_strength: float
    ) -> tuple[Any, PatchReport]:
        """A clone of MODEL with an adapter applied after what it carries; see `engine.py` and promise 1.

        Layers that the model lacks are left out and reported. Raises InputError where none fits, or where one has
        another shape.
        """
        label = _label(model)
        matched, unmatched = {}, []
        for name, layer in adapter.layers.items():
            weight = _weight(model, name)
            if weight is None:
                unmatched.append(name)
                continue
            if tuple(weight.shape) != tuple(layer.shape):
                raise InputError(
                    f"the adapter fits another model: its layer {name} is {list(layer.shape)}, "
                    f"that of {label} is {list(weight.shape)}"
                )
            matched[name] = layer
        if not matched:
            example = next(iter(adapter.layers), "none at all")
            raise InputError(f"the adapter fits another model: {label} has none of its layers (such as {example})")
        patched = model.clone()
        direction, magnitude = float(direction_strength), float(magnitude_strength)
        for name, layer in matched.items():
            if direction == 0 and (magnitude == 0 or layer.magnitude is None):
                continue
            gain = Gain(layer, direction, magnitude)
            key = f"diffusion_model.{name}.weight"
            if _applied_on_the_fly(_weight(model, name), name):
                base = partial(pristine, patched.model, patched.backup, key)
                patched.add_weight_wrapper(key, Wrapper(layer, gain, direction, base))
                continue
            state = (layer.lora_a, layer.lora_b, gain, layer.scaling, direction, layer.axis)
            patched.add_patches({key: WDLoRA(set(), state)})
            patched.add_patches({key: Pristine(set(), (gain,))})
            patched.patches[key].insert(0, patched.patches[key].pop())
        fitting = replace(adapter, layers=matched)
        return patched, PatchReport(tuple(matched), tuple(unmatched), said_of_base(fitting, file_of(model)))

    def progress(self, total: float) -> ComfyProgress:
        """Progress bar of the running node."""
        return ComfyProgress(total)

    def check_interrupted(self) -> None:
        """Raise ComfyUI's interruption if the user asked to stop."""
        comfy.model_management.throw_exception_if_processing_interrupted()

    def unload(self) -> None:
        """Bring all models to main memory and give the accelerator's memory back."""
        comfy.model_management.unload_all_models()
        comfy.model_management.soft_empty_cache(True)


def load_transformer(path: str, dtype: Any, zero_timestep: bool, disable_dynamic: bool = False) -> Any:
    """The ModelPatcher of a Qwen-Image-Edit transformer of any width.

    ComfyUI's own loader where it recognises the file. Diffusers' folders are read into memory first, and where the
    width is another, its detection is told the dimensions that it takes for granted, read from the tensors.
    `zero_timestep`: references are seen at timestep zero (2511). Raises InputError if it is another model.
    """
    weights = Checkpoint(path)
    dimensions = transformer_config(weights)
    official = all(dimensions[name] == value for name, value in OFFICIAL_TRANSFORMER.items())
    marked = MARKER_2511 in weights
    options = {} if dtype is None else {"dtype": dtype}
    if official and Path(path).is_file() and (marked or not zero_timestep):
        return comfy.sd.load_diffusion_model(path, model_options=options, disable_dynamic=disable_dynamic)
    tensors, metadata = _tensors(weights)
    if zero_timestep and not marked:
        tensors[MARKER_2511] = torch.zeros(0)
    load: Callable[..., Any] = comfy.sd.load_diffusion_model_state_dict if official else partial(_any_width, dimensions)
    patcher = load(tensors, model_options=options, metadata=metadata, disable_dynamic=disable_dynamic)
    patcher.cached_patcher_init = (load_transformer, (path, dtype, zero_timestep))
    return patcher


def _any_width(
    dimensions: dict[str, Any], tensors: dict[str, Any], model_options: Any, metadata: Any, disable_dynamic: bool
) -> Any:
    """What `comfy.sd.load_diffusion_model_state_dict` does, with dimensions that ComfyUI does not detect."""
    management = comfy.model_management
    tensors, metadata = comfy.utils.convert_old_quants(tensors, "", metadata=metadata)
    config = comfy.model_detection.model_config_from_unet(tensors, "", metadata=metadata)
    names = ("attention_head_dim", "num_attention_heads", "joint_attention_dim", "out_channels", "axes_dims_rope")
    config.unet_config.update({name: dimensions[name] for name in names})
    device, quantised = management.get_torch_device(), config.quant_config is not None
    supported = list(config.supported_inference_dtypes)
    dtype = model_options.get("dtype") or management.unet_dtype(
        model_params=comfy.utils.calculate_parameters(tensors),
        supported_dtypes=supported,
        weight_dtype=None if quantised else comfy.utils.weight_dtype(tensors),
    )
    config.set_inference_dtype(
        dtype, management.unet_manual_cast(None if quantised else dtype, device, supported), device=device
    )
    model = config.get_model(tensors, "")
    kind = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = kind(model, load_device=device, offload_device=management.unet_offload_device())
    if not management.is_device_cpu(patcher.offload_device):
        model.to(patcher.offload_device)
    model.load_model_weights(tensors, "", assign=patcher.is_dynamic())
    return patcher


def text_encoder_tensors(weights: Checkpoint, names: dict[str, str]) -> dict[str, Any]:
    """The tensors of a text encoder under ComfyUI's names, from any layout."""
    return {name.replace("language_model.", "model."): weights.read(stored) for name, stored in names.items()}


def pristine(model: Any, backup: Any, key: str, device: Any) -> Any:
    """The base weight behind `key` on a device, dequantised to float32, whether or not patches are written into it."""
    weight, _, convert = comfy.model_patcher.get_key_weight(model, key)
    if key in backup:
        weight = backup[key].weight
    weight = weight.to(device)
    if isinstance(weight, QuantizedTensor):
        weight = weight.dequantize()
    elif convert is not None:
        weight = convert(weight.float(), inplace=False)
    return weight.float()


def file_of(model: Any) -> str | None:
    """The safetensors file or folder from which a MODEL was loaded, where ComfyUI knows it."""
    made = model.cached_patcher_init
    path = made[1][0] if made is not None and made[1] else None
    if not isinstance(path, str) or not Path(path).exists():
        return None
    return path if Path(path).is_dir() or path.endswith(".safetensors") else None


def said_of_base(adapter: "Adapter", path: str | None) -> str:
    """One sentence on another base than the adapter's own; empty where it is the same or nothing is known.

    Where the adapter records row norms, those of a few layers spread over the model tell; only without them the
    file's hash is needed, for which all of it is read once.
    """
    known = adapter.metadata
    if path is None or (known.base_sha256 is None and known.base_model is None and adapter.row_norms is None):
        return ""
    names = [name for name in adapter.layers if adapter.row_norms is None or name in adapter.row_norms]
    names = names[:: max(1, len(names) // BASE_SAMPLE)]
    sample = replace(adapter, layers={name: adapter.layers[name] for name in names})
    if adapter.row_norms is None:
        found = sample.difference(path)
        return "" if found.same_base and found.same_quantisation is not False else found.sentence
    sample.row_norms = {name: adapter.row_norms[name] for name in names}
    sample.metadata = known.replace(base_sha256=None)
    found = sample.difference(path)
    return "" if found.max_percent == 0 and found.same_quantisation is not False else found.sentence


def _tensors(weights: Checkpoint) -> tuple[dict[str, Any], Any]:
    """All tensors of a checkpoint as stored, without a prefix, and a single file's metadata."""
    metadata = None
    tensors: dict[str, Any] = {}
    for file in weights.files:
        held, metadata = comfy.utils.load_torch_file(str(file), return_metadata=True)
        tensors |= held
    prefix = "model.diffusion_model."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}, metadata


def _part(path: str, name: str) -> Path:
    """A file, or the folder of a part: `path/name` where path is a whole diffusers folder."""
    place = Path(path)
    if not place.exists():
        raise InputError(f"{path} does not exist")
    return place / name if (place / "model_index.json").is_file() else place


def _label(model: Any) -> str:
    path = file_of(model)
    return "this model" if path is None else Path(path).name


def _weight(model: Any, name: str) -> Any:
    """The weight of the module `name` of a MODEL's transformer, or None."""
    try:
        weight = getattr(model.model.diffusion_model.get_submodule(name), "weight", None)
    except AttributeError:
        return None
    return weight if weight is not None and len(weight.shape) == 2 else None


def _applied_on_the_fly(weight: Any, name: str) -> bool:
    """Whether a patch written into this weight's storage would be rounded away. Raises InputError if it is unknown.

    GGUF keeps patches beside the weight and applies them after dequantising, so there a patch is exact.
    """
    if hasattr(weight, "tensor_type"):
        return False
    if isinstance(weight, QuantizedTensor) or (weight.dtype.is_floating_point and weight.dtype.itemsize == 1):
        return True
    if not weight.dtype.is_floating_point:
        kind = str(weight.dtype).removeprefix("torch.")
        raise InputError(
            f"the model's layer {name} is stored as {kind} in a way that ComfyUI does not know, so an adapter cannot "
            "be applied to it: load the bf16, fp8 or GGUF file of the same model"
        )
    return False
