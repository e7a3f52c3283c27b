"""Load Qwen-Image-Edit, -2509 and -2511 from the user's files: a diffusers folder or ComfyUI's single files.

Nothing is downloaded. Tensors are read one at a time in the storage that was asked for, so that memory never
holds the model twice.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from ..errors import InputError
from ..quiet import hush_kernels
from ..weights import several
from . import checkpoint as layouts
from .checkpoint import Checkpoint
from .encode import VARIANTS
from .memory import pick_device, pick_dtype, place
from .sampling import OFFICIAL
from .still import for_stills
from .storage import Float8Linear, to_float8, to_nf4

PARTS = ("transformer", "text_encoder", "vae")
STORAGES = ("auto", "full", "fp8", "nf4")
PIPELINES = {"QwenImageEditPipeline": "edit", "QwenImageEditPlusPipeline": "2509"}
_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)


class Hashes(Mapping[str, str | None]):
    """SHA-256 of each part's files, computed when first asked for."""

    def __init__(self, checkpoints: Mapping[str, Checkpoint]) -> None:
        self._checkpoints = checkpoints

    def __getitem__(self, part: str) -> str | None:
        return self._checkpoints[part].sha256

    def __iter__(self) -> Iterator[str]:
        return iter(self._checkpoints)

    def __len__(self) -> int:
        return len(self._checkpoints)


@dataclass
class QwenImageEdit:
    """A loaded model.

    `variant` is "edit", "2509" or "2511"; `dtype` the type in which all parts compute; `defaults` the steps, cfg
    and shift used where a caller gives none; `hashes` maps "transformer", "text_encoder" and "vae" to the SHA-256
    of their files.
    """

    transformer: Any
    text_encoder: Any
    tokenizer: Any
    vae: Any
    variant: str
    dtype: torch.dtype
    device: torch.device
    hashes: Mapping[str, str | None] = field(default_factory=dict)
    defaults: tuple[int, float, float] = OFFICIAL["edit"]


