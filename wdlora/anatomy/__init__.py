"""Corneal nerves: masks to order, phantoms, tracing and biomarkers.

The names below are imported when they are first used, so that importing the package stays cheap.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from .biomarkers.panel import Biomarkers as Biomarkers
    from .biomarkers.panel import measure as measure
    from .masks.degeneration import degenerate as degenerate
    from .masks.sampler import sample_mask as sample_mask
    from .nerve_mask import NerveMask as NerveMask
    from .phantoms.phantom import phantom as phantom
    from .tracing.tracer import trace as trace

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "biomarkers.panel": ["Biomarkers", "measure"],
        "masks.degeneration": ["degenerate"],
        "masks.sampler": ["sample_mask"],
        "nerve_mask": ["NerveMask"],
        "phantoms.phantom": ["phantom"],
        "tracing.tracer": ["trace"],
    },
)
