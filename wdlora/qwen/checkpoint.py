"""Checkpoints of Qwen-Image-Edit's three parts: which layout a file has, and how big its model is.

Sizes are read from the tensors' shapes, so a model of any width loads. What is not the wanted part is refused
by its name before a tensor is read.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import InputError
from ..weights.base import FLOAT8_NAMES, SCALES, Weights
from ..weights.header import several

FULL_PRECISION = {"F64", "F32", "F16", "BF16"}
MARKER_2511 = "__index_timestep_zero__"
TEXT_HEAD = 128
"""Dimensions of a head of the text encoder."""
_TOKENS = ("image_pad", "video_pad", "vision_start", "vision_end", "im_end", "endoftext")
# Tensors beside the weights: quantisation scales and ComfyUI's markers.
_BESIDE = (*SCALES, ".scale_input", ".input_scale", ".comfy_quant", "scaled_fp8", MARKER_2511)


class Checkpoint(Weights):
    """Weights that can also be read as stored, so that fp8 stays fp8."""

    readable = "bf16 or fp8"

    def stored(self, name: str) -> tuple[Tensor, Tensor | None]:
        """A tensor in its storage type and, for a scaled weight, its scale (one number, or one a row)."""
        scale = self._scale(name)
        return self._raw(name), None if scale is None else self._raw(scale)

    def dtype(self, name: str) -> str:
        """The storage type as safetensors spells it ("BF16"), from the header."""
        return self._entry(name)[2].dtype

    def check_storage(self, names: Iterable[str]) -> None:
        """Raise InputError naming the layout unless every tensor is bf16/fp16/fp32 or fp8, plain or scaled by one
        number or one a row."""
        for name in names:
            kind = self._format(name.removesuffix(".weight")).get("format") if name.endswith(".weight") else None
            dtype = self.dtype(name)
            if kind not in (None, "float8_e4m3fn", "float8_e5m2") or dtype not in FULL_PRECISION | FLOAT8_NAMES:
                raise self._refused(name, _layout(self, name, kind or dtype.lower()))
            self._scale(name)

    def check_kept(self, weights: Iterable[str]) -> None:
        """Raise InputError for a rotated one among fp8 weights that stay as stored: nobody would rotate it back."""
        for name in weights:
            conf = self._format(name.removesuffix(".weight"))
            if self.dtype(name) in FLOAT8_NAMES and conf.get("convrot"):
                raise self._refused(name, _layout(self, name, str(conf.get("format"))))

    def metadata(self, key: str) -> str | None:
        """An entry of a safetensors file's metadata."""
        from ..weights.header import read_header

        for file in self.files:
            text = read_header(file)[1].get(key)
            if text is not None:
                return text
        return None


def part_of(path: str | Path, name: str) -> Path:
    """A part's own file or folder: `path`, or the folder `name` in it where it is a whole diffusers folder.

    Raises InputError if there is nothing at `path`.
    """
    place = Path(path)
    if not place.exists():
        raise InputError(f"{path} does not exist")
    return place / name if (place / "model_index.json").is_file() else place


def is_beside(name: str) -> bool:
    """Whether a tensor only describes others (a scale, a marker)."""
    return name.endswith(_BESIDE)


def _layout(weights: Checkpoint, name: str, kind: str) -> str:
    if any(other.startswith(f"{name}.quant_state") for other in weights):
        return "bitsandbytes nf4"
    conf = weights._format(name.removesuffix(".weight"))
    if conf.get("convrot"):
        return f"{kind} with rotation (convrot)"
    return str(kind)


def identify(weights: Weights) -> str:
    """Say in a few words what a checkpoint seems to hold, from its keys."""
    names = set(weights)

    def any_in(*parts: str) -> bool:
        return any(part in name for part in parts for name in names)

    if any_in("lora_A", "lora_B", "lora_up", "lora_down", "lora.up"):
        return "an adapter (LoRA)"
    if any_in(".qweight", ".wscales", ".smooth_factor"):
        return "an SVDQuant (nunchaku) model"
    if any_in("time_text_embed.addition_t_embedding"):
        return "Qwen-Image-Layered"
    if any_in("controlnet_blocks.", "controlnet_x_embedder"):
        return "a ControlNet"
    if {"txt_norm.weight", "img_in.weight", "transformer_blocks.0.attn.norm_q.weight"} <= names:
        return "a Qwen-Image model"
    if any_in("double_blocks.0.", "single_transformer_blocks."):
        return "a Flux model"
    if any_in("input_blocks.0.", "down_blocks.0.resnets", "model.diffusion_model.input_blocks") and not any_in(
        "decoder.mid_block", "quant_conv"
    ):
        return "a Stable Diffusion UNet"
    if any_in("joint_blocks.0."):
        return "Stable Diffusion 3"
    if any_in("decoder.middle.0.residual", "decoder.mid_block.", "decoder.mid.block_1"):
        return "a VAE"
    if any_in("visual.patch_embed", "visual.blocks"):
        return "a Qwen-VL text encoder"
    if any_in("model.layers.0.", "encoder.block.0.", "text_model.encoder", "language_model.layers"):
        return "a text encoder"
    if any_in("blocks.0.cross_attn", "blocks.0.self_attn"):
        return "a Wan model"
    return f"an unknown model (tensors {several(sorted(names))})" if names else "no tensors"


