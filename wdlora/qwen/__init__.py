"""Qwen-Image-Edit through diffusers: load, encode, latents, sample.

The names below are imported when they are first used, so that importing the package stays cheap. `encode` and
`generate` are imported from the modules of the same name.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .encode import Conditioning
    from .latents import decode_latents, encode_image
    from .loading import QwenImageEdit, load
    from .patch import apply_adapter
    from .sampling import sample
    from .view import vl_view

_HOMES = {
    "Conditioning": "encode",
    "QwenImageEdit": "loading",
    "apply_adapter": "patch",
    "decode_latents": "latents",
    "encode_image": "latents",
    "load": "loading",
    "sample": "sampling",
    "vl_view": "view",
}

__all__ = [
    "Conditioning",
    "QwenImageEdit",
    "apply_adapter",
    "decode_latents",
    "encode_image",
    "load",
    "sample",
    "vl_view",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
