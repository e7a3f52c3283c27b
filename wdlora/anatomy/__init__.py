"""Corneal nerves: masks to order, phantoms, tracing and biomarkers.

The names below are imported when they are first used, so that importing the package stays cheap.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .biomarkers.panel import Biomarkers, measure
    from .masks.degeneration import degenerate
    from .masks.sampler import sample_mask
    from .phantoms.imaging import phantom
    from .plexus import NerveMask
    from .tracing.tracer import trace

_HOMES = {
    "Biomarkers": "biomarkers.panel",
    "NerveMask": "plexus",
    "degenerate": "masks.degeneration",
    "measure": "biomarkers.panel",
    "phantom": "phantoms.imaging",
    "sample_mask": "masks.sampler",
    "trace": "tracing.tracer",
}

__all__ = ["Biomarkers", "NerveMask", "degenerate", "measure", "phantom", "sample_mask", "trace"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
