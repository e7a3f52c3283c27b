"""The data sets that the masks of a batch lie in, and what they say of each mask."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..anatomy.scale import pixel_sides
from ..cohorts import cohort_in
from ..csv_table import decimal
from ..dataset.folder import TABLE, find_picture, pictures_by_stem, table_rows
from ..dataset.split import part_named
from ..dataset.writer import check_fields
from ..errors import InputError
from ..study import Study, study_of


@dataclass(frozen=True)
class MaskRow:
    """What a data set says of a mask; what it does not say is empty. `patient` is as the table has it, maybe a name."""

    cohort: str = ""
    patient: str = ""
    eye: str = ""
    visit: str = ""
    pixel_size_um: str = ""
    split: str = ""


@dataclass(frozen=True)
class MaskOrigin:
    """A data set by its masks: the row of each file, and the files of each patient."""

    folder: Path
    rows: Mapping[Path, Mapping[str, str]] = field(default_factory=dict)
    masks_of: Mapping[str, list[Path]] = field(default_factory=dict)

    @cached_property
    def _study(self) -> Study:
        return study_of(self.folder)

    def cohort(self, name: str) -> tuple[Study, str]:
        """Its study and the name there of a cohort of its table. Raises InputError for what is none."""
        try:
            return self._study, cohort_in(self._study, name).name
        except InputError:
            raise InputError(
                "dataset.csv of the masks has a cohort that its study does not have: correct it, or use a graph with "
                "one CCM Conditioning"
            ) from None

    def row_of(self, mask: Path) -> MaskRow:
        """What it says of a mask, with its study's pixel size where the table tells none. Raises InputError, without
        the table's words, for what no data set takes.
        """
        row = self.rows.get(_key(mask), {})
        eye, visit, size, split = (row.get(name, "") for name in ("eye", "visit", "pixel_size_um", "split"))
        try:
            check_fields("", eye, visit)
        except InputError:
            raise InputError(
                "dataset.csv of the masks has an eye other than OD, OS and empty, or a visit that is no short code "
                "like V1: correct it"
            ) from None
        try:
            size = f"{pixel_sides(decimal(size))[0]:.6g}" if size else ""
        except ValueError:
            raise InputError("dataset.csv of the masks has a pixel_size_um that is no size in µm: correct it") from None
        try:
            split = part_named(split) if split else ""
        except InputError:
            raise InputError(
                "dataset.csv of the masks has a split other than train, validation, test and empty: correct it"
            ) from None
        if row and not size and self._study.pixel_size_um is not None:
            size = f"{self._study.pixel_size_um:.6g}"
        return MaskRow(row.get("cohort", ""), row.get("patient", ""), eye, visit, size, split)


class MaskOrigins:
    """The data sets of masks, each read once."""

    def __init__(self) -> None:
        self._known: dict[Path, MaskOrigin] = {}

    def of(self, mask: Path) -> MaskOrigin:
        """The data set that a mask lies in, an empty one where it lies in none. Raises InputError for a damaged one."""
        place = mask.parent.parent.resolve()
        if mask.parent.name != "masks" or not (place / TABLE).is_file():
            return MaskOrigin(place)
        if place not in self._known:
            try:
                self._known[place] = _read(place)
            except InputError:
                raise InputError(
                    "the data set of the masks cannot be read: correct its masks and dataset.csv"
                ) from None
        return self._known[place]


def _read(place: Path) -> MaskOrigin:
    files = pictures_by_stem(place / "masks")
    rows: dict[Path, Mapping[str, str]] = {}
    masks_of: dict[str, list[Path]] = {}
    for _, row in table_rows(place / TABLE):
        if (stem := find_picture(files, row["file"])) is not None:
            rows.setdefault(_key(files[stem]), row)
            masks_of.setdefault(row["patient"], []).append(files[stem])
    return MaskOrigin(place, rows, masks_of)


def _key(file: Path) -> Path:
    """A file's path from the root; a file that is a link stays what it is called."""
    return file.parent.resolve() / file.name
