"""A hospital's export as it is: 220 files of 55 patients, BMP and TIFF, with its own names, columns and labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from wdlora.anatomy import phantom, sample_mask

SIDE = 96
GROUPS = (("HC", "Control", 19), ("DM−", "T1NoDPN", 18), ("DM+", "T1DPN", 18))
NAMES = ("Meier", "Müller", "Özdemir", "Nguyen", "O'Brien")
"""Of patients; no written file may hold one."""


def export(root: Path) -> Path:
    """Pictures and masks of both eyes of everybody, in a folder a group, and a list with semicolons."""
    return _written(root, 2024, [range(count) for _, _, count in GROUPS])


def export_next_year(root: Path) -> Path:
    """New pictures of the first five patients of each group, and of two new ones, who stand first in the list."""
    return _written(root, 2025, [[900, 901, *range(5)] for _ in GROUPS])


def _written(root: Path, year: int, numbers: Sequence[Sequence[int]]) -> Path:
    lines = ["Nr;Datei;Pat-ID;Auge;Datum;Gruppe"]
    for place, (group, cohort, _) in enumerate(GROUPS):
        pairs = iter(tiles(cohort, 2 * len(numbers[place]), seed=year))
        for number in numbers[place]:
            patient = f"{NAMES[number % len(NAMES)]} {1000 * place + number}"
            for eye, ending in (("OD", "bmp"), ("OS", "TIF")):
                name = f"{patient.replace(' ', '_')}_{eye}_{year}.{ending}"
                save(root / f"Gruppe {place}", name, *next(pairs))
                lines.append(f"{len(lines)};{name};{patient};{eye};{1 + number % 28:02d}.02.{year};{group}")
    (root / "list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def tiles(cohort: str, count: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """So many pairs of picture and mask [SIDE, SIDE], cut from phantoms; each mask holds some nerve."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    while len(found) < count:
        drawn = sample_mask(cohort, seed=seed, size=384)
        picture = phantom(drawn, seed)
        for row in range(0, 384, SIDE):
            for column in range(0, 384, SIDE):
                place = slice(row, row + SIDE), slice(column, column + SIDE)
                if drawn.mask[place].mean() > 0.02:
                    found.append((picture[place], drawn.mask[place]))
        seed += 1
    return found[:count]


def save(folder: Path, name: str, picture: np.ndarray, mask: np.ndarray) -> None:
    """One picture, and its mask beside it in another format."""
    stem, _, ending = name.rpartition(".")
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / name)
    other = "tif" if ending == "bmp" else "bmp"
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{stem}_nervemask.{other}")
