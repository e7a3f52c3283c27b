"""A data set as a folder: images, masks of the same names, and one table.

    DATASET/images/NAME.png    DATASET/masks/NAME.png    DATASET/dataset.csv

`dataset.csv` has a row an image with the columns `file`, `cohort` and `patient`, and optionally `eye`,
`visit`, `pixel_size_um`, `reference` (the file of another image, of the same patient or cohort) and `split` (the part
of the patient: train, validation or test; see `split`). Cohorts are those of the study in `study.toml`, or, where
there is none, of the one that ships (see `wdlora.study`).
Patients are named by whatever the table holds; use pseudonyms.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ..anatomy.scale import pixel_sides
from ..cohorts import cohort_in
from ..csv_table import csv_rows, decimal, one_form
from ..errors import InputError
from ..study import Study, study_of
from .mask_hashes import require_masks_of_table
from .split import part_named

TABLE = "dataset.csv"
NEEDED = ("file", "cohort", "patient")
"""Columns that every such table has."""

PENDING = ".pending"
"""Names the files that a writer is about to add; what it names and the table does not is no part of the data set."""

IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg", ".dcm")


@dataclass(frozen=True)
class Record:
    """One image of a data set. `pixel_size_um` is None where the table does not tell."""

    file: str
    image: Path
    mask: Path
    cohort: str
    patient: str
    eye: str = ""
    visit: str = ""
    pixel_size_um: float | None = None
    reference: str = ""
    """`file` of another record."""

    caption: str = ""
    """Words that follow the cohort's prompt."""

    split: str = ""
    """One of `wdlora.dataset.split.PARTS`, the same in all records of a patient; empty where it is not told."""


def check_folder(folder: str | Path) -> None:
    """Raise InputError where there is no such folder."""
    if not Path(folder).is_dir():
        raise InputError(f"There is no data set folder {folder}.")


def read_folder(folder: str | Path) -> list[Record]:
    """Read the table of a data set and check it against the files; rows stay in their order.

    Raises InputError, naming file and row, for a missing folder, table or column, no images, two pictures of one
    name, an image without mask or row, an unknown cohort, an empty patient, a patient in two parts of the split, and a
    reference that is unknown, the image itself, or of another patient and cohort. So does a mask that is not the
    one that the table was written with.
    """
    folder = Path(folder)
    check_folder(folder)
    study = study_of(folder)
    pending, rows = pending_names(folder), table_rows(folder / TABLE) if pictures_by_stem(folder / "images") else []
    images, masks = pictures_by_stem(folder / "images"), pictures_by_stem(folder / "masks")
    for name in pending - {find_picture(images, row["file"]) for _, row in rows}:
        images.pop(name, None)
    refuse_subfolders(folder / "images", folder / "masks")
    if not images and masks and not pending:
        raise InputError(
            f"{folder} holds masks and no images: sample-masks draws them with --phantoms, batch --masks {folder} "
            "paints them."
        )
    if not images:
        raise InputError(f"{folder} holds no images; they belong into {folder / 'images'}.")
    if missing := sorted(set(images) - set(masks)):
        raise InputError(
            f"{len(missing)} of {len(images)} images have no mask of the same name in {folder / 'masks'}: "
            f"{', '.join(images[name].name for name in missing[:5])}{' …' if len(missing) > 5 else ''}."
        )
    records = [_record(number, row, images, masks, study) for number, row in rows]
    _check_split(records)
    by_stem = {one_form(record.image.stem): record for record in records}
    if unlisted := sorted(set(images) - set(by_stem)):
        raise InputError(f"{TABLE} has no row for {', '.join(unlisted[:5])}{' …' if len(unlisted) > 5 else ''}.")
    if len(by_stem) < len(records):
        raise InputError(f"{TABLE} lists {len(records) - len(by_stem)} images twice.")
    for index, record in enumerate(records):
        if not record.reference:
            continue
        other = by_stem.get(find_picture(images, record.reference) or "", record)
        if other is record:
            raise InputError(
                f"{TABLE}: the reference {record.reference!r} of {record.file} must be another of the images."
            )
        if other.patient != record.patient and other.cohort != record.cohort:
            raise InputError(
                f"{TABLE}: {record.file} ({record.cohort}) has the reference {other.file} ({other.cohort}) of another "
                "patient and another cohort: name one of the same patient or cohort."
            )
        records[index] = replace(record, reference=other.file)
    require_masks_of_table(folder, masks, (row for _, row in rows))
    return records


