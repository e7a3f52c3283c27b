"""ComfyUI's own nodes, as far as the shipped workflows use them: same ids, sockets and meaning as in 0.33."""

import importlib
from typing import Any

FILES = ("images", "masks", "scaling", "stitch", "loaders", "conditioning", "sampling", "primitives", "text")


def classes() -> list[tuple[Any, str | None, str]]:
    """(class, display name, python module) of every core node."""
    found: list[tuple[Any, str | None, str]] = []
    for file in FILES:
        module = importlib.import_module(f".{file}", __name__)
        found += module.NODES
    return found
