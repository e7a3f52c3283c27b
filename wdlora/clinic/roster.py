"""Who an image belongs to: a table of files with patient, eye, visit and cohort, read without keeping names.

A roster is a CSV file with the columns `file` and `patient`, and if known `eye`, `visit`, `cohort` and `split`.
Patients and images leave it under pseudonyms: numbers in the order of the table, or, with a secret key, keyed hashes
that stay the same from table to table (HMAC-SHA-256, RFC 2104).
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from os import PathLike
from pathlib import Path, PurePosixPath, PureWindowsPath

from ..csv_table import csv_columns, csv_rows, one_form
from ..errors import InputError
from ..privacy.pseudonym import keyed

EYES = {"od": "right", "r": "right", "re": "right", "right": "right", "os": "left", "l": "left", "le": "left"}
EYES["left"] = "left"
_LIKE_A_DATE = re.compile(r"(\d{4}[-./]?\d{1,2}[-./]?\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4})([ T].*)?")
_YEAR_FIRST = re.compile(r"(\d{4})(?:[-./](\d{1,2})[-./](\d{1,2})|(\d{2})(\d{2}))")
_DAY_FIRST = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4}|\d{2})")
_YEAR_LAST = re.compile(r"(\d{1,2})([-/])(\d{1,2})\2(\d{4})(?:[ T].*)?")


@dataclass(frozen=True)
class RosterEntry:
    """One image of a roster: pseudonyms `image` and `patient`, `eye` "right", "left" or "", `visit`, `cohort`."""

    image: str
    patient: str
    eye: str = ""
    visit: str = ""
    cohort: str = ""
    split: str = ""
    dated: bool = False
    """Whether the visit is counted from dates of this table."""

    file: str = field(default="", repr=False)
    """The file's name, for finding the entry; not part of `columns`."""

    def columns(self) -> dict[str, str]:
        """What tables may show."""
        return {
            "image": self.image,
            "patient": self.patient,
            "eye": self.eye,
            "visit": self.visit,
            "cohort": self.cohort,
        }


def read_roster(
    path: str | PathLike,
    key: bytes | None = None,
    keep_names: bool = False,
    columns: Mapping[str, str] | None = None,
) -> dict[str, RosterEntry]:
    """Entries of a roster by file name (without folders, in `one_form`: look a file up by `one_form(file.name)`).

    `columns` says what the table calls them where it is not as here: {"file": "Datei", "patient": "Pat-ID"}.

    Without `key`, patients are P001, P002, … and images I0001, … in the order of the table; with a key of at least
    16 bytes, pseudonyms are keyed hashes that only the key's owner can reproduce. Visits that are dates become V1,
    V2, … in their order within the patient. `keep_names` passes on names, files and dates as they stand. Raises
    InputError on a table that lacks a column, names a file twice, or has a visit that is no certain date.
    """
    lines, rows = [], []
    for line, row in _rows(Path(path), columns or {}):
        lines.append(line)
        rows.append(row)
    if key is not None and len(key) < 16:
        raise InputError(f"the key has {len(key)} bytes; give at least 16 random bytes, or the names could be guessed")
    patients = _pseudonyms([row["patient"] for row in rows], "P", 3, key)
    images = _pseudonyms([row["file"] for row in rows], "I", 4, key)
    visits = [row["visit"] for row in rows] if keep_names else _visits(rows)
    entries: dict[str, RosterEntry] = {}
    for number, (line, row) in enumerate(zip(lines, rows, strict=True)):
        if row["file"] in entries:
            raise InputError(f"{path} names the file {row['file']} twice: give every image one line")
        eye = row["eye"].lower()
        if eye and eye not in EYES:
            raise InputError(f"{path}, line {line}: the eye is {row['eye']!r}; write right, left, OD or OS")
        entries[row["file"]] = RosterEntry(
            image=row["file"] if keep_names else images[row["file"]],
            patient=row["patient"] if keep_names else patients[row["patient"]],
            eye=EYES.get(eye, ""),
            visit=visits[number],
            cohort=row["cohort"],
            split=row["split"],
            dated=visits[number] != row["visit"],
            file=row["file"],
        )
    return entries


def tells_patients(path: str | PathLike) -> bool:
    """Whether a CSV table has the column `patient`, also where it is too damaged for `read_roster`."""
    return "patient" in csv_columns(path)


COLUMNS = ("file", "patient", "eye", "visit", "cohort", "split")
"""What a roster may tell of an image."""


