"""A hospital's export as it is, BMP and TIFF, its own names, columns and labels: 220 files of 55 patients, or few."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
    return _written(root, _of_year(2024, [range(count) for _, _, count in GROUPS]))


def export_next_year(root: Path) -> Path:
    """New pictures of the first five patients of each group, and of two new ones, who stand first in the list."""
    return _written(root, _of_year(2025, [[900, 901, *range(5)] for _ in GROUPS]))


def small_export(root: Path, patients: int = 3) -> Path:
    """Two pictures [160, 160] of so many patients of each group, one in spring and one in autumn; each group's are in
    both folders. Masks are those of `sample_mask` with the seeds 0, 1, …
    """
    frames = []
    for number, (group, cohort) in enumerate(pair[:2] for pair in GROUPS for _ in range(patients)):
        for seed, (eye, ending, date) in enumerate((("OD", "bmp", "03.02.2024"), ("OS", "TIF", "14.11.2024"))):
            drawn = sample_mask(cohort, seed=2 * number + seed, size=160)
            name = f"Meier_{number:02d}_{eye}.{ending}"
            frames.append(Frame(number % 2, name, f"Meier {number}", eye, date, group, (phantom(drawn, 7), drawn.mask)))
    return _written(root, frames)


@dataclass(frozen=True)
class Frame:
    """One picture and its mask, the number of their folder, and what the list says of them."""

    folder: int
    name: str
    patient: str
    eye: str
    date: str
    group: str
    pair: tuple[np.ndarray, np.ndarray]


def _of_year(year: int, numbers: Sequence[Sequence[int]]) -> Iterator[Frame]:
    for place, (group, cohort, _) in enumerate(GROUPS):
        pairs = iter(tiles(cohort, 2 * len(numbers[place]), seed=year))
        for number in numbers[place]:
            patient = f"{NAMES[number % len(NAMES)]} {1000 * place + number}"
            for eye, ending in (("OD", "bmp"), ("OS", "TIF")):
                name = f"{patient.replace(' ', '_')}_{eye}_{year}.{ending}"
                yield Frame(place, name, patient, eye, f"{1 + number % 28:02d}.02.{year}", group, next(pairs))


def _written(root: Path, frames: Iterable[Frame]) -> Path:
    lines = ["Nr;Datei;Pat-ID;Auge;Datum;Gruppe"]
    for number, one in enumerate(frames, 1):
        save(root / f"Gruppe {one.folder}", one.name, *one.pair)
        lines.append(f"{number};{one.name};{one.patient};{one.eye};{one.date};{one.group}")
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