def transformer_config(weights: Checkpoint) -> dict[str, Any]:
    """The arguments of diffusers' QwenImageTransformer2DModel, from the tensors' shapes.

    RoPE axes are (16, 56, 56) at a head dimension of 128 and in the same proportions otherwise. Raises
    InputError if the tensors are not those of a Qwen-Image-Edit transformer.
    """
    kind = identify(weights)
    if kind != "a Qwen-Image model":
        raise InputError(f"{weights.label} is not a Qwen-Image-Edit transformer: it holds {kind}")
    needed = ["proj_out.weight", "txt_in.weight", "norm_out.linear.weight", "img_in.bias"]
    if missing := [name for name in needed if name not in weights]:
        raise InputError(f"{weights.label} is incomplete: it lacks {several(missing)}")
    head = weights.shape("transformer_blocks.0.attn.norm_q.weight")[0]
    width, channels = weights.shape("img_in.weight")
    joint = weights.shape("txt_norm.weight")[0]
    out = weights.shape("proj_out.weight")[0]
    if channels != 64 or out != 64 or width % head:
        raise InputError(
            f"{weights.label} is not a Qwen-Image-Edit transformer: it takes {channels} and gives {out} channels "
            f"per token at a width of {width} with heads of {head}, where 64 and 64 are expected"
        )
    return {
        "patch_size": 2,
        "in_channels": channels,
        "out_channels": out // 4,
        "num_layers": count(weights, "transformer_blocks."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": joint,
        "axes_dims_rope": rope_axes(head),
        "zero_cond_t": MARKER_2511 in weights,
    }


def rope_axes(head_dim: int) -> tuple[int, int, int]:
    """How a head's dimensions are divided between frame, row and column: even numbers, 1 : 3.5 : 3.5."""
    frame = 2 * round(head_dim / 16)
    side = (head_dim - frame) // 2
    side -= side % 2
    return head_dim - 2 * side, side, side


def count(names: Iterable[str], prefix: str) -> int:
    """How many numbered blocks lie under `prefix`."""
    found = {int(n[len(prefix) :].split(".", 1)[0]) for n in names if n.startswith(prefix)}
    if found != set(range(len(found))):
        missing = min(set(range(max(found))) - found)
        raise InputError(f"the checkpoint is incomplete: it lacks {prefix}{missing}")
    return len(found)


def text_encoder_names(weights: Weights) -> dict[str, str]:
    """Names in transformers' Qwen2_5_VLModel → names in the file, for ComfyUI's and transformers' layouts."""
    names = {}
    for stored in weights:
        name = stored
        for prefix in ("text_encoders.qwen25_7b.transformer.", "model."):
            name = name.removeprefix(prefix)
        if name.split(".", 1)[0] in ("embed_tokens", "layers", "norm"):
            name = f"language_model.{name}"
        if name.startswith(("language_model.", "visual.")):
            names[name] = stored
    return names


def text_encoder_config(weights: Checkpoint, names: dict[str, str], tokenizer: Any) -> Any:
    """The Qwen2_5_VLConfig of a text encoder from the tensors' shapes and the tokenizer's special tokens.

    What shapes do not tell is that of Qwen2.5-VL-7B, which ComfyUI hard-codes: heads of 128, mrope sections
    (16, 24, 24), vision windows of 112 pixels, 16 vision heads, full attention in blocks 7, 15, 23 and 31. A JSON
    object under `vision_config` in the file's metadata overrides the vision tower's. Raises InputError if it is
    another model.
    """
    from transformers import Qwen2_5_VLConfig

    shape = _text_encoder_shapes(weights, names)
    vocabulary, hidden = shape("language_model.embed_tokens.weight")
    queries = shape("language_model.layers.0.self_attn.q_proj.weight")[0]
    keys = shape("language_model.layers.0.self_attn.k_proj.weight")[0]
    if queries != hidden or hidden % TEXT_HEAD or keys % TEXT_HEAD:
        raise InputError(
            f"{weights.label} is not a Qwen2.5-VL text encoder: its width {hidden} and its {queries} queries "
            f"are not one multiple of {TEXT_HEAD}"
        )
    vision = {
        "depth": count(names, "visual.blocks."),
        "hidden_size": shape("visual.patch_embed.proj.weight")[0],
        "intermediate_size": shape("visual.blocks.0.mlp.gate_proj.weight")[0],
        "num_heads": 16,
        "out_hidden_size": hidden,
    }
    tokens = {text: int(tokenizer.convert_tokens_to_ids(f"<|{text}|>")) for text in _TOKENS}
    largest = max(tokens["image_pad"], tokens["im_end"])
    if largest >= vocabulary:
        raise InputError(
            f"the tokenizer's token {largest} lies outside {weights.label}'s vocabulary of {vocabulary}: "
            "give the tokenizer that belongs to this text encoder"
        )
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": vocabulary,
            "hidden_size": hidden,
            "intermediate_size": shape("language_model.layers.0.mlp.gate_proj.weight")[0],
            "num_hidden_layers": count(names, "language_model.layers."),
            "num_attention_heads": hidden // TEXT_HEAD,
            "num_key_value_heads": keys // TEXT_HEAD,
            "max_position_embeddings": 128000,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
            "bos_token_id": None,
            "eos_token_id": tokens["im_end"],
            "pad_token_id": tokens["endoftext"],
        },
        vision_config=vision | _stated_vision(weights),
        image_token_id=tokens["image_pad"],
        video_token_id=tokens["video_pad"],
        vision_start_token_id=tokens["vision_start"],
        vision_end_token_id=tokens["vision_end"],
    )


