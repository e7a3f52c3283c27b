"""What phantom 2 draws and how strongly: strengths of the image formation, chances of structures that are no nerves."""

import math
from dataclasses import dataclass, fields

import numpy as np

from ....errors import InputError
from ..optics import generator

CHANCES = ("k_structures", "epithelium", "pressure_lines", "motion_stripes", "information_bar", "jpeg")
"""Fields of `CorneaModel` that are chances from 0 to 1; the others are strengths from 0 up."""


@dataclass(frozen=True)
class CorneaModel:
    """Strengths (1 is the usual one, 0 switches off) and chances (of a frame to have it: 0 never, 1 always).

    `nerve_amplitude` scales the nerves before any noise is added; `fine_network` the fine fibres alone; `bodies` and
    `dendritic_cells` are numbers of cells. The chances are assumptions of ours: no frequency was published.
    """

    nerve_amplitude: float = 1.0
    fine_network: float = 1.0
    beading: float = 1.0
    jitter: float = 1.0
    focus: float = 1.0
    clouds: float = 1.0
    vignette: float = 1.0
    grain: float = 1.0
    read_noise: float = 1.0
    gain: float = 1.0
    row_gain: float = 1.0
    bodies: float = 1.0
    dendritic_cells: float = 1.0
    k_structures: float = 0.22
    epithelium: float = 0.20
    pressure_lines: float = 0.12
    motion_stripes: float = 0.15
    information_bar: float = 0.0
    jpeg: float = 0.7

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            most = 1.0 if name in CHANCES else math.inf
            if not (math.isfinite(value) and 0 <= value <= most):
                allowed = "a chance from 0 to 1" if name in CHANCES else "a strength from 0 up"
                raise InputError(f"{name} is {value!r}; give {allowed}")


def part(seed: int, name: str) -> np.random.Generator:
    """The random generator of one part of phantom 2, independent of every other part and seed."""
    return generator(seed, f"cornea: {name}")


def drawn(seed: int, name: str, chance: float) -> np.random.Generator | None:
    """The generator of a part that a frame has with this chance; None where it has not.

    A frame that has the part at a low chance has the same one at every higher chance.
    """
    rng = part(seed, name)
    return rng if rng.random() < chance else None
