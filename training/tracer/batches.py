"""Crops of training frames: standardised as the tracer does it, cut from tiles and mosaics, turned and mirrored."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.tracer.frames import Frames
from training.tracer.instruments import Parts, other_instrument
from training.tracer.labels import NERVE, NERVE_UNSURE, OUTSIDE, PEN, PEN_UNSURE, labelled, visibility_of
from wdlora.anatomy.scale import PIXEL_SIZE_UM
from wdlora.anatomy.tracing.choices import ANNOTATED, DETAILS
from wdlora.anatomy.tracing.levels import in_grains

CROP, BATCH = 160, 8

SEAMS, OUTLINES = 0.25, 0.12
"""Shares of the frames with the seam of another tile across them, and with a mosaic's black surroundings."""

OTHERS = 1.0
"""For every frame so many more as another instrument takes it."""

GAIN, SHIFT = (0.8, 1.25), 0.1
"""Range of a factor on a crop's grey levels, and the SD of what is added."""


@dataclass(frozen=True)
class Learnable:
    """`levels` float16 [n, H, W], what the network sees of the frames, and their `labels` uint8 [n, H, W]."""

    levels: NDArray
    labels: NDArray


def learnable(frames: Frames, seed: int) -> Learnable:
    """The frames as the network sees them, some with parts of mosaics, and some again as other instruments see them."""
    levels, labels = [], []
    for number in range(len(frames)):
        rng = np.random.default_rng([seed, number])
        plain = _parts(frames, number)
        versions = [_patched(plain, frames, rng) if rng.random() < SEAMS else plain]
        if rng.random() < OTHERS:
            versions.append(other_instrument(*plain, rng))
        for image, visibility, marks in versions:
            valid, label = np.ones(image.shape, bool), labelled(visibility, marks)
            if rng.random() < OUTLINES:
                rows, columns = _corner(image.shape, rng)
                valid[rows, columns] = False
                image = np.where(valid, image, 0)
                label[rows, columns] = OUTSIDE
            levels.append(in_grains(image, PIXEL_SIZE_UM, None if valid.all() else valid).astype(np.float16))
            labels.append(label)
    return Learnable(np.stack(levels), np.stack(labels))


def _parts(frames: Frames, number: int) -> Parts:
    return frames.images[number].astype(np.float32), visibility_of(frames.visibility[number]), frames.marks[number]


def _corner(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[slice, slice]:
    """A rectangle along one edge or in one corner, a tenth to a half of the sides."""
    spans = []
    for side in shape:
        reach = int(rng.uniform(0.1, 0.5) * side)
        start = int(rng.choice([0, side - reach]))
        spans.append(slice(start, start + reach))
    if (whole := int(rng.integers(3))) < 2:
        spans[whole] = slice(0, shape[whole])
    return spans[0], spans[1]


def _patched(parts: Parts, frames: Frames, rng: np.random.Generator) -> Parts:
    """Another frame laid over a part of this one, as stitching does: its brightness differs, nerves break off."""
    image, visibility, marks = (part.copy() for part in parts)
    other, its_visibility, its_marks = _parts(frames, int(rng.integers(len(frames))))
    window = _corner(image.shape, rng)
    match = (image[window].mean() / max(float(other[window].mean()), 1.0)) ** rng.uniform(0, 1)
    image[window] = np.clip(other[window] * match, 0, 255)
    visibility[window], marks[window] = its_visibility[window], its_marks[window]
    return image, visibility, marks


def crops(data: Learnable, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """One batch: levels float32 [n, 1, c, c], nerve or not of each detail float32 [n, 2, c, c], and what counts."""
    images, labels = [], []
    for _ in range(BATCH):
        number = rng.integers(len(data.labels))
        row, column = rng.integers(0, np.array(data.labels.shape[1:]) - CROP + 1)
        window = np.s_[number, row : row + CROP, column : column + CROP]
        quarter, mirrored = int(rng.integers(4)), rng.random() < 0.5
        image, label = (np.rot90(field[window], quarter) for field in (data.levels, data.labels))
        images.append((image[:, ::-1] if mirrored else image) * rng.uniform(*GAIN) + rng.normal(0, SHIFT))
        labels.append(label[:, ::-1] if mirrored else label)
    marks = torch.from_numpy(np.ascontiguousarray(np.stack(labels)))
    bits = [(PEN, PEN_UNSURE) if detail == ANNOTATED else (NERVE, NERVE_UNSURE) for detail in DETAILS]
    nerve = torch.stack([(marks & bit) > 0 for bit, _ in bits], 1).float()
    counts = torch.stack([(marks & (unsure | OUTSIDE)) == 0 for _, unsure in bits], 1).float()
    return torch.from_numpy(np.stack(images)[:, None].astype(np.float32)), nerve, counts
