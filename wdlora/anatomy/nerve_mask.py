"""A nerve plexus as vectors and as the mask drawn from them."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from .biomarkers.panel import Biomarkers


@dataclass(frozen=True)
class Fibre:
    """One nerve fibre: a centreline with a width at every point.

    `points` is float64 [n, 2], x (column) and y (row) in pixels, pixel centres at integers; it may run beyond
    the image. `width_um` is float64 [n], the full drawn width in µm. `parent` is the index of the fibre that
    a branch leaves, None for trunks and free fibres.
    """

    points: np.ndarray
    width_um: np.ndarray
    kind: Literal["trunk", "branch", "free"]
    parent: int | None = None


@dataclass(frozen=True)
class NerveMask:
    """A nerve mask with the vectors it was drawn from.

    `mask` is bool [H, W]. `target` is what was drawn from the cohort's distribution (`cnfl` mm/mm², `cnfd`,
    `cnbd` no./mm², `cnfw` µm/mm², `width_um`); `biomarkers` is what was measured on `mask`. `origin` is the mask
    that this one degenerated from, if it did.
    """

    mask: np.ndarray
    centrelines: tuple[Fibre, ...]
    pixel_size_um: float
    cohort: str
    seed: int
    severity: float
    target: dict[str, float] = field(default_factory=dict)
    biomarkers: "Biomarkers | None" = None
    origin: "NerveMask | None" = field(default=None, repr=False)
