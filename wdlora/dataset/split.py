"""Who is learned from and who is held out: whole patients, the same ones in every run that takes the same table.

    split.csv        a row a patient, with the columns `patient` and `part` (train, validation or test)

The same table serves the training of the generator and of whatever is trained on its pictures, so that a held-out
patient is held out of both (WDLoRA paper, section IV.D).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Protocol, TypeVar

from ..csv_table import read_csv, write_csv
from ..errors import InputError

TABLE = "split.csv"
TRAIN, VALIDATION, TEST = PARTS = ("train", "validation", "test")

_WORDS = {"training": TRAIN, "val": VALIDATION, "valid": VALIDATION, "testing": TEST}


class Belongs(Protocol):
    """What is split: something of a patient and a cohort."""

    @property
    def patient(self) -> str: ...
    @property
    def cohort(self) -> str: ...


Item = TypeVar("Item", bound=Belongs)


@dataclass(frozen=True)
class Shares:
    """Shares of the patients of each cohort that are held out; the rest is learned from."""

    validation: float
    test: float


def part_named(text: str) -> str:
    """One of `PARTS` from how people write it, in any case. Raises InputError."""
    word = text.strip().lower()
    word = _WORDS.get(word, word)
    if word not in PARTS:
        raise InputError(f"there is no part {text.strip()!r} of a split; write {', '.join(PARTS)}")
    return word


def read_split(path: str | PathLike) -> dict[str, str]:
    """The part of each patient in a table. Raises InputError for what is no such table, and for a patient in two."""
    parts: dict[str, str] = {}
    try:
        rows = read_csv(path, ("patient", "part"))[1]
    except OSError as error:
        raise InputError(f"the split {path} cannot be read: {error.strerror}") from None
    for number, row in enumerate(rows, start=2):
        patient = row["patient"].strip()
        if not patient:
            raise InputError(f"{path}, line {number}: there is no patient; name one, or remove the line")
        try:
            part = part_named(row["part"])
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
        if parts.setdefault(patient, part) != part:
            raise InputError(f"{path}, line {number}: {patient} is in {parts[patient]} and in {part}; keep one")
    return parts


def write_split(path: str | PathLike, parts: Mapping[str, str]) -> None:
    """Write the table, whole or not at all, patients by name."""
    write_csv(path, [{"patient": patient, "part": parts[patient]} for patient in sorted(parts)], ("patient", "part"))


def merged(*sources: tuple[str, Mapping[str, str]]) -> dict[str, str]:
    """The parts that named sources state. Raises InputError where two of them put a patient into different parts."""
    parts: dict[str, str] = {}
    told_by: dict[str, str] = {}
    for name, stated in sources:
        for patient, part in stated.items():
            if parts.setdefault(patient, part) != part:
                raise InputError(
                    f"the patient {patient} is in {parts[patient]} by {told_by[patient]} and in {part} by {name}: "
                    "correct one of them"
                )
            told_by.setdefault(patient, name)
    return parts


def split_patients(
    items: Sequence[Item], shares: Shares, seed: int, known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The part of every patient of `items`: the `known` one, else drawn so that each cohort has its shares.

    Patients are drawn in the order of a hash of seed and patient: the first are for the test, the next for
    validation, the rest is learned from. Where a share is above 0, at least one patient of each cohort is held out
    for it, if one is left to learn from; where there are too few, validation goes before the test. A patient listed
    in several cohorts counts to the first of them by name.
    """
    parts = dict(known or {})
    cohorts: dict[str, set[str]] = {}
    for patient, cohort in _cohort_of(items).items():
        cohorts.setdefault(cohort, set()).add(patient)
    drawn: dict[str, str] = {}
    for patients in cohorts.values():
        new = sorted((patient for patient in patients if patient not in parts), key=lambda one: (_hash(seed, one), one))
        have = [parts[patient] for patient in patients if patient in parts]
        test, validation = _counts(len(patients), len(new), have, shares)
        order = [TEST] * test + [VALIDATION] * validation
        drawn |= dict(zip(new, order + [TRAIN] * (len(new) - len(order)), strict=True))
    return {patient: parts.get(patient) or drawn[patient] for patients in cohorts.values() for patient in patients}


def parted(items: Sequence[Item], parts: Mapping[str, str]) -> tuple[list[Item], list[Item], list[Item]]:
    """The items to learn from, to validate and to test by, in their order."""
    train, validation, test = ([item for item in items if parts[item.patient] == part] for part in PARTS)
    return train, validation, test


def _cohort_of(items: Sequence[Item]) -> dict[str, str]:
    cohort_of: dict[str, str] = {}
    for item in sorted(items, key=lambda each: (each.patient, each.cohort)):
        cohort_of.setdefault(item.patient, item.cohort)
    return cohort_of


def _hash(seed: int, patient: str) -> str:
    return hashlib.sha256(f"{seed}/{patient}".encode()).hexdigest()


def _counts(total: int, new: int, have: Sequence[str], shares: Shares) -> tuple[int, int]:
    """How many of a cohort's `new` patients go to test and to validation; `have` are the parts of the others."""
    free = new if TRAIN in have else max(new - 1, 0)
    wanted = {}
    for part, share in ((VALIDATION, shares.validation), (TEST, shares.test)):
        wanted[part] = max(round(share * total), int(share > 0)) - have.count(part)
    test_first = int(wanted[TEST] > 0 and free > 1 and TEST not in have)
    validation = min(max(wanted[VALIDATION], 0), max(free - test_first, 0))
    return min(max(wanted[TEST], 0), free - validation), validation
