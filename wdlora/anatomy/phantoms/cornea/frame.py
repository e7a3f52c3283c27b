"""One corneal frame of phantom 2, with the truth about everything in it."""

from dataclasses import dataclass

import numpy as np

from ...nerve_mask import NerveMask
from ..imaging import Appearance
from ..optics import Splats
from .bodies import draw_bodies
from .epithelium import epithelium
from .export import digitise, jpeg
from .grain import grain_field
from .information_bar import information_bar
from .k_structures import k_structures
from .light import focus_field, light_field
from .model import CorneaModel, part
from .motion import motion_stripes, uneven_rows
from .nerves import draw_nerves
from .person import draw_person
from .pressure_lines import pressure_lines

LEAST_BACKGROUND = 0.25
"""K-structures leave at least so much of the background."""

NERVE_GRAIN = (1.3, 2.6)
"""The grain on nerves and cells over that of the background."""

BEADING = 2.0
"""Depth of the beads over the appearance's `beading`: at the middle appearance it is that of the real frames."""


@dataclass(frozen=True)
class Frame:
    """A frame and what is in it; all arrays are [H, W]."""

    image: np.ndarray
    """uint8."""
    visibility: np.ndarray
    """float32: on the centreline of every fibre its brightness over the SD of the grain there, 0 elsewhere. From
    about 2 on a fibre can be followed; below 1 it cannot be told from grain."""
    structures: dict[str, np.ndarray]
    """bool each: `k_structures`, `epithelium`, `bodies`, `pressure_lines`, `motion_stripes`, `information_bar`."""


def draw_frame(nerve_mask: NerveMask, seed: int, look: Appearance, model: CorneaModel) -> Frame:
    """Image a nerve mask, deterministic by `seed`; every part draws from a generator of its own."""
    shape, um = nerve_mask.mask.shape, 1 / nerve_mask.pixel_size_um
    person = draw_person(seed, model)
    light = light_field(shape, um, look.haze, model, seed)
    bands, cells = k_structures(shape, um, model.k_structures, seed), epithelium(shape, um, model.epithelium, seed)
    seen = focus_field(shape, um, model, seed) * (1 - bands.hidden) * (1 - cells.hidden)
    background = np.clip(1 + bands.change + cells.change, LEAST_BACKGROUND, None)
    canvas = Splats(shape, um)
    fibres = (*nerve_mask.centrelines, *(nerve_mask.fine if model.fine_network else ()))
    brightness = draw_nerves(fibres, canvas, seen * look.contrast, person, BEADING * look.beading, model, seed)
    structures = {"k_structures": bands.truth, "epithelium": cells.truth}
    structures["bodies"] = draw_bodies(canvas, look, model, seed)
    signal = np.clip(canvas.render(), 0, None)
    grain = np.float32(person.grain) * grain_field(shape, um, person, seed)
    on_nerves = np.float32(part(seed, "grain on nerves").uniform(*NERVE_GRAIN))
    image = background * np.clip(1 + grain, 0.2, None) + signal * np.clip(1 + on_nerves * grain, 0.1, None)
    lines, structures["pressure_lines"] = pressure_lines(shape, um, model.pressure_lines, seed)
    image = image * (light * lines) * np.float32(person.level)
    image, structures["motion_stripes"] = motion_stripes(
        uneven_rows(image, model.row_gain, seed), um, model.motion_stripes, seed
    )
    whole, structures["information_bar"] = information_bar(digitise(image, person, seed), model.information_bar, seed)
    noise = np.hypot(0.8 * person.grain * background, 3 * person.read_noise / (person.level * light))
    covered = structures["motion_stripes"] | structures["information_bar"]
    visibility = np.where(covered, 0, brightness / np.maximum(noise, 1e-3)).astype(np.float32)
    return Frame(jpeg(whole, model.jpeg, seed), visibility, structures)
