"""The pack's nodes: thin V3 shells over the library, one topic a file.

A file names its classes in `NODES`; `extension()` collects them when the host asks.
"""

import importlib
from typing import Any

FILES = (
    "models",
    "adapter",
    "conditioning",
    "images",
    "masks",
    "degenerate",
    "phantom",
    "trace",
    "biomarkers",
    "compare",
    "evaluate",
    "dataset",
    "train",
)


def node_classes() -> list[Any]:
    """Every node class of the pack, in the order of `FILES`."""
    return [node for file in FILES for node in importlib.import_module(f".{file}", __name__).NODES]


def extension() -> Any:
    """The pack's `ComfyExtension`. Raises InputError, which ComfyUI logs in one line, where ComfyUI is too old."""
    from .requirement import check_comfyui

    check_comfyui()
    from comfy_api.latest import ComfyExtension

    class CornealConfocal(ComfyExtension):
        async def on_load(self) -> None:
            from .engine import note_studies

            note_studies()

        async def get_node_list(self) -> list[Any]:
            return node_classes()

    return CornealConfocal()
