"""A segmenter's own pixels beside those of an image."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

SAME = 0.02
"""Pixel sizes that differ by less count as equal: 1.04 and 400/384."""


@dataclass(frozen=True)
class PixelGrid:
    """A grid of `shape` (rows, columns) over an image of `image_shape`, both covering the same field."""

    shape: tuple[int, int]
    image_shape: tuple[int, int]

    @property
    def step(self) -> tuple[float, float]:
        """Height and width of a place of the grid in pixels of the image."""
        return self.image_shape[0] / self.shape[0], self.image_shape[1] / self.shape[1]

    def to_image(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Image coordinates in px of places on the grid; centres are whole numbers on both."""
        down, right = self.step
        return (rows + 0.5) * down - 0.5, (columns + 0.5) * right - 0.5

    def from_image(self, image: np.ndarray) -> np.ndarray:
        """An image [H, W] on the grid, float32 [h, w]: means where the grid is coarser, cubic where it is finer."""
        return _resized(image, self.shape)

    def on_image(self, field: np.ndarray) -> np.ndarray:
        """A field of the grid [h, w] on the image, float32 [H, W]."""
        return _resized(field, self.image_shape)

    def area(self, valid: np.ndarray | None) -> np.ndarray | None:
        """A valid area bool [H, W] on the grid: places of which no part lies outside it."""
        if valid is None or self.shape == self.image_shape:
            return valid
        return _resized(valid, self.shape) > 0.999


def pixel_grid(shape: tuple[int, int], pixel_um: tuple[float, float], own_um: float) -> PixelGrid:
    """The grid of pixels of about `own_um` µm for an image of `shape` whose pixels are `pixel_um` (row, column)."""
    sides = [
        n if abs(p / own_um - 1) < SAME else max(round(n * p / own_um), 1) for n, p in zip(shape, pixel_um, strict=True)
    ]
    return PixelGrid((sides[0], sides[1]), (shape[0], shape[1]))


def _resized(field: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    field = np.asarray(field, np.float32)
    if field.shape == shape:
        return field
    picture = Image.fromarray(field)
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), np.float32)
