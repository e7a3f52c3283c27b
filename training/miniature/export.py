"""Write the trained parts as the files that ship: ComfyUI's key layouts in float16, the tokenizer, the recipe."""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.miniature.planar import PlanarVAE, to_wan
from wdlora.files import sha256, write_json, write_tensors
from wdlora.qwen.miniature_files import MiniatureFiles
from wdlora.temporaries import visible

LIMIT_BYTES = 25 * 10**6


def export(
    folder: Path, transformer: Any, text_encoder: Any, vae: PlanarVAE, tokenizer: Path, recipe: dict[str, Any]
) -> MiniatureFiles:
    """Write all files of a miniature but `metrics.json` to `folder` and return their names.

    `text_encoder`: a `Qwen2_5_VLModel`; `tokenizer`: the folder that `train_tokenizer` wrote. Raises ValueError
    if a number overflows float16 or the files exceed 25 MB.
    """
    files = MiniatureFiles(folder)
    _save(transformer.state_dict(), files.transformer)
    _save({_comfy_name(name): value for name, value in text_encoder.state_dict().items()}, files.text_encoder)
    _save(to_wan(vae), files.vae)
    for source in visible(tokenizer):
        files.tokenizer.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, files.tokenizer / source.name)
    write_json(files.recipe, recipe)
    if (total := total_bytes(files)) > LIMIT_BYTES:
        raise ValueError(f"the miniature takes {total} bytes, more than {LIMIT_BYTES}")
    return files


def hashes(files: MiniatureFiles) -> dict[str, str]:
    """SHA-256 of every file but `metrics.json`, by its path in the folder."""
    found = [path for path in visible(files.folder, "**/*") if path.is_file() and path != files.metrics]
    return {path.relative_to(files.folder).as_posix(): sha256(path) for path in found}


def total_bytes(files: MiniatureFiles) -> int:
    """Size of everything in the miniature's folder."""
    return sum(path.stat().st_size for path in visible(files.folder, "**/*") if path.is_file())


def rounded(module: torch.nn.Module) -> torch.nn.Module:
    """The module with its parameters rounded, in place, as they will be shipped; still float32."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter.half().float())
    return module


def _comfy_name(name: str) -> str:
    """Transformers' name in `Qwen2_5_VLModel` → ComfyUI's."""
    return "model." + name.removeprefix("language_model.") if name.startswith("language_model.") else name


def _save(state: dict[str, Tensor], path: Path) -> None:
    tensors = {name: value.detach().half() for name, value in state.items()}
    if bad := [name for name, value in tensors.items() if not bool(value.isfinite().all())]:
        raise ValueError(f"{path.name}: {', '.join(bad)} cannot be stored as float16")
    write_tensors(path, tensors, {"format": "pt"})
