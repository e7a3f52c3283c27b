"""Whose the pictures in a batch's data set are: patients by their mask files, and their parts of the split."""

from collections.abc import Mapping, Sequence

from ..dataset.split import part_named
from ..dataset.writer import is_keyed
from ..errors import InputError
from ..files import sha256
from .masks import Mask
from .origins import MaskOrigin

Row = dict[str, str]


class Patients:
    """The patients of a table. `before` are its rows as they were, `kept` those that stay, and `masks` gives the hash
    of a job's mask file.
    """

    def __init__(self, before: Sequence[Row], kept: Sequence[Row], masks: Mapping[str, str]):
        self._masks_of: dict[str, set[str]] = {}
        """Hashes of the mask files of a patient's pictures; "" stands for an unknown one."""

        self._parts: dict[str, str] = {}
        self._parts_before = {row["patient"]: _part_in(row) for row in before if row.get("split")}
        for row in kept:
            if row["job"]:
                self._masks_of.setdefault(row["patient"], set()).add(masks[row["job"]])
            if row.get("split"):
                self._parts.setdefault(row["patient"], _part_in(row))

    def claim(self, patient: str, called: str, mask: Mask, origin: MaskOrigin) -> None:
        """Note a mask of a patient, `called` so by its data set. Raises InputError where the table has a patient of
        that name from another data set: one none of whose masks is of this one.
        """
        held = self._masks_of.setdefault(patient, set())
        if held and mask.sha256 not in held and not is_keyed(patient):
            own = {sha256(path) for path in origin.masks_of.get(called, [])}
            if not held & own:
                raise InputError(
                    "their patient is called as one of another data set is here, and nobody knows whether it is one "
                    "person: choose another --out, or import both data sets with one --key"
                )
        held.add(mask.sha256)

    def put(self, patient: str, told: str) -> str:
        """The part of the split that a patient is in, told or else as in the table. Raises InputError for two."""
        held = self._parts.get(patient)
        if told and held and told != held:
            raise InputError(
                f"their patient is in the part {told} of the masks' split and in {held} here: correct one of the tables"
            )
        part = told or held or self._parts_before.get(patient, "")
        if part:
            self._parts[patient] = part
        return part

    def part(self, patient: str) -> str:
        """The part that a patient is in; empty where nothing says it."""
        return self._parts.get(patient, "")


def _part_in(row: Row) -> str:
    """The part that a row says, as this program calls it; a word that names none stays."""
    try:
        return part_named(row["split"])
    except InputError:
        return row["split"]
