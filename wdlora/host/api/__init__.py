"""ComfyUI's V3 interface under ComfyUI's own module names, for a process without ComfyUI.

`install()` puts `comfy_api`, `comfy_api.latest` and `folder_paths` into `sys.modules`. Nothing does that but the
embedded host, and never where a real `comfy_api` is loaded.
"""

import sys
from types import ModuleType

from ...errors import InputError

_OURS = "wdlora.host"


def install() -> None:
    """Make `from comfy_api.latest import io, ui, ComfyExtension` and `import folder_paths` work.

    A second call does nothing. Raises InputError inside a ComfyUI process.
    """
    for name in ("comfy_api", "folder_paths"):
        loaded = sys.modules.get(name)
        if loaded is not None and getattr(loaded, "__embedded_host__", None) != _OURS:
            raise InputError(f"the embedded host cannot start: ComfyUI's own {name!r} is loaded here")
    if "comfy_api" in sys.modules:
        return
    from .. import folders
    from . import io, ui
    from .schema import ComfyExtension

    latest = _module("comfy_api.latest", io=io, IO=io, ui=ui, UI=ui, ComfyExtension=ComfyExtension)
    modules = {
        "comfy_api": _module("comfy_api", latest=latest, __path__=[]),
        "comfy_api.latest": latest,
        "comfy_api.latest.io": io,
        "comfy_api.latest.ui": ui,
        "folder_paths": _module("folder_paths", **folders.functions()),
    }
    latest.__path__ = []
    sys.modules.update(modules)


def _module(name: str, **members: object) -> ModuleType:
    module = ModuleType(name, "Supplied by the embedded host of WDLoRA-CCM.")
    module.__dict__.update(members, __embedded_host__=_OURS)
    return module