def _check_split(records: list[Record]) -> None:
    parts: dict[str, Record] = {}
    for record in records:
        first = parts.setdefault(record.patient, record)
        if first.split != record.split:
            raise InputError(
                f"{TABLE} has the patient {record.patient} in the split {first.split or 'nothing'!r} ({first.file}) "
                f"and {record.split or 'nothing'!r} ({record.file}): a patient is in one part as a whole."
            )


def pictures_by_stem(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by stem, in `one_form`; hidden files, such as a killed writer's, are no pictures."""
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        if file.suffix.lower() not in IMAGE_SUFFIXES or file.name.startswith("."):
            continue
        stem = one_form(file.stem)
        if stem in found:
            raise InputError(
                f"{folder} holds {found[stem].name} and {file.name}, two pictures of one name: remove one."
            )
        found[stem] = file
    return found


def find_picture(pictures: dict[str, Path], name: str) -> str | None:
    """The key in `pictures` (see `pictures_by_stem`) of the picture that a table calls `name`; None for none.

    It is called by its file's name, with another picture's ending (a table from before files were converted), or
    without one. Other dots are part of the name: `P1.L` is not `P1.png`.
    """
    bare = PurePosixPath(one_form(name).replace("\\", "/")).name
    ending = PurePosixPath(bare).suffix
    stem = bare.removesuffix(ending) if ending.lower() in IMAGE_SUFFIXES else bare
    if bare in pictures and (stem not in pictures or one_form(pictures[stem].name) != bare):
        return bare
    return stem if stem in pictures else None


def subfolders_with_pictures(folder: Path) -> list[str]:
    """Names of the folders in a folder, hidden ones apart, that hold pictures, themselves or further down."""
    if not folder.is_dir():
        return []
    inside = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and not entry.name.startswith((".", "__"))]
    return [
        entry.name
        for entry in inside
        if subfolders_with_pictures(entry)
        or any(
            file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.is_file()
            for file in entry.iterdir()
        )
    ]


def refuse_subfolders(*folders: Path) -> None:
    """Raise InputError where folders hold pictures in subfolders, which would be left out."""
    for folder in folders:
        if names := subfolders_with_pictures(folder):
            raise InputError(
                f"{folder} holds pictures in the folder {', '.join(names[:5])}, and a data set has them side by side: "
                "bring them in with import-dataset, or move them."
            )


def pending_names(folder: Path) -> set[str]:
    """Names of pictures that a writer has begun and not yet brought into the table."""
    try:
        return set(json.loads((folder / PENDING).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return set()


def table_rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a data set's table with their line numbers. Raises InputError where there is no such table."""
    if not table.is_file():
        raise InputError(f"{table.parent} has no {TABLE} with the columns file, cohort and patient.")
    rows = csv_rows(table, NEEDED)[1]
    return [(number, {key: value.strip() for key, value in row.items()}) for number, row in rows]


def _record(number: int, row: dict[str, str], images: dict[str, Path], masks: dict[str, Path], study: Study) -> Record:
    where = f"{TABLE}, line {number}"
    name = find_picture(images, row["file"])
    if name is None:
        raise InputError(f"{where}: there is no image {row['file']!r}.")
    if not row["patient"]:
        raise InputError(f"{where}: {row['file']} has no patient; without it a split cannot keep patients apart.")
    try:
        cohort = cohort_in(study, row["cohort"]).name
        pixel_size = pixel_sides(decimal(row["pixel_size_um"]))[0] if row.get("pixel_size_um") else None
        part = part_named(row["split"]) if row.get("split") else ""
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    return Record(
        file=images[name].name,
        image=images[name],
        mask=masks[name],
        cohort=cohort,
        patient=row["patient"],
        eye=row.get("eye", ""),
        visit=row.get("visit", ""),
        pixel_size_um=pixel_size,
        reference=row.get("reference", ""),
        caption=row.get("caption", ""),
        split=part,
    )