def _rows(file: Path, columns: Mapping[str, str]) -> list[tuple[int, dict[str, str]]]:
    """Rows of a table with their lines under the names of `COLUMNS`, file names without folders."""
    if not file.is_file():
        raise InputError(f"there is no file {file}: check the path")
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise InputError(f"a roster has no column {unknown[0]!r}; the columns are {', '.join(COLUMNS)}")
    theirs = {name: one_form(columns.get(name, name)).strip().lower() for name in COLUMNS}
    rows = []
    there, lines = csv_rows(file, (theirs["file"], theirs["patient"]), lower=True)
    if missing := [name for name in columns if theirs[name] not in there]:
        raise InputError(f"{file} has no column {columns[missing[0]]!r} for {missing[0]}; it has {', '.join(there)}")
    if double := [name for name in columns if list(theirs.values()).count(theirs[name]) > 1]:
        raise InputError(
            f"{file}: {' and '.join(double)} are given the same column, {columns[double[0]]!r}; correct it"
        )
    for number, line in lines:
        row = {name: line.get(theirs[name], "").strip() for name in COLUMNS}
        row["file"] = PurePosixPath(PureWindowsPath(row["file"]).as_posix()).name
        if not row["file"] or not row["patient"]:
            raise InputError(f"{file}, line {number}: file or patient is empty; fill in both")
        rows.append((number, row))
    return rows


def _pseudonyms(names: list[str], letter: str, digits: int, key: bytes | None) -> dict[str, str]:
    """A pseudonym for every different name."""
    result: dict[str, str] = {}
    for name in names:
        if name not in result and key is None:
            result[name] = f"{letter}{len(result) + 1:0{digits}d}"
        elif name not in result and key is not None:
            result[name] = letter + keyed(letter, name, key, 12)
    return result


def _visits(rows: list[dict[str, str]]) -> list[str]:
    """Visits as written; dates as V1, V2, … in their order within the patient."""
    dates: dict[str, set[date]] = {}
    day_at = _place_of_the_day([row["visit"] for row in rows])
    parsed = [_date(row["visit"], day_at) for row in rows]
    for row, day in zip(rows, parsed, strict=True):
        if day:
            dates.setdefault(row["patient"], set()).add(day)
    order = {patient: sorted(found) for patient, found in dates.items()}
    return [
        f"V{order[row['patient']].index(day) + 1}" if day else row["visit"]
        for row, day in zip(rows, parsed, strict=True)
    ]


def uncertain_date(visits: Iterable[str]) -> str:
    """The first of a table's visits that `read_roster` refuses as a date; empty where it takes all of them."""
    told = [visit.strip() for visit in visits]
    day_at = _place_of_the_day(told)
    for visit in told:
        try:
            _date(visit, day_at)
        except InputError:
            return visit
    return ""


def _place_of_the_day(visits: Iterable[str]) -> int | None:
    """Which number of dates such as 31/01/2024 or 01-31-2024 is the day, 0 or 1: the one that exceeds 12 somewhere in
    the table. None where neither does, or both do.
    """
    found = [match for visit in visits if (match := _YEAR_LAST.fullmatch(visit))]
    large = [any(int(match.group(at)) > 12 for match in found) for at in (1, 3)]
    return None if large[0] == large[1] else large.index(True)


def _date(text: str, day_at: int | None) -> date | None:
    """The day that a visit names, None where it looks like no date.

    With the year first it has four digits; with dots the day comes first, a year of two digits being in this century;
    with dashes or slashes and the year last, `day_at` says which number is the day. Raises InputError for other
    orders, in which day, month and year are anybody's guess, and for days that are none.
    """
    match = _LIKE_A_DATE.fullmatch(text)
    if not match:
        return None
    with suppress(ValueError):  # the 25th month
        if first := _YEAR_FIRST.fullmatch(match.group(1)):
            return date(*(int(part) for part in first.groups() if part))
        if first := _DAY_FIRST.fullmatch(match.group(1)):
            day, month, year = (int(part) for part in first.groups())
            return date(year if year > 99 else 2000 + year, month, day)
        if (last := _YEAR_LAST.fullmatch(text)) and day_at is not None:
            numbers = int(last.group(1)), int(last.group(3))
            return date(int(last.group(4)), numbers[1 - day_at], numbers[day_at])
    raise InputError(
        f"the visit {text!r} does not say for certain which day it is: write dates as YYYY-MM-DD, or with dots as "
        "DD.MM.YYYY"
    )