def load(
    folder: str | Path | None = None,
    *,
    transformer: str | Path | None = None,
    text_encoder: str | Path | None = None,
    vae: str | Path | None = None,
    tokenizer: str | Path | None = None,
    variant: str | None = None,
    parts: Sequence[str] = PARTS,
    storage: str = "auto",
    offload: str = "none",
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    progress: bool | None = None,
) -> QwenImageEdit:
    """Load a model from a diffusers `folder`, from single files, or from a folder with parts replaced by files.

    `transformer`, `text_encoder`, `vae`: a .safetensors file in ComfyUI's or diffusers' layout, or a folder with
    shards. `tokenizer`: a folder with Qwen2.5-VL's tokenizer, or a ComfyUI checkout; where it is not given it is
    looked for in `folder` and in the ComfyUI checkout in which the text encoder lies. `variant`: "edit", "2509" or
    "2511", needed where neither folder nor file name tells. `parts`: which to read; the others are None, as is the
    tokenizer without the text encoder (so that a trainer holds one at a time). `storage` of the transformer's
    blocks: "auto" (fp8 where the file has it), "full", "fp8" or "nf4"; `offload`: see `memory.place`.
    `device` and `dtype` default to CUDA and bfloat16 if there is a GPU, else to CPU and float32. `progress` as tqdm's
    `disable`, inverted.

    Raises InputError, before a tensor is read, for a missing or damaged file, another model, a storage layout
    that is not supported and for settings that cannot be met.
    """
    if storage not in STORAGES:
        raise InputError(f"the storage {storage!r} is not known: use one of {', '.join(STORAGES)}")
    if variant is not None and variant not in VARIANTS:
        raise InputError(f"the variant {variant!r} is not known: use one of {', '.join(VARIANTS)}")
    target = pick_device(device)
    compute = pick_dtype(dtype, target)
    paths = _paths(folder, {"transformer": transformer, "text_encoder": text_encoder, "vae": vae}, parts)
    checkpoints = {part: Checkpoint(path) for part, path in paths.items()}
    chosen = _variant(variant, folder, paths.get("transformer"), checkpoints.get("transformer"))
    plans: dict[str, Plan] = {}
    words = None
    if "text_encoder" in parts:
        words = load_tokenizer(*_tokenizer_places(tokenizer, folder, paths["text_encoder"]))
        plans["text_encoder"] = plan_text_encoder(checkpoints["text_encoder"], words)
        if "transformer" in checkpoints:
            width = plans["text_encoder"].model.config.text_config.hidden_size
            joint = layouts.transformer_config(checkpoints["transformer"])["joint_attention_dim"]
            if joint != width:
                raise InputError(
                    f"the text encoder is {width} wide but the transformer reads {joint}: they belong to different "
                    "models"
                )
    if "transformer" in parts:
        plans["transformer"] = plan_transformer(checkpoints["transformer"], chosen == "2511", storage)
    if "vae" in parts:
        plans["vae"] = plan_vae(checkpoints["vae"])
    home = target if offload == "none" else torch.device("cpu")
    loaded: dict[str, Any] = dict.fromkeys(PARTS)
    loaded |= {part: plan.fill(home, compute, target, progress) for part, plan in plans.items()}
    place(loaded["text_encoder"], loaded["transformer"], loaded["vae"], target, offload)
    for weights in checkpoints.values():
        weights.close()
    return QwenImageEdit(
        **loaded,
        tokenizer=words,
        variant=chosen,
        dtype=compute,
        device=target,
        hashes=Hashes(checkpoints),
        defaults=OFFICIAL[chosen],
    )


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
        progress: bool | None = None,
    ) -> Any:
        """Read the weights, layer by layer, and return the model, frozen and in evaluation mode."""

        def read(name: str) -> nn.Parameter:
            return nn.Parameter(self.weights.read(self.names[name]).to(device, dtype), requires_grad=False)

        total = sum(1 for _ in self.model.parameters())
        label = Path(self.weights.label).name
        disable = None if progress is None else not progress
        with tqdm(total=total, desc=label, unit="tensor", disable=disable, leave=False) as bar:
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
    hush_kernels()
    from accelerate import init_empty_weights
    from diffusers import QwenImageTransformer2DModel

    config = layouts.transformer_config(weights)
    stated = _config_beside(weights, "QwenImageTransformer2DModel")
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
    hush_kernels()
    from accelerate import init_empty_weights
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

    names = layouts.text_encoder_names(weights)
    config = layouts.text_encoder_config(weights, names, tokenizer)
    if stated := _config_beside(weights, "Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLModel"):
        config = Qwen2_5_VLConfig.from_dict(stated)
    with init_empty_weights():
        model = Qwen2_5_VLModel(config)
    return Plan(model, weights, names, lambda _: "auto").check()


def plan_vae(weights: Checkpoint) -> Plan:
    """Diffusers' AutoencoderKLQwenImage from ComfyUI's (Wan's) or diffusers' layout."""
    hush_kernels()
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKLQwenImage

    config, wan = layouts.vae_config(weights)
    stated = _config_beside(weights, "AutoencoderKLQwenImage")
    config |= {name: stated[name] for name in ("latents_mean", "latents_std") if name in stated}
    names = {name: name for name in weights}
    if wan:
        from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

        names = convert_wan_vae_to_diffusers(names)
    with init_empty_weights():
        model = for_stills(AutoencoderKLQwenImage(**config))
    return Plan(model, weights, names, lambda _: "full").check()


def load_tokenizer(*places: Path) -> Any:
    """The tokenizer of Qwen2.5-VL from the first of `places` that holds one.

    A place is the tokenizer's folder, a diffusers folder or a ComfyUI checkout. Raises InputError, naming where
    a tokenizer is expected, if there is none.
    """
    inside = ("", "tokenizer", "processor", "comfy/text_encoders/qwen25_tokenizer")
    for place_ in places:
        for sub in inside:
            home = place_ / sub
            if (home / "tokenizer.json").is_file() or (home / "vocab.json").is_file():
                from transformers import Qwen2Tokenizer

                try:
                    tokenizer = Qwen2Tokenizer.from_pretrained(home, local_files_only=True)
                except (OSError, ValueError, TypeError, KeyError) as error:
                    raise InputError(
                        f"the tokenizer in {home} cannot be read: {' '.join(str(error).split())}"
                    ) from None
                for token in ("<|im_start|>", "<|vision_start|>", "<|image_pad|>"):
                    if len(tokenizer(token, add_special_tokens=False)["input_ids"]) != 1:
                        raise InputError(f"the tokenizer in {home} has no token {token}: it is not Qwen2.5-VL's")
                return tokenizer
    looked = f" (looked in {', '.join(str(p) for p in places)})" if places else ""
    raise InputError(
        f"the tokenizer of Qwen2.5-VL was not found{looked}: name a folder with its vocab.json and merges.txt, "
        "the diffusers folder of the model, or a ComfyUI checkout"
    )


