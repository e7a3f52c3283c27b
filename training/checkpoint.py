"""Checkpoints of a fine-tune: folders that appear whole or not at all, without pickles.

A checkpoint `step-000250` holds `parameters.safetensors` (what is trained, and its average),
`optimiser.safetensors` (the tensors of the optimiser's state), `state.json` (everything else) and `sha256.json` (the
hashes of all others, so that nothing goes on from a file in which a bit has flipped); whoever saves may put more files
beside them.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from wdlora.errors import InputError
from wdlora.files import permissions, write_json, write_tensors
from wdlora.temporaries import new_folder, visible

_NAME = re.compile(r"step-(\d{6,})")
_EARLIER = ".writing-"
_HASHES = "sha256.json"
_HASHED = ("parameters.safetensors", "optimiser.safetensors", "state.json")


def save_checkpoint(
    folder: Path,
    step: int,
    parameters: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    facts: dict[str, Any],
    keep: int,
    beside: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """Write the checkpoint of `step` under `folder` and remove all but the newest `keep`.

    `facts` is stored as JSON (configuration fingerprint, data fingerprint, averages' step count …). `beside` is called
    with the folder, before it gets its name, to put more files into it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_EARLIER}*"):  # by a killed run of an earlier version
        shutil.rmtree(left, ignore_errors=True)
    target = folder / f"step-{step:06d}"
    temporary = new_folder(folder)
    try:
        write_tensors(temporary / "parameters.safetensors", parameters)
        tensors: dict[str, Tensor] = {}
        rest = _flatten(optimiser.state_dict(), tensors)
        write_tensors(temporary / "optimiser.safetensors", tensors)
        write_json(temporary / "state.json", facts | {"step": step, "optimiser": rest})
        beside(temporary)
        hashes = {file.name: _sha256(file) for file in visible(temporary) if file.is_file()}
        write_json(temporary / _HASHES, hashes)
        temporary.chmod(permissions(0o777))
        if target.exists():
            shutil.rmtree(target)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in list_checkpoints(folder)[:-keep] if keep else []:
        shutil.rmtree(old)
    return target


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints under `folder`, oldest first; half-written ones do not carry the name."""
    found = [(int(m[1]), path) for path in folder.glob("step-*") if (m := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Read a checkpoint: parameters, the optimiser's state dict, and the facts. Raises InputError if it is torn
    or not as it was written."""
    try:
        stated = json.loads((path / _HASHES).read_text(encoding="utf-8"))
        there = [name for name in stated if name in _HASHED or (path / name).exists()]
        if changed := [name for name in {*_HASHED, *there} if stated[name] != _sha256(path / name)]:
            raise ValueError(f"{', '.join(changed)} changed after the checkpoint was written")
        facts = json.loads((path / "state.json").read_text(encoding="utf-8"))
        parameters = load_file(path / "parameters.safetensors")
        state = _unflatten(facts.pop("optimiser"), load_file(path / "optimiser.safetensors"))
    except Exception as error:
        raise InputError(f"The checkpoint {path.name} cannot be read ({error}); remove it and resume.") from None
    return parameters, state, facts


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON: tensors move to `tensors` and leave their names; keys keep their type."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        return {"items": [[key, _flatten(entry, tensors)] for key, entry in value.items()]}
    if isinstance(value, list | tuple):
        return [_flatten(entry, tensors) for entry in value]
    return value


def _unflatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {key: _unflatten(entry, tensors) for key, entry in value["items"]}
    if isinstance(value, list):
        return [_unflatten(entry, tensors) for entry in value]
    return value
