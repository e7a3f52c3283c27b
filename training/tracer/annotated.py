"""Annotated images of a data set, on which a level may be chosen. Nothing is learned from them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wdlora.anatomy.scale import PIXEL_SIZE_UM
from wdlora.anatomy.tracing.pixel_grid import pixel_grid
from wdlora.clinic.images import as_uint8, read_image
from wdlora.dataset.layouts import read_annotation, read_layout, require_annotations


def annotated_images(folder: Path, pixel_size_um: str | None) -> list[tuple[NDArray, NDArray]]:
    """Images [h, w] and what is annotated in them bool [h, w], in pixels of the network.

    Raises InputError for a folder of no known layout, images without annotation or pixel size.
    """
    sources = read_layout(folder).sources
    require_annotations(sources)
    found = []
    for source in sources:
        image = read_image(source.image, pixel_size_um)
        pixels = as_uint8(image.pixels)
        truth = read_annotation(source, image.pixels) & image.valid
        grid = pixel_grid(pixels.shape, image.require_pixel_size(str(source.image)), PIXEL_SIZE_UM)
        found.append((np.asarray(grid.from_image(pixels)), grid.from_image(truth) > 0.5))
    return found