def tokenizer_near(text_encoder: Path, given: str | None = None) -> Any:
    """The tokenizer in `given`, else beside the text encoder's file or in one of the four folders above it.

    Raises InputError as `load_tokenizer` does.
    """
    near = [text_encoder, *list(text_encoder.absolute().parents)[:4]]
    return load_tokenizer(*(near if given is None else [Path(given)]))


def _paths(folder: str | Path | None, given: Mapping[str, str | Path | None], parts: Sequence[str]) -> dict[str, Path]:
    """The path of each part that is known: the given file, else the part's subfolder. Those of `parts` must be."""
    if unknown := sorted(set(parts) - set(given)):
        raise InputError(f"the model has no part {unknown[0]!r}: its parts are {', '.join(given)}")
    paths = {}
    for part, path in given.items():
        if path is not None:
            paths[part] = Path(path)
        elif folder is not None and (Path(folder) / part).is_dir():
            paths[part] = Path(folder) / part
        elif part in parts and folder is None:
            raise InputError(f"no {part.replace('_', ' ')} was given: name its file, or a diffusers folder")
        elif part in parts:
            raise InputError(f"{folder} is not a diffusers folder of Qwen-Image-Edit: it has no subfolder {part}")
    return paths


def _variant(given: str | None, folder: str | Path | None, path: Path | None, weights: Checkpoint | None) -> str:
    """Decide which model it is: by the pipeline's class, the 2511 marker, the file's name, or what is given."""
    if weights is None or path is None:
        if given is None:
            raise InputError("without the transformer's file, give variant as 'edit', '2509' or '2511'")
        return given
    found = None
    if folder is not None and Path(folder) in path.parents:
        path = Path(folder)
        index = path / "model_index.json"
        pipeline = _json(index).get("_class_name") if index.is_file() else None
        found = PIPELINES.get(str(pipeline))
        if pipeline is not None and found is None:
            raise InputError(f"{folder} holds a {pipeline}, not Qwen-Image-Edit: only its edit models take a mask")
    marked = layouts.MARKER_2511 in weights
    named = layouts.variant_of(path, weights)
    if marked or _config_beside(weights, "QwenImageTransformer2DModel").get("zero_cond_t"):
        found = "2511"
    elif found is None or (found == "2509" and named == "2511"):
        found = named
    if given is not None:
        if marked and given != "2511":
            raise InputError(f"{weights.label} is Qwen-Image-Edit-2511, but {given} was asked for")
        return given
    if found is None:
        raise InputError(
            f"{path.name} does not tell which Qwen-Image-Edit it is, and text-to-image Qwen-Image has the same "
            "tensors: give variant as 'edit', '2509' or '2511'"
        )
    return found


def _tokenizer_places(given: str | Path | None, folder: str | Path | None, text_encoder: Path) -> list[Path]:
    if given is not None:
        return [Path(given)]
    places = [] if folder is None else [Path(folder)]
    if text_encoder.is_dir():
        places.append(text_encoder)
    places += [p for p in text_encoder.absolute().parents if (p / "comfy" / "text_encoders").is_dir()]
    return places


def _config_beside(weights: Checkpoint, *classes: str) -> dict[str, Any]:
    """The config.json in the folder of a checkpoint's shards; empty for a single file without one.

    Raises InputError if it describes another class.
    """
    if not weights.files:
        return {}
    path = weights.files[0].parent / "config.json"
    if not path.is_file() or not Path(weights.label).is_dir():
        return {}
    config = _json(path)
    stated = config.get("_class_name") or next(iter(config.get("architectures") or []), None)
    if stated not in classes:
        raise InputError(f"{path} describes a {stated}, where {classes[0]} is expected")
    return config


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{path} cannot be read as JSON") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} does not hold a JSON object")
    return value


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
    if storage in ("auto", "fp8") and tensor.dtype in _FLOAT8:
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
