"""The node pack, loaded as ComfyUI loads it: from its folder, under a name of its own.

`nodes` reaches the library as `..wdlora`. That name is made to mean this very package, submodules included, so
that there is one copy of the library in the process.
"""

import asyncio
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import InputError
from ..graph import Graph

NAME = "wdlora_pack"
_LIBRARY = __package__.rpartition(".")[0]


class _Alias(importlib.machinery.ModuleSpec):
    """Spec of a second name of a module that has one already."""


class _AliasFinder:
    """Answers imports of `wdlora_pack.wdlora.…` with the module of this library."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A spec for names below `wdlora_pack.wdlora`, None for all others."""
        prefix = f"{NAME}.wdlora"
        if not fullname.startswith(prefix + "."):
            return None
        module = importlib.import_module(_LIBRARY + fullname[len(prefix) :])
        return _Alias(fullname, _AliasLoader(module), is_package=hasattr(module, "__path__"))


class _AliasLoader(importlib.abc.Loader):
    def __init__(self, module: ModuleType):
        self.module = module
        self.spec = module.__spec__

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The module itself."""
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: give the module its own spec back."""
        module.__spec__ = self.spec


def root() -> Path:
    """The pack's folder: the one that holds this library. Raises InputError where the pack is not there."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / "nodes" / "__init__.py").is_file():
        raise InputError(
            f"the node pack is not beside the library (looked in {folder}): install it with pip install -e"
        )
    return folder


def load_pack() -> ModuleType:
    """Import the pack's `__init__.py` as the module `wdlora_pack`, once in a process."""
    if NAME in sys.modules:
        return sys.modules[NAME]
    folder = root()
    spec = importlib.util.spec_from_file_location(
        NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    sys.modules[f"{NAME}.wdlora"] = sys.modules[_LIBRARY]
    sys.meta_path.insert(0, _AliasFinder())
    spec.loader.exec_module(module)
    module.__dict__["wdlora"] = sys.modules[_LIBRARY]
    return module


def engine_module() -> ModuleType:
    """The pack's seam, `nodes/engine.py`."""
    load_pack()
    return importlib.import_module(f"{NAME}.nodes.engine")


def stamps(prompt: Graph) -> dict[str, Any]:
    """What is written into pictures beside their graph."""
    load_pack()
    return importlib.import_module(f"{NAME}.nodes.studies").stamps(prompt)


def node_classes() -> list[Any]:
    """The classes that the pack's entry point offers."""
    entry = load_pack().comfy_entrypoint

    async def ask() -> list[Any]:
        extension = await entry()
        await extension.on_load()
        return await extension.get_node_list()

    with ThreadPoolExecutor(1) as thread:  # the caller may be inside an event loop already
        return thread.submit(asyncio.run, ask()).result()


def web_directory() -> Path:
    """The pack's front-end extension."""
    return root() / load_pack().WEB_DIRECTORY
