"""Checks that run in ComfyUI's own Python, on its own ModelPatcher, samplers and loaders, without its server.

    PYTHON inside COMFYUI_FOLDER PACK_FOLDER DIFFUSERS_FOLDER OUT.json [GGUF_PACK_FOLDER|-] [CHECK …]

DIFFUSERS_FOLDER holds the miniature in diffusers' layout.

Every function named `check_…` returns figures; `test_inside.py` says what they must be. Nothing here is random from
run to run.
"""

import json
from typing import Any

import common  # before the others: it finds ComfyUI
import loaders
import loras
import torch
import weights


def main() -> None:
    from comfyui_version import __version__

    found: dict[str, Any] = {"comfyui": __version__, "torch": torch.__version__}
    for module in (weights, loras, loaders):
        for name, check in vars(module).items():
            short = name.removeprefix("check_")
            if name.startswith("check_") and (not common.ONLY or short in common.ONLY):
                found[short] = check()
                common.OUT.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
