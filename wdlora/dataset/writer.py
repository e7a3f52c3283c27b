"""Writing a data set folder (see `folder`): whole rows only, one process at a time, nothing twice.

    DATASET/images/NAME.png  DATASET/masks/NAME.png  DATASET/provenance/NAME.json  DATASET/dataset.csv
    DATASET/metadata.jsonl   the table once more with typed values (see `records`)

A row joins the table after its files are in place. What a killed process left half done is named in `.pending`;
the reader passes over it and the next writer removes it.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..cohorts import cohort_in
from ..csv_table import read_csv, write_csv
from ..errors import InputError
from ..files import atomic_write, write_json
from ..locks import at_work
from ..study import FILE as STUDY
from ..study import Study, study_of, write_study
from .folder import NEEDED, PENDING, TABLE
from .records import RECORDS, write_records
from .split import part_named

COLUMNS = ("file", "cohort", "patient", "eye", "visit", "pixel_size_um", "reference", "synthetic")
HASHES = ("image_sha256", "mask_sha256")
PANEL = ("cnfl", "cnfd", "cnbd", "ctbd", "cnfa", "cnfw", "mean_width_um", "length_mm", "area_mm2")
"""The biomarkers in the table, of the mask, in the units of `wdlora.anatomy.biomarkers.units.UNITS`."""

WAIT_S = 60.0
"""How long a writer waits for another one."""

_OWN_NAME = re.compile(r"[A-Za-z0-9]+-[0-9]{6,}")
_PSEUDONYM = re.compile(r"(?=[A-Za-z0-9_-]*[0-9])[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_KEYED = re.compile(r"P(?=[0-9]*[a-f])[0-9a-f]{12}")
"""A roster's keyed hash, in which eight digits that look like a date are chance."""

_DATE = re.compile(
    r"(?<![0-9])(?:(?:19|20)[0-9]{2}[-_]?[01][0-9][-_]?[0-3][0-9]|[0-3][0-9][-_]?[01][0-9][-_]?(?:19|20)[0-9]{2})(?![0-9])"
)


@dataclass(frozen=True)
class Entry:
    """One image to write.

    `image` uint8 [H, W] or [H, W, 3]; `mask` bool [H, W] on the same grid. `patient` is a pseudonym; empty: the
    image is its own subject, called by its file's name. `split` is one of `split.PARTS` or empty. `biomarkers` is
    `Biomarkers.to_dict()`; `provenance` JSON values on how the image came about, without names or paths.
    """

    image: np.ndarray
    mask: np.ndarray
    cohort: str
    patient: str = ""
    eye: str = ""
    visit: str = ""
    split: str = ""
    pixel_size_um: float | None = None
    synthetic: bool = True
    biomarkers: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Written:
    """An entry's place: its image's path, and whether it is new (False: the data set held it already)."""

    image: Path
    new: bool


def is_keyed(name: str) -> bool:
    """Whether a pseudonym is a roster's keyed hash, so that the same one is the same person in every table."""
    return _KEYED.fullmatch(name) is not None


def check_pseudonym(name: str) -> str:
    """Return a patient's pseudonym as it is. Raises InputError for what may be a name, a date or a path.

    Letters, digits, - and _, at most 40, at least one digit, no date: `P0012`, `site2-17`; or a roster's keyed hash.
    """
    if not is_keyed(name) and (not _PSEUDONYM.fullmatch(name) or _DATE.search(name)):
        raise InputError(
            f"the patient {name[:60]!r} is not a pseudonym: use letters, digits, - and _ with at least one digit "
            f"and no "
            "date, such as P0012; names and birthdays never enter a data set"
        )
    return name


def append(folder: str | os.PathLike, entries: Sequence[Entry], study: Study | None = None) -> list[Written]:
    """Add images to a data set, which is made where it is missing; returns their places in order.

    An entry whose pixels, mask and patient the data set holds already is not written again. All checks come before
    the first write, and the rows of one call join the table together. `study` is the one whose cohorts they have;
    without it, that of the data set. Raises InputError for entries that cannot be kept, for a data set of another
    study, and where another process holds the folder for a minute.
    """
    place = Path(folder)
    study = study or study_of(place)
    for entry in entries:
        _check(entry, study)
    place.mkdir(parents=True, exist_ok=True)
    with locked_folder(place):
        _recover(place)
        columns, rows = read_table(place / TABLE)
        _claim_study(place, study, bool(rows))
        known = {(row.get("image_sha256"), row.get("mask_sha256"), row["patient"]): row["file"] for row in rows}
        own = {(row.get("image_sha256"), row.get("mask_sha256")): row["file"] for row in rows if _is_own(row)}
        free = 1 + max((int(n) for row in rows for n in re.findall(r"-([0-9]{6})\.png$", row["file"])), default=0)
        written: list[Written] = []
        planned: list[tuple[str, Entry, bytes, bytes, dict[str, str]]] = []
        for entry in entries:
            image, mask = _png(entry.image), _png(np.asarray(entry.mask, bool).astype(np.uint8) * 255)
            hashes = hashlib.sha256(image).hexdigest(), hashlib.sha256(mask).hexdigest()
            held = known.get((*hashes, entry.patient)) if entry.patient else own.get(hashes)
            if held is not None:
                written.append(Written(place / "images" / held, False))
                continue
            name, free = _free_name(place, cohort_in(study, entry.cohort).name, free)
            row = _row(entry, name, hashes, study)
            planned.append((name, entry, image, mask, row))
            known[(*hashes, row["patient"])] = row["file"]
            if not entry.patient:
                own[hashes] = row["file"]
            written.append(Written(place / "images" / f"{name}.png", True))
        if planned:
            write_json(place / PENDING, [name for name, *_ in planned])
            for name, entry, image, mask, row in planned:
                _write_bytes(place / "masks" / f"{name}.png", mask)
                write_json(place / "provenance" / f"{name}.json", _provenance(entry, row, study))
                _write_bytes(place / "images" / f"{name}.png", image)
            new = [row for *_, row in planned]
            names = [*columns, *dict.fromkeys(key for row in new for key in row if key not in columns)]
            write_csv(place / TABLE, [*rows, *new], columns=names)
            write_records(place, names, [*rows, *new])
            (place / PENDING).unlink()
        elif rows and not (place / RECORDS).is_file():  # of an earlier version
            write_records(place, columns, rows)
        return written


