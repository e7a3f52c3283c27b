"""The sets of images that an evaluation compares: folders, data sets or images in memory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..cohorts import COHORTS
from ..cohorts import cohort as find_cohort
from ..csv_table import decimal
from ..dataset.folder import (
    IMAGE_SUFFIXES,
    TABLE,
    find_picture,
    pending_names,
    pictures_by_stem,
    refuse_subfolders,
    subfolders_with_pictures,
    table_rows,
)
from ..dataset.layouts import MASK_FOLDERS
from ..dataset.subjects import is_of_mask, is_patient
from ..errors import InputError
from ..study import study_of
from ..temporaries import visible

Role = Literal["real", "synthetic", "training"]

LEAST = 8
"""Images a set: below it there are no halves of four to compare."""


@dataclass(frozen=True)
class Item:
    """One image: its file or its pixels [H, W], and what is known of it.

    `name` pairs images of one mask and leaves this machine in no report. `cohort` is empty where it is not known.
    `subject` is the patient; where patients are not known, the mask from which the image was painted, or the image
    itself. `pixel_size_um` is what the data set tells; where it is None and the file tells nothing either,
    `otherwise_um` is taken.
    """

    source: Path | NDArray = field(repr=False)
    name: str
    subject: str
    cohort: str = ""
    pixel_size_um: float | None = None
    otherwise_um: float | None = None


@dataclass(frozen=True)
class ImageSet:
    """The images of one role. `patients_known`: at least some subjects are patients, no masks and no single images."""

    role: Role
    items: tuple[Item, ...]
    patients_known: bool
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    @property
    def subjects(self) -> NDArray:
        """Whose image each is: [n] of str."""
        return np.array([item.subject for item in self.items])

    @property
    def unit(self) -> str:
        """What is counted: patients, or, where none is known, masks (see `wdlora.dataset.subjects`) or images."""
        if self.patients_known:
            return "patients"
        return "masks" if any(is_of_mask(item.subject) for item in self.items) else "images"

    @property
    def cohorts(self) -> NDArray:
        """The cohort of each image: [n] of str, "" where it is not known."""
        return np.array([item.cohort for item in self.items])


def read_set(folder: str | PathLike, role: Role) -> ImageSet:
    """The images of a data set (see `wdlora.dataset.folder`), of a folder, or of one with a folder for each cohort.

    Masks are not needed. The pixel size of an image is the table's, else that of the data set's study. Raises
    InputError, naming the set, for a missing folder, one without images, a table that names a file that is not there or
    leaves one out, fewer than `LEAST` images, and a study.toml that is no study.
    """
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"there is no folder {place} with the {role} images")
    if (place / TABLE).is_file():
        return _of_table(place, role)
    found = pictures_by_stem(place / "images") or pictures_by_stem(place)
    if found and (left := sorted(set(subfolders_with_pictures(_home(found))) - set(MASK_FOLDERS))):
        raise InputError(
            f"{_home(found)} holds pictures, and more in the folder {', '.join(left[:5])}, which would be left out: "
            "move them, or give a folder with one folder for each cohort"
        )
    size = study_of(place).pixel_size_um
    items = [Item(path, name, f"{role} {name}", pixel_size_um=size) for name, path in found.items()]
    if not items:
        for part in filter(Path.is_dir, visible(place)):
            cohort = _cohort(part.name)
            refuse_subfolders(part)
            for name, path in pictures_by_stem(part).items():
                items.append(Item(path, f"{cohort}/{name}", f"{role} {cohort}/{name}", cohort, size))
    if not items:
        raise InputError(f"the {role} folder {place} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    return _set(role, items)


def with_size(image_set: ImageSet, pixel_size_um: float) -> ImageSet:
    """The set with a pixel size for those of its images of which no table, no study and no file tells one."""
    return replace(image_set, items=tuple(replace(item, otherwise_um=pixel_size_um) for item in image_set.items))


def set_of_arrays(
    role: Role,
    images: Sequence[NDArray],
    cohorts: Sequence[str] | None = None,
    subjects: Sequence[str] | None = None,
    pixel_size_um: float | None = None,
) -> ImageSet:
    """A set of uint8 images [H, W] in memory; image i of two such sets is a pair. Raises InputError as `read_set`."""
    names = [f"{number:06d}" for number in range(len(images))]
    owners = [f"{role} {name}" for name in names] if subjects is None else list(subjects)
    groups = [""] * len(images) if cohorts is None else [_cohort(one) for one in cohorts]
    items = [Item(*of, pixel_size_um) for of in zip(images, names, owners, groups, strict=True)]
    return _set(role, items, subjects is not None)


def _of_table(place: Path, role: Role) -> ImageSet:
    """The images that a data set's table names. One that is its own patient, or its mask's, has no known one."""
    refuse_subfolders(place / "images")
    files, rows, study = pictures_by_stem(place / "images"), table_rows(place / TABLE), study_of(place)
    for name in pending_names(place) - {find_picture(files, row["file"]) for _, row in rows}:
        files.pop(name, None)
    items: list[Item] = []
    seen: set[str] = set()
    synthetic = known = 0
    for number, row in rows:
        found, patient = find_picture(files, row["file"]), row["patient"]
        if (name := found or "") not in files:
            raise InputError(f"{place / TABLE}, line {number}: there is no image {row['file']!r} in images")
        if name in seen:
            raise InputError(f"{place / TABLE}, line {number}: {row['file']!r} is listed twice")
        seen.add(name)
        size = _positive(row.get("pixel_size_um", ""), f"{place / TABLE}, line {number}") or study.pixel_size_um
        known += is_patient(patient, name)
        synthetic += row.get("synthetic", "") == "1"
        subject = patient if patient not in ("", name) else f"{role} {name}"
        items.append(Item(files[name], name, subject, _cohort(row["cohort"]), size))
    if unlisted := sorted(set(files) - seen):
        raise InputError(f"{place / TABLE} has no row for {len(unlisted)} images, first {files[unlisted[0]].name}")
    notes = []
    if role != "synthetic" and synthetic:
        notes.append(f"{synthetic} of the {len(items)} {role} images are marked as synthetic in their table")
    if role != "synthetic" and 0 < known < len(items):
        notes.append(
            f"The patients of {len(items) - known} of the {len(items)} {role} images are not known: each of these, or "
            "all of one mask, count as a patient"
        )
    return _set(role, items, known > 0, tuple(notes))


def _home(found: dict[str, Path]) -> Path:
    """The folder that pictures lie in."""
    return next(iter(found.values())).parent


def _positive(text: str, where: str) -> float | None:
    if not text:
        return None
    try:
        value = decimal(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise InputError(f"{where}: pixel_size_um must be a positive number, not {text!r}")
    return value


def in_order(cohorts: Iterable[str]) -> list[str]:
    """Names of cohorts in the order of the study; others behind them by the alphabet."""
    known = list(COHORTS)
    return sorted(cohorts, key=lambda name: (known.index(name) if name in known else len(known), name))


def _cohort(name: str) -> str:
    """A cohort under its own name where it is a known one, else as it is written."""
    try:
        return find_cohort(name).name
    except InputError:
        return name.strip()


def _set(role: Role, items: Sequence[Item], patients_known: bool = False, notes: tuple[str, ...] = ()) -> ImageSet:
    if len(items) < LEAST:
        raise InputError(f"the {role} set has {len(items)} images: an evaluation needs at least {LEAST}")
    return ImageSet(role, tuple(items), patients_known, notes)


def pair_up(real: ImageSet, synthetic: ImageSet) -> tuple[ImageSet, ImageSet, list[str]]:
    """Both sets in one order, a real and a synthetic image of one name (hence one mask) side by side.

    Both images of a pair get the real one's subject and cohort. Returns notes on what has no partner. Raises
    InputError below `LEAST` pairs.
    """
    by_name = {item.name: item for item in synthetic.items}
    both = [(item, by_name[item.name]) for item in real.items if item.name in by_name]
    if len(both) < LEAST:
        raise InputError(
            f"only {len(both)} images have the same file name in the real and the synthetic set: --pairs needs "
            f"{LEAST} pairs painted from the real images' masks, named like them"
        )
    alone = [(len(one) - len(both), one.role) for one in (real, synthetic)]
    notes = [
        f"{count} {role} images have no partner of the same name and were left out" for count, role in alone if count
    ]
    if clash := sum(1 for a, b in both if a.cohort and b.cohort and a.cohort != b.cohort):
        raise InputError(f"{clash} pairs name one cohort in the real and another in the synthetic set: correct them")
    originals = [replace(a, cohort=a.cohort or b.cohort) for a, b in both]
    partners = [replace(b, cohort=a.cohort or b.cohort, subject=a.subject) for a, b in both]
    return (
        replace(real, items=tuple(originals)),
        replace(synthetic, items=tuple(partners), patients_known=real.patients_known),
        notes,
    )
