"""Corneal nerves: masks to order, phantoms, tracing and biomarkers.

The names below are imported when they are first used, so that importing the package stays cheap.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .biomarkers import Biomarkers, measure
    from .degeneration import degenerate
    from .imaging import phantom
    from .plexus import NerveMask
    from .sampler import sample_mask
    from .tracing import trace

_HOMES = {
    "Biomarkers": "biomarkers",
    "NerveMask": "plexus",
    "degenerate": "degeneration",
    "measure": "biomarkers",
    "phantom": "imaging",
    "sample_mask": "sampler",
    "trace": "tracing",
}

__all__ = ["Biomarkers", "NerveMask", "degenerate", "measure", "phantom", "sample_mask", "trace"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