def _free_name(place: Path, cohort: str, number: int) -> tuple[str, int]:
    """The first name from `number` on of which there is no image yet, and the number after it."""
    while (place / "images" / f"{cohort}-{number:06d}.png").exists():
        number += 1
    return f"{cohort}-{number:06d}", number + 1


def _is_own(row: Mapping[str, str]) -> bool:
    return row["patient"] == Path(row["file"]).stem


def _claim_study(place: Path, study: Study, begun: bool) -> None:
    """Put a study into an empty data set. Raises InputError for a data set of another one."""
    held = study_of(place)
    if held == study:
        return
    if begun or (place / STUDY).is_file():
        raise InputError(
            f"{place} is a data set of the study {held.label}, not of {study.label} as it is now: choose another folder"
        )
    write_study(place / STUDY, study)


def _check(entry: Entry, study: Study) -> None:
    image, mask = np.asarray(entry.image), np.asarray(entry.mask)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or mask.ndim != 2 or 0 in image.shape:
        raise InputError(f"an image of type {image.dtype} and shape {image.shape} cannot be kept: give uint8 [H, W]")
    if image.shape[:2] != mask.shape:
        raise InputError(
            f"the image is {image.shape[1]} × {image.shape[0]} pixels and its mask {mask.shape[1]} × {mask.shape[0]}: "
            "they must lie on one pixel grid"
        )
    cohort_in(study, entry.cohort)
    if entry.split:
        part_named(entry.split)
    check_fields(entry.patient, entry.eye, entry.visit)


def check_fields(patient: str, eye: str, visit: str) -> None:
    """Raise InputError for a patient that is no pseudonym (empty is allowed), and for an unknown eye or visit."""
    if patient:
        check_pseudonym(patient)
    for what, value, allowed in (("eye", eye, r"(OD|OS|)"), ("visit", visit, r"[A-Za-z0-9]{0,12}")):
        if not re.fullmatch(allowed, value) or _DATE.search(value):
            raise InputError(
                f"the {what} {value[:40]!r} cannot be kept: eye is OD, OS or empty; visit a short code like V1"
            )


def _row(entry: Entry, name: str, hashes: tuple[str, str], study: Study) -> dict[str, str]:
    values: dict[str, Any] = {
        "file": f"{name}.png",
        "cohort": cohort_in(study, entry.cohort).name,
        "patient": entry.patient or name,
        "eye": entry.eye,
        "visit": entry.visit,
        "pixel_size_um": "" if entry.pixel_size_um is None else f"{entry.pixel_size_um:.6g}",
        "reference": "",
        "synthetic": str(int(entry.synthetic)),
    }
    values |= {"split": part_named(entry.split)} if entry.split else {}
    values |= dict(zip(HASHES, hashes, strict=True))
    values |= {key: "" if entry.biomarkers.get(key) is None else f"{entry.biomarkers[key]:.6g}" for key in PANEL}
    return values


def _provenance(entry: Entry, row: Mapping[str, str], study: Study) -> dict[str, Any]:
    return {
        "file": row["file"],
        **{name: row[name] for name in HASHES},
        "prompt_version": study.version,
        "study": {"name": study.name, "version": study.version, "sha256": study.sha256},
        "biomarkers": dict(entry.biomarkers),
        **entry.provenance,
    }


def read_table(table: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a data set's table; the usual columns and no rows where there is none yet."""
    if not table.is_file():
        return list(COLUMNS), []
    try:
        return read_csv(table, NEEDED)
    except InputError as error:
        raise InputError(f"{error}: it is not a data set to add to") from None


def _recover(place: Path) -> None:
    """Remove the files of rows that a killed writer did not bring into the table."""
    if not (place / PENDING).is_file():
        return
    columns, table = read_table(place / TABLE)
    rows = {Path(row["file"]).stem for row in table}
    try:
        names = json.loads((place / PENDING).read_text(encoding="utf-8"))
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) and _OWN_NAME.fullmatch(name) for name in names):
        raise InputError(f"{place / PENDING} was not written by this program, or is damaged: look at it and remove it")
    for name in names:
        if name not in rows:
            for part, suffix in (("images", "png"), ("masks", "png"), ("provenance", "json")):
                (place / part / f"{name}.{suffix}").unlink(missing_ok=True)
    if table:
        write_records(place, columns, table)
    (place / PENDING).unlink()


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    memory = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(memory, format="PNG")
    return memory.getvalue()


def _write_bytes(path: Path, content: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold the folder against other processes. Raises InputError after `WAIT_S` seconds of waiting."""
    with at_work(folder, WAIT_S):
        yield
