"""Whether a peer follows masks: held-out masks painted and traced, each beside the mask of another image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.cases import best_corner
from training.downstream.images import LabelledImage
from training.monitor import traced_errors, write_sheet
from wdlora.anatomy import trace
from wdlora.anatomy.overlap import dice

Painter = Callable[[NDArray[np.bool_], str, int], NDArray[np.uint8]]
"""A mask, a cohort and a seed to a picture uint8 [H, W]."""

SHOWN = 2
"""Pictures of a cohort on a sheet."""


@dataclass(frozen=True)
class JudgedCrop:
    """A crop of a held-out image [H, W] with its mask."""

    cohort: str
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def crops_to_judge(images: Sequence[LabelledImage], size: int, most: int) -> list[JudgedCrop]:
    """Of at most `most` images spread over all, the crop of four that holds the most nerve; crops without any have
    nothing to follow and are left out.
    """
    chosen = [images[round(place)] for place in np.linspace(0, len(images) - 1, min(most, len(images)))]
    found = []
    for number, image in enumerate(chosen):
        row, column = best_corner(image.mask, size, np.random.default_rng(number))
        window = slice(row, row + size), slice(column, column + size)
        if image.mask[window].any():
            found.append(JudgedCrop(image.cohort, image.image[window], image.mask[window]))
    return found


def following(crops: Sequence[JudgedCrop], paint: Painter, pixel_size_um: float, sheet: Path) -> dict[str, float]:
    """Paint every crop's mask, and write a sheet of the first of every cohort.

    `traced_dice`: of the traced picture with its mask. `wrong_dice`: with the mask of the crop half the list away,
    which a generator that follows nothing would reach as well; left out where there is one crop alone.
    `traced_cnfl_error`: traced − mask, mm/mm². Empty without crops.
    """
    if not crops:
        return {}
    painted = [paint(crop.mask, crop.cohort, number) for number, crop in enumerate(crops)]
    _show(crops, painted, sheet)
    return followed(painted, [crop.mask for crop in crops], pixel_size_um)


def followed(
    painted: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.bool_]], pixel_size_um: float
) -> dict[str, float]:
    """The figures of `following`, of pictures and the masks that they were painted from."""
    traced = [trace(picture, pixel_size_um) for picture in painted]
    figures = traced_errors(traced, masks, pixel_size_um)
    if len(masks) < 2:
        return figures
    others = [masks[(number + len(masks) // 2) % len(masks)] for number in range(len(masks))]
    wrong = [dice(found, other) for found, other in zip(traced, others, strict=True)]
    return figures | {"wrong_dice": float(np.mean(wrong))}


def _show(crops: Sequence[JudgedCrop], painted: Sequence[NDArray[np.uint8]], sheet: Path) -> None:
    rows: list[int] = []
    for cohort in dict.fromkeys(crop.cohort for crop in crops):
        rows += [number for number, crop in enumerate(crops) if crop.cohort == cohort][:SHOWN]
    write_sheet(
        [crops[row].cohort for row in rows],
        [crops[row].mask for row in rows],
        [crops[row].image / 255 for row in rows],
        [painted[row] / 255 for row in rows],
        sheet,
        ("mask", "image", "painted"),
    )
