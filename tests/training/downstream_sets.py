"""Small images of lines in noise, in which cohorts differ by how many lines there are: real and synthetic data sets."""

from pathlib import Path

import numpy as np

from training.downstream.images import LabelledImage
from wdlora.cohorts import COHORTS
from wdlora.dataset.writer import Entry, append

PIXEL = 400 / 384
SIDE = 80


def picture(cohort: str, seed: int, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 and mask bool [side, side]: 6, 4 or 2 vertical lines, three pixels wide."""
    generator = np.random.default_rng([seed, list(COHORTS).index(cohort)])
    mask = np.zeros((side, side), bool)
    for column in generator.permutation(np.arange(5, side - 5, 9))[: 6 - 2 * list(COHORTS).index(cohort)]:
        mask[:, column - 1 : column + 2] = True
    image = 70 + 70 * mask + generator.normal(0, 18, mask.shape)
    return np.clip(image, 0, 255).astype(np.uint8), mask


def images(first: int, patients: int, each: int = 2, name: str = "P") -> list[LabelledImage]:
    """`patients` of each cohort with `each` images."""
    found = []
    for number, cohort in enumerate(COHORTS):
        for index in range(patients):
            patient = f"{name}{first + number * patients + index:04d}"
            for view in range(each):
                seed = first + 1000 * (number * patients + index) + view
                pair = picture(cohort, seed)
                found.append(LabelledImage(f"{patient}-{view}.png", cohort, patient, *pair, PIXEL))
    return found


def write(folder: Path, some: list[LabelledImage], synthetic: bool = False) -> Path:
    """A data set folder of images."""
    entries = [
        Entry(one.image, one.mask, one.cohort, patient=one.patient, pixel_size_um=PIXEL, synthetic=synthetic)
        for one in some
    ]
    append(folder, entries)
    return folder
