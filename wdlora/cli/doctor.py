"""Print what is installed, which ComfyUI and device there are, and which model files are found: for bug reports.

Nothing is changed and nothing leaves this machine. The home folder is written as `~`, so that no user's name appears.
"""

import argparse
import json
from typing import Any

EXAMPLE = "python -m wdlora doctor --comfyui ~/ComfyUI"
EXTRAS = {
    "nodes": "nodes and commands",
    "train": "training",
    "host": "run and serve without ComfyUI",
    "dicom": "DICOM",
    "evaluation": "every figure of evaluate",
}
"""What the packages of an extra are for; another extra goes by its own name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--comfyui", metavar="DIR", help="ComfyUI's folder (default: found where it usually lies)")
    parser.add_argument(
        "--models", metavar="DIR", action="append", default=[], help="another folder of models; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(args: argparse.Namespace) -> int:
    """Examine and print; 1 where something is missing that every node needs."""
    from ..installation import examine

    values = examine(args.comfyui, args.models)
    if args.json:
        print(json.dumps(values, indent=2, ensure_ascii=False))
    else:
        print("\n".join(f"{name:<12}{text}" for name, text in lines(values)))
    return 1 if values["missing"]["nodes"] or not values["miniature"] else 0


def lines(values: dict[str, Any]) -> list[tuple[str, str]]:
    """What `examine` found, in ten lines of a name and a sentence."""
    memory = f", {values['memory_gb']:.0f} GB" if values["memory_gb"] else ""
    torch = values["packages"].get("torch")
    pack = {True: "yes", False: "no: put or link this folder into custom_nodes", None: "no ComfyUI was found"}
    models = values["models"]
    folders = ", ".join(models["folders"]) or "none: name one by --models or --comfyui"
    found = ", ".join(f"{name} ({_gigabytes(size)})" for name, size in models["found"].items())
    missing = ", ".join(f"{name} ({folder})" for name, folder in models["missing"].items())
    return [
        ("wdlora-ccm", f"{values['wdlora']} in {values['folder']}"),
        ("machine", f"Python {values['python']}, {values['system']}, {values['cores']} cores{memory}"),
        ("device", f"{values['device']} (PyTorch {torch})" if torch else values["device"]),
        ("packages", _packages(values["missing"])),
        ("ComfyUI", _comfyui(values["comfyui"])),
        ("in ComfyUI", pack[values["comfyui"]["has_pack"]]),
        ("models in", folders),
        ("found", found or "none of the files that the shipped workflows name"),
        ("missing", missing or "nothing"),
        ("miniature", "whole" if values["miniature"] else "damaged or missing: install the pack again"),
    ]


def _packages(missing: dict[str, list[str]]) -> str:
    """What the installed packages are enough for, and how to get the others."""
    enough = [EXTRAS.get(key, key) for key, names in missing.items() if not names]
    parts = [f"complete for {', '.join(enough)}"] if enough else []
    for key, names in missing.items():
        if names:
            how = "install requirements.txt" if key == "nodes" else f"pip install {' '.join(names)}"
            parts.append(f"{EXTRAS.get(key, key)} lacks {', '.join(names)} ({how})")
    return "; ".join(parts)


def _comfyui(found: dict[str, Any]) -> str:
    if found["folder"] is None:
        return "not found in the usual places: name its folder by --comfyui"
    version = found["version"] or "of unknown version"
    age = "" if found["new_enough"] is not False else f": too old, {found['needed']} or newer is needed"
    return f"{version} in {found['folder']}{age}"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
