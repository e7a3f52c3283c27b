"""Transformers and text encoders of any width and layout, through ComfyUI's loaders."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import comfy.model_detection
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.utils
import torch

from ...wdlora.qwen.checkpoint import MARKER_2511, Checkpoint, transformer_config

# What ComfyUI's detection takes for granted of every Qwen-Image transformer.
OFFICIAL_TRANSFORMER = {"attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 3584}


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
    load: Callable[..., Any] = comfy.sd.load_diffusion_model_state_dict if official else partial(any_width, dimensions)
    patcher = load(tensors, model_options=options, metadata=metadata, disable_dynamic=disable_dynamic)
    patcher.cached_patcher_init = (load_transformer, (path, dtype, zero_timestep))
    return patcher


def any_width(
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


def _tensors(weights: Checkpoint) -> tuple[dict[str, Any], Any]:
    """All tensors of a checkpoint as stored, without a prefix, and a single file's metadata."""
    metadata = None
    tensors: dict[str, Any] = {}
    for file in weights.files:
        held, metadata = comfy.utils.load_torch_file(str(file), return_metadata=True)
        tensors |= held
    prefix = "model.diffusion_model."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}, metadata
