"""Augmented views of an image and its mask that stay registered: crop, rotation by 90°, mirror."""

import hashlib
from dataclasses import dataclass

import numpy as np

from wdlora.errors import InputError


@dataclass(frozen=True)
class View:
    """Where to look: the crop's first row and column and size, then quarter turns, then a mirror."""

    row: int
    column: int
    height: int
    width: int
    quarter_turns: int = 0
    mirror: bool = False

    def of(self, array: np.ndarray) -> np.ndarray:
        """The view of an array [H, W], contiguous."""
        crop = array[self.row : self.row + self.height, self.column : self.column + self.width]
        turned = np.rot90(crop, self.quarter_turns)
        return np.ascontiguousarray(turned[:, ::-1] if self.mirror else turned)


def draw_view(shape: tuple[int, int], size: int | None, augment: bool, seed: int, identity: str, index: int) -> View:
    """The view number `index` of the example `identity`, decided by its arguments alone.

    Without `size` the largest centred crop whose sides are multiples of 32 is taken. Raises InputError if the
    image is smaller than the crop.
    """
    height, width = (size, size) if size else (shape[0] // 32 * 32, shape[1] // 32 * 32)
    if height == 0 or width == 0 or height > shape[0] or width > shape[1]:
        raise InputError(
            f"The image {identity} is {shape[0]}×{shape[1]} pixels, smaller than the crop of {size or 32}."
        )
    digest = hashlib.sha256(f"{seed}/{identity}/{index}".encode()).digest()
    generator = np.random.default_rng(list(digest[:16]))
    row, column = (shape[0] - height) // 2, (shape[1] - width) // 2
    if size:
        row = int(generator.integers(shape[0] - height + 1))
        column = int(generator.integers(shape[1] - width + 1))
    turns, mirror = (int(generator.integers(4)), bool(generator.integers(2))) if augment else (0, False)
    return View(row, column, height, width, turns, mirror)
