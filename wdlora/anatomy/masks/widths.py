"""Widths along the fibres of a grown plexus: thick trunks, thin branches, beads, tapering tips."""

import numpy as np

from ..fibre import Fibre
from .curves import evaluate, waves
from .strand import Strand

BASE = {"trunk": 1.0, "branch": 0.68, "free": 0.74}
SPREAD = {"trunk": 0.10, "branch": 0.13, "free": 0.13}
BEADING = (0.07, 0.10, 0.13)
"""Relative amplitude of the beads at severity 0, 1 and 2: an assumption."""

TAPER_UM = 14.0
TIP = 0.7


def relative_widths(rng: np.random.Generator, strands: list[Strand], severity: float) -> list[np.ndarray]:
    """Width at every point of each strand's path, relative to a trunk's."""
    beading = float(np.interp(severity, [0, 1, 2], BEADING))
    result = []
    for strand in strands:
        base = BASE[strand.kind] * float(np.exp(SPREAD[strand.kind] * rng.standard_normal()))
        # Slopes are chosen so that the waves have root mean squares of `beading` and .06.
        beads = evaluate(waves(rng, beading / 2.0, (10.0, 17.0), 3), strand.arc)
        slow = evaluate(waves(rng, 0.06 / 21.0, (90.0, 200.0), 2), strand.arc)
        result.append(base * np.clip(1 + beads + slow, 0.6, 1.5))
    return result


def fibres(
    strands: list[Strand], relative: list[np.ndarray], trunk_width_um: float, pixel_size_um: float
) -> list[Fibre]:
    """The used parts as fibres in pixels, with widths in µm."""
    result = []
    for strand, width in zip(strands, relative, strict=True):
        points = strand.used()
        at = np.minimum(strand.arc[: len(points)], strand.stop)
        at[-1] = strand.stop
        drawn = trunk_width_um * np.interp(at, strand.arc, width)
        if strand.kind != "trunk":
            drawn *= TIP + (1 - TIP) * np.clip((strand.stop - at) / TAPER_UM, 0, 1)
        if strand.kind == "free" and strand.visible[1] > 0:
            drawn *= TIP + (1 - TIP) * np.clip(at / TAPER_UM, 0, 1)
        result.append(Fibre(points / pixel_size_um - 0.5, drawn, strand.kind, strand.parent))
    return result