def _text_encoder_shapes(weights: Checkpoint, names: dict[str, str]) -> Callable[[str], tuple[int, ...]]:
    """The shapes of a text encoder's tensors by name. Raises InputError if it is another model, or lacks one."""
    kind = identify(weights)
    needed = ["language_model.embed_tokens.weight", "language_model.layers.0.self_attn.k_proj.weight"]
    if any(name not in names for name in needed) or kind not in ("a Qwen-VL text encoder", "a text encoder"):
        raise InputError(f"{weights.label} is not a Qwen2.5-VL text encoder: it holds {kind}")
    if "visual.patch_embed.proj.weight" not in names:
        raise InputError(
            f"{weights.label} has no vision tower, so it cannot see the mask: give the full Qwen2.5-VL text encoder"
        )

    def shape(name: str) -> tuple[int, ...]:
        if name not in names:
            raise InputError(f"{weights.label} is not a Qwen2.5-VL text encoder: it lacks {name}")
        return weights.shape(names[name])

    return shape


def _stated_vision(weights: Checkpoint) -> dict[str, Any]:
    """What a file's metadata say of the vision tower."""
    stated = weights.metadata("vision_config")
    if stated is None:
        return {}
    try:
        return {str(key): value for key, value in json.loads(stated).items()}
    except (ValueError, AttributeError):
        raise InputError(f"{weights.label} has an unreadable vision_config in its metadata") from None


def vae_config(weights: Checkpoint) -> tuple[dict[str, Any], bool]:
    """The arguments of AutoencoderKLQwenImage from the tensors' shapes, and whether the layout is Wan's.

    Raises InputError if it is another VAE.
    """
    wan = "decoder.middle.0.residual.0.gamma" in weights
    diffusers = "decoder.mid_block.resnets.0.norm1.gamma" in weights
    layout = {
        True: ("decoder.head.0.gamma", "conv2.weight", "encoder.conv1.weight"),
        False: ("decoder.norm_out.gamma", "post_quant_conv.weight", "encoder.conv_in.weight"),
    }[wan]
    if not (wan or diffusers) or any(name not in weights for name in layout):
        raise InputError(f"{weights.label} is not the VAE of Qwen-Image: it holds {identify(weights)}")
    base = weights.shape(layout[0])[0]
    latent = weights.shape(layout[1])[0]
    channels = weights.shape(layout[2])[1]
    if latent != 16 or channels != 3:
        raise InputError(
            f"{weights.label} is not the VAE of Qwen-Image-Edit: it turns {channels} channels into {latent}, "
            "where 3 and 16 are expected"
        )
    return {"base_dim": base, "z_dim": 16}, wan


def variant_of(path: Path | None, weights: Weights | None) -> str | None:
    """Which of the three models a checkpoint is, as far as its marker and its name tell; None if they do not.

    Edit and 2509 differ in nothing but their numbers, so for single files only the name can say.
    """
    if weights is not None and MARKER_2511 in weights:
        return "2511"
    return None if path is None else named_variant(path)


def named_variant(path: Path) -> str | None:
    """Which of the three models the name of a file or folder suggests; None where it does not say."""
    name = path.name.lower()
    for number in ("2511", "2509"):
        if number in name:
            return number
    return "edit" if "edit" in name and "plus" not in name else None  # "Edit Plus" is 2509 or 2511


def config_beside(weights: Checkpoint, *classes: str) -> dict[str, Any]:
    """The config.json in the folder of a checkpoint's shards; empty for a single file without one.

    Raises InputError if it describes another class.
    """
    if not weights.files:
        return {}
    path = weights.files[0].parent / "config.json"
    if not path.is_file() or not Path(weights.label).is_dir():
        return {}
    config = json_object(path)
    stated = config.get("_class_name") or next(iter(config.get("architectures") or []), None)
    if stated not in classes:
        raise InputError(f"{path} describes a {stated}, where {classes[0]} is expected")
    return config


def json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises InputError where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{path} cannot be read as JSON") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} does not hold a JSON object")
    return value
