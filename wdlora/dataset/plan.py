"""What an import takes: which images of a folder, whose they are, in which cohort; checked before the first write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from ..cohorts import cohort_in
from ..csv_table import one_form
from ..errors import InputError
from ..files import sha256
from ..study import Study, shipped_study
from . import writer
from .labels import NONE, resolved
from .layouts import Layout, Source, named_layout, read_layout, require_annotations
from .naming import MaskNames
from .split import part_named
from .unmatched import refuse_unmatched

if TYPE_CHECKING:
    from ..clinic.roster import RosterEntry

EYES = {"right": "OD", "left": "OS", "": ""}


@dataclass(frozen=True)
class Choices:
    """How to import.

    `pixel_size_um` as for `wdlora.clinic.images.read_image`. `cohorts` maps a group (a set of Qilu, a level of
    CORN) to a cohort or "none"; the group "" stands for all that are not named. `roster` is a table of patients
    with the secret `key` (see `wdlora.clinic.roster`), `columns` what it calls its columns, and `labels` the cohort, or
    "none", of what it says of them. `masks`: how masks are named, where they lie in no known layout. `study`: the one
    whose cohorts they are. `trace`: draw the masks that are missing with the tracer. `line_width_um`: draw
    centrelines this wide; only for data sets that have some.
    """

    layout: str | None = None
    pixel_size_um: float | tuple[float, float] | str | None = None
    cohorts: Mapping[str, str] = field(default_factory=dict)
    roster: Path | None = None
    key: bytes | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    masks: MaskNames | None = None
    study: Study = field(default_factory=shipped_study)
    trace: bool = False
    line_width_um: float | None = None


@dataclass(frozen=True)
class ImportItem:
    """One image with what is written about it; `entry` has no pixels yet."""

    source: Source
    hashes: tuple[str, str]
    patient: str
    eye: str
    visit: str
    cohort: str
    split: str = ""
    dated: bool = False
    """Whether the visit is counted from the dates of this roster."""


def planned(folder: str | PathLike, choices: Choices) -> tuple[Layout, list[ImportItem], list[str]]:
    """The layout, its images with what is written about them, all checked, and a sentence on what is left out."""
    if choices.masks is not None and choices.layout not in (None, "own"):
        raise InputError(
            f"names of masks are for folders of your own, not for the layout {choices.layout}: leave one out"
        )
    layout = named_layout(folder, choices.masks) if choices.masks else read_layout(folder, choices.layout)
    if not choices.trace:
        require_annotations(
            layout.sources,
            "add them, say how masks are named (--mask-suffix, --mask-prefix, --mask-folder), or give --trace to draw "
            "them with this pack's tracer",
        )
    else:
        refuse_unmatched(folder, layout)
    if choices.line_width_um is not None and not 0 < choices.line_width_um <= 50:
        raise InputError(f"--line-width-um {choices.line_width_um:g} is not a width of a nerve: give 1 to 50")
    if choices.line_width_um is not None and not any(source.centreline for source in layout.sources):
        raise InputError(
            f"--line-width-um {choices.line_width_um:g} widens centrelines, and this {layout.name} data set has none: "
            "leave it out"
        )
    roster = choices.roster or layout.table
    if choices.key is not None and roster is None:
        raise InputError("--key makes the pseudonyms of a roster; name a roster with --roster")
    if (choices.columns or choices.labels) and roster is None:
        raise InputError("--columns and --labels describe a roster; name it with --roster")
    items, left = _items(layout, roster, choices)
    return layout, items, [*layout.left, *left]


def _items(layout: Layout, roster: Path | None, choices: Choices) -> tuple[list[ImportItem], list[str]]:
    """The images with patient and cohort, checked, and a sentence on each that is not wanted or not there."""
    from ..clinic.roster import read_roster

    study, given = choices.study, choices.cohorts
    cohorts = {group: name if name == NONE else cohort_in(study, name).name for group, name in given.items()}
    if unknown := sorted(set(cohorts) - {source.group for source in layout.sources} - {""}):
        known = ", ".join(sorted({source.group for source in layout.sources} - {""})) or "no groups"
        raise InputError(f"--cohort names {', '.join(unknown)}, but this {layout.name} data set has {known}")
    entries = read_roster(roster, choices.key, columns=choices.columns) if roster else {}
    rows = _rows_of(layout.sources, roster, entries) if roster else {}
    labels = resolved([row.cohort for row in rows.values()], choices.labels, study)
    items, orphans, left = [], [], []
    for source in layout.sources:
        row = rows.get(source.image)
        wanted = (labels.get(row.cohort) if row else None) or cohorts.get(source.group, cohorts.get("", ""))
        if wanted == NONE:
            left.append(f"{source.image.name}: its cohort is {NONE}")
        elif not wanted:
            orphans.append(source)
        else:
            items.append(_item(source, row, wanted, roster))
    if orphans:
        raise InputError(_without_cohort(orphans, len(layout.sources), study))
    if not items:
        raise InputError(f"all {len(left)} images are of the cohort {NONE}: nothing is left to import")
    missing = entries.keys() - {row.file for row in rows.values()}
    return items, [*left, *(f"{name}: in the roster, but there is no such image" for name in sorted(missing))]


def _item(source: Source, row: "RosterEntry | None", cohort: str, roster: Path | None) -> ImportItem:
    """One image with what is written about it. Raises InputError, naming the roster, for what cannot be written."""
    hashes = sha256(source.image), sha256(source.annotation) if source.annotation else ""
    if row is None:
        part = part_named(source.split) if source.split else ""
        return ImportItem(source, hashes, "", "", "", cohort, part)
    try:
        writer.check_fields(row.patient, EYES[row.eye], row.visit)
        part = part_named(row.split) if row.split else ""
    except InputError as error:
        raise InputError(f"{roster}, {source.image.name}: {error}") from None
    return ImportItem(source, hashes, row.patient, EYES[row.eye], row.visit, cohort, part, row.dated)


def _without_cohort(orphans: Sequence[Source], count: int, study: Study) -> str:
    groups = sorted({source.group for source in orphans} - {""})
    one = f", --cohort {groups[0]}=NAME for the group {groups[0]} of {', '.join(groups)}," if groups else ""
    return (
        f"{len(orphans)} of {count} images have no cohort: give --cohort NAME for all{one} or a --roster with the "
        f"column cohort; NAME is {', '.join(study.cohorts)}, or {NONE} to leave them out"
    )


def _rows_of(
    sources: Sequence[Source], roster: Path, entries: Mapping[str, "RosterEntry"]
) -> dict[Path, "RosterEntry"]:
    """The roster's line of each image, by its path; the roster may leave out the endings of names."""
    names = [one_form(source.image.name) for source in sources]
    if len(ordered := sorted(names)) > len(set(names)):
        twin = next(a for a, b in pairwise(ordered) if a == b)
        raise InputError(f"{twin} is there more than once, so {roster} cannot say whose it is: rename one of them")
    rows = {
        one.image: entries.get(one_form(one.image.name)) or entries.get(one_form(one.image.stem)) for one in sources
    }
    if alone := [path.name for path, row in rows.items() if row is None]:
        raise InputError(f"{roster} has no line for {len(alone)} of {len(names)} images: add {', '.join(alone)}")
    return {path: row for path, row in rows.items() if row is not None}
