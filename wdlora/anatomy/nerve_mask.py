"""A nerve plexus as vectors and as the mask drawn from them."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .fibre import Fibre

if TYPE_CHECKING:
    from .biomarkers.panel import Biomarkers


@dataclass(frozen=True)
class NerveMask:
    """A nerve mask with the vectors it was drawn from.

    `mask` is bool [H, W], what an expert annotates: the published figures are about it. `target` is what was drawn
    from the cohort's distribution (`cnfl` mm/mm², `cnfd`, `cnbd` no./mm², `cnfw` µm/mm², `width_um`); `biomarkers` is
    what was measured on `mask`. `origin` is the mask that this one degenerated from, if it did.

    `fine_share` is the length of the fine network, thin fibres that experts do not annotate, over that of
    `centrelines`; 0 is none (masks of recipe 1). The network is grown when `fine` is first read, from the seed and the
    vectors alone, or declines with those of `origin`: `kept` are the stretches (points [n, 2] in pixels) of its
    centrelines that are left, before they are displaced.
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
    fine_share: float = 0.0
    kept: tuple[np.ndarray, ...] = field(default=(), repr=False)

    @cached_property
    def fine(self) -> tuple[Fibre, ...]:
        """The fine network's fibres, of the kind "fine"."""
        if not self.fine_share:
            return ()
        if self.origin is None:
            from .masks.fine_network import fine_network

            return fine_network(self.centrelines, self.mask.shape, self.pixel_size_um, self.fine_share, self.seed)
        from .masks.fine_decline import fine_remaining

        grown = tuple(fibre.points for fibre in self.origin.centrelines)
        share = self.target["cnfl"] / max(self.origin.target["cnfl"], 1e-9)
        return fine_remaining(self.origin.fine, grown, self.kept, share, self.pixel_size_um, self.seed)

    @cached_property
    def all_fibres(self) -> np.ndarray:
        """Everything that is there, bool [H, W]: `mask` and the fine network."""
        if not self.fine:
            return self.mask
        from .masks.drawing import mask_of_fibres

        return self.mask | mask_of_fibres(self.fine, self.mask.shape, self.pixel_size_um)
