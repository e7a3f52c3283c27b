"""How a picture came about: the part of the graph that made it, and the hashes of the files that it loads."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ..wdlora.errors import InputError
from .watching import watched

KINDS = ("diffusion_models", "text_encoders", "vae", "loras")


def provenance(prompt: Any, node_id: Any, hash_models: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """The graph above a node (all of it where the node is unknown), and SHA-256 of its files, as JSON values.

    Names of pictures and folders in the input folder are pseudonyms, titles are left out: neither may tell who a
    patient is. `prompt` is the API-format graph or None; `say` hears which file is read.
    """
    from ..wdlora.graph.links import ancestors, parents_in
    from ..wdlora.privacy.names import Names
    from ..wdlora.privacy.pseudonym import Pseudonyms
    from ..wdlora.study import shipped_study
    from . import studies, tracers

    found: dict[str, Any] = {"prompt_version": shipped_study().version}
    if not isinstance(prompt, dict):
        return found
    name = str(node_id)
    needed = ancestors(name, parents_in(prompt)) if name in prompt else prompt
    graph = {id: {"class_type": prompt[id]["class_type"], "inputs": prompt[id]["inputs"]} for id in needed}
    if used := studies.used_in(graph):
        found = {"studies": used}
    pseudonyms = Pseudonyms(_input_path)
    found["graph"] = Names(pseudonyms).hide(graph)
    if traced_by := tracers.named(graph):
        found["tracers"] = traced_by
    if pseudonyms.hashes:
        found["inputs"] = pseudonyms.hashes
    if hash_models:
        hashes = {}
        for label, path in _model_files(graph):
            if label not in hashes:
                say(f"hashing {label}")
                hashes[label] = watched(partial(_hash, path))
        found["files"] = hashes
    return found


def _input_path(name: str) -> Path | None:
    """The file or folder that a graph names, in the input, output or temporary folder; None where there is none."""
    import folder_paths

    from . import files

    for kind in ("input", "output", "temp"):
        with suppress(InputError):
            path = files.confined(folder_paths.get_directory_by_type(kind), name, "input")
            if path.exists():
                return path
    return None


def _model_files(graph: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    """Name and path of every model file that the graph names; what comes through a link has no name there."""
    import folder_paths

    from . import models

    known = {kind: set(folder_paths.get_filename_list(kind)) for kind in KINDS}
    for node in graph.values():
        inputs = node["inputs"]
        parts = [inputs.get(key) for key in ("source", "diffusion_model", "text_encoder", "vae", "folder")]
        if node["class_type"] == "WDLoRALoadQwenImageEdit" and not any(isinstance(part, list) for part in parts):
            for path in dict.fromkeys(models.places(*parts)):
                yield Path(path).name, Path(path)
            continue
        if isinstance(inputs.get("linked_adapter"), list):  # the widget below it is not read
            inputs = {key: value for key, value in inputs.items() if key != "adapter"}
        for value in inputs.values():
            for kind, names in known.items():
                if isinstance(value, str) and value in names:
                    yield value, Path(folder_paths.get_full_path_or_raise(kind, value))


def _hash(path: Path) -> Any:
    """SHA-256 of a file; of a folder, of each of its weight files."""
    from ..wdlora.files import sha256
    from ..wdlora.temporaries import visible

    if path.is_file():
        return sha256(path)
    files = visible(path, "**/*.safetensors")
    return {os.path.relpath(file, path).replace(os.sep, "/"): sha256(file) for file in files}
