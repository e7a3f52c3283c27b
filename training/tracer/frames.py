"""Phantoms to learn from, with their truths, kept in a folder so that an interrupted run goes on."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.tracer.courses import wound
from wdlora.anatomy import sample_mask
from wdlora.anatomy.phantoms.cornea.model import CorneaModel
from wdlora.anatomy.phantoms.phantom import frame
from wdlora.cohorts import COHORTS
from wdlora.evaluation.workers import Crew
from wdlora.files import atomic_write

LOOKS = CorneaModel(k_structures=0.5, epithelium=0.35, pressure_lines=0.2, motion_stripes=0.2, information_bar=0.06)
"""More of what is no nerve than a usual frame has."""

DENSER = 0.7
"""Share of the frames whose fine network is denser than the sampler's …"""

DENSITY = (0.3, 1.1)
"""… over the length of the nerves, a value of this range."""

DRAWN, COVERED = 1, 2
"""Bits of the marks: drawn by an annotator; hidden by a motion stripe or the information bar."""

STEPS = 20
"""Visibility is kept in whole numbers of a twentieth."""

CHUNK = 20
"""Frames of one file."""


@dataclass(frozen=True)
class Frames:
    """What was drawn, all uint8 [n, H, W]: `images`, `visibility` (on centrelines the brightness over the grain, times
    `STEPS`) and `marks` of the bits above.
    """

    images: NDArray
    visibility: NDArray
    marks: NDArray

    def __len__(self) -> int:
        return len(self.images)

    def first(self, count: int) -> "Frames":
        """The first `count` of them."""
        return Frames(self.images[:count], self.visibility[:count], self.marks[:count])


def training_frame(seed: int) -> tuple[NDArray, NDArray, NDArray]:
    """Image, visibility and marks of one training phantom, deterministic by `seed`."""
    rng = np.random.default_rng([seed, 2501])
    nerves = sample_mask(list(COHORTS)[seed % len(COHORTS)], seed)
    if rng.random() < DENSER:
        nerves = replace(nerves, fine_share=float(rng.uniform(*DENSITY)))
    nerves = wound(nerves, rng)
    drawn = frame(nerves, seed, model=LOOKS)
    covered = drawn.structures["motion_stripes"] | drawn.structures["information_bar"]
    marks = nerves.mask * np.uint8(DRAWN) + covered * np.uint8(COVERED)
    return drawn.image, np.minimum(np.rint(drawn.visibility * STEPS), 255).astype(np.uint8), marks


def training_frames(folder: Path, first: int, count: int, crew: Crew) -> Frames:
    """`count` frames of the seeds from `first` on; what is in `folder` already is not drawn again."""
    parts: list[tuple[NDArray, ...]] = []
    for start in range(0, count, CHUNK):
        place = folder / f"frames-{first + start}-{min(CHUNK, count - start)}.npz"
        if not place.exists():
            seeds = [(first + start + k,) for k in range(min(CHUNK, count - start))]
            made = crew.run(training_frame, seeds, f"phantoms {start + len(seeds)} of {count}")
            images, visibility, marks = (np.stack([one[part] for one in made]) for part in range(3))
            with atomic_write(place) as temporary, open(temporary, "wb") as file:
                np.savez_compressed(file, images=images, visibility=visibility, marks=marks)
        with np.load(place, allow_pickle=False) as held:
            parts.append((held["images"], held["visibility"], held["marks"]))
    return Frames(*(np.concatenate(part) for part in zip(*parts, strict=True)))
