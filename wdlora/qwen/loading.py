"""Load Qwen-Image-Edit, -2509 and -2511 from the user's files: a diffusers folder or ComfyUI's single files.

Nothing is downloaded.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..weights.linear import require_nf4
from .checkpoint import Checkpoint, transformer_config
from .encode import VARIANTS
from .files import PARTS, ModelFiles
from .memory import pick_device, pick_dtype, place
from .plans import Plan, plan_text_encoder, plan_transformer, plan_vae
from .sampling import OFFICIAL, Sampling
from .variant import decide_variant

STORAGES = ("auto", "full", "fp8", "nf4")


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

    `variant` is "edit", "2509" or "2511"; `dtype` the type in which all parts compute; `defaults` how it samples where
    a caller does not say; `hashes` maps "transformer", "text_encoder" and "vae" to the SHA-256 of their files.
    """

    transformer: Any
    text_encoder: Any
    tokenizer: Any
    vae: Any
    variant: str
    dtype: torch.dtype
    device: torch.device
    hashes: Mapping[str, str | None] = field(default_factory=dict)
    defaults: Sampling = OFFICIAL["edit"]


def load(
    files: ModelFiles | str | Path,
    *,
    parts: Sequence[str] = PARTS,
    storage: str = "auto",
    offload: str = "none",
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> QwenImageEdit:
    """Load a model from its files, or from the path of a diffusers folder.

    `parts`: which to read; the others are None, as is the tokenizer without the text encoder (so that a trainer
    holds one at a time). `storage` of the transformer's blocks: "auto" (fp8 where the file has it), "full", "fp8" or
    "nf4"; `offload`: see `memory.place`. `device` and `dtype` default to CUDA and bfloat16 if there is a GPU, else to
    CPU and float32.

    Raises InputError, before a tensor is read, for a missing or damaged file, another model, a storage layout
    that is not supported and for settings that cannot be met.
    """
    target = pick_device(device)
    compute = pick_dtype(dtype, target)
    planned = _planned(ModelFiles.of(files), parts, storage)
    home = target if offload == "none" else torch.device("cpu")
    loaded: dict[str, Any] = dict.fromkeys(PARTS)
    loaded |= {part: plan.fill(home, compute, target) for part, plan in planned.plans.items()}
    place(loaded["text_encoder"], loaded["transformer"], loaded["vae"], target, offload)
    planned.close()
    return QwenImageEdit(
        **loaded,
        tokenizer=planned.tokenizer,
        variant=planned.variant,
        dtype=compute,
        device=target,
        hashes=Hashes(planned.checkpoints),
        defaults=OFFICIAL[planned.variant],
    )


def check_files(files: ModelFiles | str | Path, storage: str = "auto") -> None:
    """Raise InputError where `load` would for one of the parts; reads headers alone."""
    _planned(ModelFiles.of(files), PARTS, storage).close()


@dataclass(frozen=True)
class _Planned:
    """A model whose headers fit, before its tensors are read."""

    checkpoints: dict[str, Checkpoint]
    plans: dict[str, Plan]
    tokenizer: Any
    variant: str

    def close(self) -> None:
        for weights in self.checkpoints.values():
            weights.close()


def _planned(files: ModelFiles, parts: Sequence[str], storage: str) -> _Planned:
    if storage not in STORAGES:
        raise InputError(f"the storage {storage!r} is not known: use one of {', '.join(STORAGES)}")
    if files.variant is not None and files.variant not in VARIANTS:
        raise InputError(f"the variant {files.variant!r} is not known: use one of {', '.join(VARIANTS)}")
    if storage == "nf4":
        require_nf4()
    paths = files.paths(parts)
    checkpoints = {part: Checkpoint(path) for part, path in paths.items()}
    shape = transformer_config(checkpoints["transformer"]) if "transformer" in checkpoints else None
    chosen = decide_variant(files.variant, files.folder, paths.get("transformer"), checkpoints.get("transformer"))
    plans: dict[str, Plan] = {}
    words = None
    if "text_encoder" in parts:
        words = files.load_tokenizer(paths["text_encoder"])
        plans["text_encoder"] = plan_text_encoder(checkpoints["text_encoder"], words)
        width = plans["text_encoder"].model.config.text_config.hidden_size
        if shape is not None and (joint := shape["joint_attention_dim"]) != width:
            raise InputError(
                f"the text encoder is {width} wide but the transformer reads {joint}: they belong to different models"
            )
    if "transformer" in parts:
        plans["transformer"] = plan_transformer(checkpoints["transformer"], chosen == "2511", storage)
    if "vae" in parts:
        plans["vae"] = plan_vae(checkpoints["vae"])
    return _Planned(checkpoints, plans, words, chosen)
