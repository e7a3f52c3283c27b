"""The three parts as empty models whose headers fit, filled from their checkpoints tensor by tensor.

Tensors are read one at a time in the storage that was asked for, so that memory never holds the model twice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from ..errors import InputError
from ..quiet import silence_kernel_warning
from ..weights.header import several
from ..weights.linear import FLOAT8, Float8Linear, to_float8, to_nf4
from . import checkpoint as layouts
from .checkpoint import Checkpoint
from .vae_2d import for_stills


@dataclass
class Plan:
    """A part whose headers fit: an empty model, and where its weights come from.

    `names` maps the model's names to the checkpoint's; `storage` tells how a linear layer of a name is kept.
    """

    model: Any
    weights: Checkpoint
    names: Mapping[str, str]
    storage: Callable[[str], str]

    def check(self) -> "Plan":
        """Raise InputError for missing tensors, other shapes and storage that is not supported, from the headers."""
        wanted = dict(self.model.named_parameters())
        weights = self.weights
        if missing := [name for name in wanted if name not in self.names]:
            raise InputError(f"{weights.label} is incomplete: it lacks {several(missing)}")
        weights.check_storage(self.names[name] for name in wanted)
        linears = [f"{name}.weight" for name, module in self.model.named_modules() if type(module) is nn.Linear]
        weights.check_kept(
            self.names[name] for name in linears if self.storage(name.removesuffix(".weight")) in ("auto", "fp8")
        )
        for name, parameter in wanted.items():
            found = weights.shape(self.names[name])
            if found != tuple(parameter.shape):
                raise InputError(
                    f"{weights.label} holds {name} of shape {list(found)} where {list(parameter.shape)} is expected: "
                    "it belongs to another model"
                )
        return self

    def fill(
        self,
        device: torch.device,
        dtype: torch.dtype,
        quantising_device: torch.device | None = None,
    ) -> Any:
        """Read the weights, layer by layer, and return the model, frozen and in evaluation mode."""

        def read(name: str) -> nn.Parameter:
            return nn.Parameter(self.weights.read(self.names[name]).to(device, dtype), requires_grad=False)

        total = sum(1 for _ in self.model.parameters())
        label = Path(self.weights.label).name
        with tqdm(total=total, desc=label, unit="tensor", disable=None, leave=False) as bar:
            for name, module in list(self.model.named_modules()):
                own = dict(module.named_parameters(recurse=False))
                if type(module) is nn.Linear:
                    bias = read(f"{name}.bias") if module.bias is not None else None
                    layer = _linear(
                        self.weights,
                        self.names[f"{name}.weight"],
                        bias,
                        self.storage(name),
                        device,
                        quantising_device or device,
                        dtype,
                    )
                    self.model.set_submodule(name, layer)
                else:
                    for key in own:
                        setattr(module, key, read(f"{name}.{key}" if name else key))
                bar.update(len(own))
        return self.model.eval()


def plan_transformer(weights: Checkpoint, zero_cond_t: bool | None = None, storage: str = "auto") -> Plan:
    """Diffusers' QwenImageTransformer2DModel from a checkpoint.

    `zero_cond_t`: whether references are modulated at timestep zero (2511); by default as the checkpoint says.
    The layers of its blocks are stored as `storage` says, everything else in the compute type.
    """
    silence_kernel_warning()
    from accelerate import init_empty_weights
    from diffusers import QwenImageTransformer2DModel

    config = layouts.transformer_config(weights)
    stated = layouts.config_beside(weights, "QwenImageTransformer2DModel")
    config |= {name: stated[name] for name in ("axes_dims_rope", "zero_cond_t") if name in stated}
    if zero_cond_t is not None:
        config["zero_cond_t"] = zero_cond_t
    with init_empty_weights():
        model = QwenImageTransformer2DModel(**config)
    names = {name: name for name in weights if not layouts.is_beside(name)}
    blocks = "transformer_blocks."
    plan = Plan(model, weights, names, lambda name: storage if name.startswith(blocks) else "full").check()
    expected = {name for name, _ in model.named_parameters()}
    if strange := sorted(set(names) - expected):
        raise InputError(f"{weights.label} is not a Qwen-Image-Edit transformer: it also holds {several(strange)}")
    return plan


def plan_text_encoder(weights: Checkpoint, tokenizer: Any) -> Plan:
    """Transformers' Qwen2_5_VLModel, without the language-model head, from a checkpoint; fp8 layers stay fp8."""
    silence_kernel_warning()
    from accelerate import init_empty_weights
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

    names = layouts.text_encoder_names(weights)
    config = layouts.text_encoder_config(weights, names, tokenizer)
    if stated := layouts.config_beside(weights, "Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLModel"):
        config = Qwen2_5_VLConfig.from_dict(stated)
    with init_empty_weights():
        model = Qwen2_5_VLModel(config)
    return Plan(model, weights, names, lambda _: "auto").check()


def plan_vae(weights: Checkpoint) -> Plan:
    """Diffusers' AutoencoderKLQwenImage from ComfyUI's (Wan's) or diffusers' layout."""
    silence_kernel_warning()
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKLQwenImage

    config, wan = layouts.vae_config(weights)
    stated = layouts.config_beside(weights, "AutoencoderKLQwenImage")
    config |= {name: stated[name] for name in ("latents_mean", "latents_std") if name in stated}
    names = {name: name for name in weights}
    if wan:
        from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

        names = convert_wan_vae_to_diffusers(names)
    with init_empty_weights():
        model = for_stills(AutoencoderKLQwenImage(**config))
    return Plan(model, weights, names, lambda _: "full").check()


def _linear(
    weights: Checkpoint,
    name: str,
    bias: torch.Tensor | None,
    storage: str,
    device: torch.device,
    quantising_device: torch.device,
    dtype: torch.dtype,
) -> nn.Module:
    """A linear layer in the wanted storage."""
    tensor, scale = weights.stored(name)
    if storage in ("auto", "fp8") and tensor.dtype in FLOAT8:
        return Float8Linear(tensor.to(device), None if scale is None else scale.to(device), bias, dtype)
    if storage == "fp8":
        codes, scale = to_float8(tensor.to(quantising_device))
        return Float8Linear(codes.to(device), scale.to(device), bias, dtype)
    full = weights.read(name)
    if storage == "nf4":
        return to_nf4(full, bias, quantising_device, dtype)
    layer = nn.Linear(full.shape[1], full.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(full.to(device, dtype), requires_grad=False)
    layer.register_parameter("bias", None if bias is None else nn.Parameter(bias, requires_grad=False))
    return layer
