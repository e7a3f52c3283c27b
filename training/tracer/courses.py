"""Plexuses as corneas have them and the sampler has not: winding nerves and whorls.

The sampler draws what a cohort's figures ask for, nearly straight and parallel. Here its vectors are moved by smooth
fields, which cut nothing and let nothing cross, before anything is drawn of them.
"""

from dataclasses import replace

import numpy as np

from wdlora.anatomy import NerveMask
from wdlora.anatomy.masks.drawing import mask_of_fibres
from wdlora.anatomy.phantoms.optics import smooth_field

WAVES = ((125.0, 16.0), (48.0, 6.0), (19.0, 1.6))
"""Scale and usual amplitude of the displacements in µm."""

SPREAD = 0.5
"""SD of the logarithm of the amplitudes over frames."""

WHORLS = 0.2
"""Share of the frames whose nerves turn round a point."""

TURN, REACH_UM = (0.8, 2.6), (60.0, 160.0)
"""How far they turn there, in radians, and the distance over which that fades."""


def wound(nerve_mask: NerveMask, rng: np.random.Generator) -> NerveMask:
    """The plexus with its nerves moved, its mask drawn again; what was measured of it is gone."""
    shape, um = nerve_mask.mask.shape, 1 / nerve_mask.pixel_size_um
    margin = 40
    room = (shape[0] + 2 * margin, shape[1] + 2 * margin)
    strength = np.exp(SPREAD * rng.standard_normal())
    fields = [
        [smooth_field(room, scale * um, rng) * (amplitude * um * strength) for _ in range(2)]
        for scale, amplitude in WAVES
    ]
    down, right = (np.sum([field[axis] for field in fields], axis=0) for axis in (0, 1))
    centre = rng.uniform(0.2, 0.8, 2) * (shape[1], shape[0])
    turn = rng.uniform(*TURN) * rng.choice([-1, 1]) if rng.random() < WHORLS else 0.0
    reach = rng.uniform(*REACH_UM) * um

    def moved(points: np.ndarray) -> np.ndarray:
        row = np.clip(points[:, 1] + margin, 0, room[0] - 1).astype(int)
        column = np.clip(points[:, 0] + margin, 0, room[1] - 1).astype(int)
        x, y = points[:, 0] + right[row, column] - centre[0], points[:, 1] + down[row, column] - centre[1]
        angle = turn * np.exp(-(x * x + y * y) / reach**2)
        cos, sin = np.cos(angle), np.sin(angle)
        return np.stack([centre[0] + cos * x - sin * y, centre[1] + sin * x + cos * y], axis=1)

    fibres = tuple(replace(fibre, points=moved(fibre.points)) for fibre in nerve_mask.centrelines)
    mask = mask_of_fibres(fibres, (shape[0], shape[1]), nerve_mask.pixel_size_um)
    return replace(nerve_mask, centrelines=fibres, mask=mask, biomarkers=None)
