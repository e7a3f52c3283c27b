"""What this machine has for the pack: packages, device, ComfyUI, model files. It reads, and changes nothing."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import __version__
from .errors import InputError

ROOT = Path(__file__).resolve().parents[1]
"""The pack's folder."""
PLACES = ("comfy/ComfyUI", "Documents/comfy/ComfyUI", "ComfyUI")
"""Where ComfyUI is looked for below the home folder: comfy-cli's places, and a plain clone."""
KINDS = {"diffusion_model": "diffusion_models", "text_encoder": "text_encoders", "vae": "vae", "adapter": "loras"}
"""Inputs of the pack's nodes that name a model file, and the folder that it belongs into."""


@dataclass(frozen=True)
class Wanted:
    """A model file that the shipped workflows name; `path` is None where it is missing."""

    name: str
    folder: str
    path: Path | None = None


@dataclass(frozen=True)
class ComfyUI:
    """A ComfyUI: its folder, its version ("" where none is written), whether this pack is among its custom nodes."""

    folder: Path
    version: str
    has_pack: bool


def examine(comfyui: str | os.PathLike | None = None, models: Sequence[str | os.PathLike] = ()) -> dict[str, Any]:
    """Everything that a bug report needs, as JSON values; the home folder is written `~`.

    `comfyui`: its folder, found by itself where it lies in a usual place or around this pack. `models`: more folders
    with ComfyUI's model folders in them. Raises InputError where one of them is not there.
    """
    found = find_comfyui(comfyui)
    roots = [*([found.folder / "models"] if found else []), *map(Path, models)]
    for root in map(Path, models):
        if not root.is_dir():
            raise InputError(f"there is no models folder {root}; check the path")
    wanted = model_files(roots)
    needed = oldest_comfyui()
    return {
        "wdlora": __version__,
        "folder": short(ROOT),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory_gb": memory_gb(),
        "device": device(),
        "packages": packages(),
        "missing": missing_packages(),
        "comfyui": {
            "folder": short(found.folder) if found else None,
            "version": found.version if found else None,
            "needed": needed,
            "new_enough": at_least(found.version, needed) if found else None,
            "has_pack": found.has_pack if found else None,
        },
        "models": {
            "folders": [short(root) for root in roots],
            "found": {one.name: one.path.stat().st_size for one in wanted if one.path},
            "missing": {one.name: one.folder for one in wanted if one.path is None},
        },
        "miniature": miniature_whole(),
    }


def find_comfyui(named: str | os.PathLike | None = None) -> ComfyUI | None:
    """The ComfyUI in `named`, around this pack, in COMFYUI_DIR or in a usual place; None where there is none.

    Raises InputError where `named` holds none.
    """
    if named is not None:
        if not _is_comfyui(Path(named)):
            raise InputError(f"there is no ComfyUI in {named}: name the folder that holds main.py and custom_nodes")
        return _comfyui(Path(named))
    around = [ROOT.parents[1]] if ROOT.parent.name == "custom_nodes" else []
    told = [Path(os.environ["COMFYUI_DIR"])] if os.environ.get("COMFYUI_DIR") else []
    places = [*around, *told, *(Path.home() / place for place in PLACES)]
    return next((_comfyui(place) for place in places if _is_comfyui(place)), None)


def _is_comfyui(folder: Path) -> bool:
    return (folder / "main.py").is_file() and (folder / "custom_nodes").is_dir()


def _comfyui(folder: Path) -> ComfyUI:
    try:
        text = (folder / "comfyui_version.py").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    written = re.search(r'__version__\s*=\s*["\']([^"\']+)', text)
    inside = any(_same(one, ROOT) for one in (folder / "custom_nodes").iterdir())
    return ComfyUI(folder.resolve(), written.group(1) if written else "", inside)


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def at_least(version: str, needed: str) -> bool | None:
    """Whether a version such as "0.33.0" is not older than another; None where it is not known."""
    numbers = [tuple(int(part) for part in re.findall(r"\d+", text.split("+")[0])[:3]) for text in (version, needed)]
    return numbers[0] >= numbers[1] if all(numbers) else None


def model_files(roots: Sequence[Path]) -> list[Wanted]:
    """The model files that the shipped workflows name, with their place in the first of `roots` that has them."""
    wanted: dict[str, str] = {}
    for path in sorted((ROOT / "workflows" / "api").glob("*.json")):
        for node in json.loads(path.read_text(encoding="utf-8")).values():
            for name, value in node.get("inputs", {}).items():
                if name in KINDS and isinstance(value, str) and value.endswith(".safetensors"):
                    wanted[value] = KINDS[name]
    return [Wanted(name, folder, _in(roots, folder, name)) for name, folder in wanted.items()]


def _in(roots: Sequence[Path], folder: str, name: str) -> Path | None:
    older = {"diffusion_models": "unet", "text_encoders": "clip"}
    for root in roots:
        for kind in (folder, older.get(folder, folder)):
            if hit := next((root / kind).rglob(name), None):
                return hit
    return None


def requirements() -> dict[str, list[str]]:
    """Names of the packages that the pack needs ("nodes") and of those of every extra, as pyproject.toml has them."""
    project = _pyproject()["project"]
    lists = {"nodes": project["dependencies"], **project["optional-dependencies"]}
    names = {key: [re.split(r"[<>=!\[ ;]", line)[0] for line in lines] for key, lines in lists.items()}
    return {key: [one for one in values if one != project["name"]] for key, values in names.items() if key != "dev"}


def packages() -> dict[str, str | None]:
    """The version of every package that the pack can use; None where it is not installed."""
    return {name: _version(name) for names in requirements().values() for name in names}


def missing_packages() -> dict[str, list[str]]:
    """For "nodes" and every extra what is not installed."""
    return {key: [name for name in names if _version(name) is None] for key, names in requirements().items()}


def oldest_comfyui() -> str:
    """The oldest ComfyUI on which the pack runs."""
    return str(_pyproject()["tool"]["comfy"]["requires-comfyui"]).removeprefix(">=")


def _pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def device() -> str:
    """What PyTorch computes on, such as "NVIDIA H200, 139 GB" or "CPU"."""
    if importlib.util.find_spec("torch") is None:
        return "none: torch is not installed"
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        more = f" and {torch.cuda.device_count() - 1} more" if torch.cuda.device_count() > 1 else ""
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GB{more}"
    return "Apple GPU (MPS)" if torch.backends.mps.is_available() else "CPU"


def memory_gb() -> float | None:
    """The machine's memory; None where the system does not say."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def miniature_whole() -> bool:
    """Whether the small model that ships is here byte for byte, and no half copy or pointer of a Git without LFS."""
    from .files import sha256
    from .qwen.miniature_files import miniature_files

    try:
        files = miniature_files()
        hashes = json.loads(files.metrics.read_text(encoding="utf-8"))["sha256"]
        return all(sha256(files.folder / name) == value for name, value in hashes.items())
    except (InputError, OSError):
        return False


def short(path: Path) -> str:
    """A path without the user's name: the home folder is `~`."""
    try:
        return f"~/{path.resolve().relative_to(Path.home()).as_posix()}".removesuffix("/.")
    except ValueError:
        return str(path.resolve())
