"""Bringing a data set of any known layout into ours, under pseudonyms.

File names, folders and patients of the data set stay behind: images are numbered, patients carry a roster's
pseudonyms, and `import.json` holds settings and counts alone. SHA-256 hashes of the files as they were found tell
an image's owner which one it is, and a second run which ones are done.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..files import write_json
from ..privacy.pseudonym import keyed
from ..study import Study
from . import writer
from .corrections import Correction, Labels, correct, superseded
from .folder import TABLE
from .layouts import Layout, read_annotation
from .plan import Choices, ImportItem, planned

SETTINGS = "import.json"
BATCH = 16
"""Images that join the table together: few enough for memory, enough that the table is not rewritten all the time."""

if TYPE_CHECKING:
    from ..clinic.images import ClinicImage


@dataclass
class ImportReport:
    """What was done. `failed` says of each image that could not be taken why, `passed_over` of other files why they
    were left out; both name files of the data set.
    """

    layout: str
    found: int
    written: int = 0
    already_there: int = 0
    not_wanted: int = 0
    patients: int | None = None
    traced: int = 0
    replaced: int = 0
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Counts and notes, without names of files."""
        return {**vars(self), "failed": len(self.failed), "passed_over": len(self.passed_over)}


def import_dataset(
    folder: str | PathLike,
    out: str | PathLike,
    choices: Choices,
    progress: Callable[[Sequence[ImportItem]], Iterable[ImportItem]] = iter,
) -> ImportReport:
    """Write the images of `folder` as a data set (see `wdlora.dataset.folder`) into `out`; again, to go on.

    A mask that was corrected at its source takes the place of the imported one (see `corrections`).
    `progress` wraps the images that are still to do. An image that cannot be read is left out and reported. Raises
    InputError, before anything is written, for an unknown layout, images without annotation, cohort or roster line,
    a line width without centrelines, a key without roster, and an `out` that holds another data set, was imported
    with other settings, or has patients of whom nobody can tell whether they are the roster's.
    """
    layout, items, passed_over = planned(folder, choices)
    place, roster = Path(out), choices.roster or layout.table
    _claim(place, _settings(layout, choices))
    held = _held(place)
    _check_unchanged(place, items, held)
    _check_numbers(place, items, held, numbered=choices.key is None)
    wanted: dict[tuple[str, str], list[Labels]] = {}
    for item in items:
        wanted.setdefault(item.hashes, []).append((item.patient, item.eye, item.visit, item.cohort))
    changed = superseded(place, wanted)
    to_do = [
        item
        for item in items
        if item.hashes not in changed.kept and item.patient not in {labels[0] for labels in held.get(item.hashes, ())}
    ]
    not_wanted = len(layout.sources) - len(items)
    report = ImportReport(layout.name, len(layout.sources), 0, len(items) - len(to_do), not_wanted)
    report.passed_over += passed_over
    report.patients = len({item.patient for item in items}) if roster else None
    batch: list[writer.Entry] = []
    counted: dict[str, int] = {}
    for item in progress(to_do):
        try:
            entry, notes = _read(item, choices)
        except InputError as error:
            report.failed.append(f"{item.source.image.name}: {error}")
            continue
        report.traced += item.source.annotation is None
        for note in notes:
            counted[note] = counted.get(note, 0) + 1
        if item.hashes in changed.replaced:
            correction = Correction(entry.mask, entry.biomarkers, entry.provenance["source"])
            correct(place, {changed.replaced[item.hashes]: correction})
            report.replaced += 1
            continue
        batch.append(entry)
        if len(batch) == BATCH:
            _write(place, batch, report, choices.study)
    _write(place, batch, report, choices.study)
    report.notes = [f"{note} ({count} images)" for note, count in counted.items()] + changed.notes
    report.notes += _remarks(roster, items, choices.line_width_um)
    return report


def preview_import(folder: str | PathLike, choices: Choices) -> tuple[list[dict[str, str]], list[str]]:
    """What `import_dataset` would do: a row an image, and a sentence on each file that would be left out.

    Rows have `file`, `mask`, `patient` (the pseudonym), `eye`, `visit`, `cohort`, `split`, `pixel_um`, the side of a
    pixel, or "" where it is not known, and `fault`, why the image would be left out, or "". Raises InputError as
    `import_dataset`; reads all pictures and writes nothing.
    """
    _, items, passed_over = planned(folder, choices)
    rows = []
    for item in items:
        fault = size = ""
        try:
            stated = _pictures(item, choices)[0].pixel_size_um
            size = f"{stated[0]:.5g}" if stated else ""
        except InputError as error:
            fault = str(error)
        mask = item.source.annotation
        named = {"file": item.source.image.name, "mask": mask.name if mask else "traced", "patient": item.patient}
        told = {"eye": item.eye, "visit": item.visit, "cohort": item.cohort, "split": item.split}
        rows.append(named | told | {"pixel_um": size, "fault": fault})
    return rows, passed_over


def _settings(layout: Layout, choices: Choices) -> dict[str, Any]:
    """What all images of one import share; nothing of the roster, whose hash would confirm a guess at its names."""
    size, key = choices.pixel_size_um, choices.key
    return {
        "layout": layout.name,
        "pixel_size_um": list(size) if isinstance(size, tuple) else size,
        "cohorts": dict(sorted(choices.cohorts.items())),
        "trace": choices.trace,
        "line_width_um": choices.line_width_um,
        "key": None if key is None else keyed("key", "", key),
        **({} if choices.study.ships else {"study": choices.study.sha256}),
    }


def _claim(place: Path, settings: dict[str, Any]) -> None:
    """Write the settings into a new folder. Raises InputError where it holds something else."""
    if (place / SETTINGS).is_file():
        try:
            held = json.loads((place / SETTINGS).read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{place / SETTINGS} is damaged: remove the folder and import again") from error
        held = {"key": settings["key"]} | held  # imports of earlier versions do not tell their key
        if changed := sorted(name for name in settings if held.get(name) != settings[name]):
            raise InputError(
                f"{place} was imported with another {' and '.join(changed)}; choose another --out, or remove the folder"
            )
    elif place.is_dir() and any(place.iterdir()):
        raise InputError(f"{place} holds other files, or patients who may carry the same numbers: give an empty folder")
    else:
        write_json(place / SETTINGS, settings)


def _held(place: Path) -> dict[tuple[str, str], set[Labels]]:
    """What the table says, by the hashes of image and annotation as they were found."""
    held: dict[tuple[str, str], set[Labels]] = {}
    for row in writer.read_table(place / TABLE)[1]:
        stem = Path(row["file"]).stem
        try:
            source = json.loads((place / "provenance" / f"{stem}.json").read_text(encoding="utf-8"))["source"]
            hashes = source["image_sha256"], source["annotation_sha256"]
        except (OSError, ValueError, KeyError):
            continue
        patient = "" if row["patient"] == stem else row["patient"]
        held.setdefault(hashes, set()).add((patient, row["eye"], row["visit"], row["cohort"]))
    return held


def _check_unchanged(place: Path, items: Sequence[ImportItem], held: Mapping[tuple[str, str], set[Labels]]) -> None:
    """Raise InputError where the table says of an image what the roster no longer says."""
    wanted: dict[tuple[str, str], set[Labels]] = {}
    for item in items:
        wanted.setdefault(item.hashes, set()).add((item.patient, item.eye, item.visit, item.cohort))
    if changed := sum(not held[hashes] <= labels for hashes, labels in wanted.items() if hashes in held):
        raise InputError(
            f"{changed} images in {place} have another patient, eye, visit or cohort by now; choose another --out, or "
            "remove the folder (without --key patients are numbered as the roster has them: add new ones at its end)"
        )


def _check_numbers(
    place: Path, items: Sequence[ImportItem], held: Mapping[tuple[str, str], set[Labels]], numbered: bool
) -> None:
    """Raise InputError for a number that the table has already, of which no image there is among these: in another
    roster P001, where patients are `numbered`, is somebody else, and V1 of a patient another day.
    """
    before: dict[tuple[str, ...], set[str]] = {}
    for (image, _), labels in held.items():
        for patient, _, visit, _ in labels:
            for one in ((patient,), (patient, visit)):
                before.setdefault(one, set()).add(image)
    people: dict[tuple[str, ...], set[str]] = {}
    visits: dict[tuple[str, ...], set[str]] = {}
    for item in items:
        if numbered and item.patient:
            people.setdefault((item.patient,), set()).add(item.hashes[0])
        if item.dated:
            visits.setdefault((item.patient, item.visit), set()).add(item.hashes[0])
    for what, found, why in (
        ("patients", people, "numbers may be of other people in another list; import both with one --key"),
        ("visits", visits, "visits are counted from the dates of one list; give a list of all"),
    ):
        if doubtful := sorted(one for one, images in found.items() if one in before and not before[one] & images):
            raise InputError(
                f"{len(doubtful)} {what}, first {' '.join(doubtful[0])}, are in {place} already, with none of the "
                f"images given now: {why}, or choose another --out"
            )


def _pictures(item: ImportItem, choices: Choices) -> "tuple[ClinicImage, np.ndarray, list[str]]":
    """Image and mask of one item, and what to say about them."""
    from ..anatomy.tracing.tracer import trace
    from ..clinic.images import as_uint8, read_image
    from ..clinic.masks import OUTLINED, drawn_as_outlines

    source = item.source
    notes: list[str] = []
    picture = read_image(source.image, choices.pixel_size_um)
    size = picture.pixel_size_um
    if size is not None and abs(size[0] - size[1]) > 0.01 * size[0]:
        raise InputError(f"its pixels are {size[0]:g} × {size[1]:g} µm; resample it to square ones")
    if picture.cropped:
        notes.append(picture.cropped)
    if as_uint8(picture.pixels).max() < 32:
        notes.append("so dark that nothing may be seen: 12 bits in a file of 16 are to be stretched before")
    if source.annotation is None:
        return picture, trace(picture.pixels, picture.require_pixel_size(), valid=picture.valid), notes
    mask = read_annotation(source, picture.pixels)
    if source.centreline and choices.line_width_um is not None:
        mask = _widened(mask, choices.line_width_um, picture.require_pixel_size()[0])
    elif not source.centreline and drawn_as_outlines(mask, size):
        notes.append(OUTLINED)
    if mask.mean() > 0.5:
        raise InputError(f"nerves cover {mask.mean():.0%} of the mask: they are to be white on black, invert it")
    return picture, mask, notes


def _read(item: ImportItem, choices: Choices) -> tuple[writer.Entry, list[str]]:
    """Pixels, mask and biomarkers of one image, and what to say about it."""
    from ..anatomy.biomarkers.panel import measure
    from ..anatomy.tracing.segmenters import tracer_name
    from ..clinic.images import as_uint8

    source = item.source
    picture, mask, notes = _pictures(item, choices)
    size = picture.pixel_size_um
    panel: dict[str, Any] = {}
    if size is None:
        notes.append("the pixel size is unknown, so nothing was measured: give --pixel-size-um")
    else:
        panel = measure(mask, size, valid=None if picture.valid.all() else picture.valid).to_dict()
        if source.centreline and choices.line_width_um is None:
            panel |= dict.fromkeys(("cnfa", "cnfw", "mean_width_um"))
    annotation = "traced" if source.annotation is None else "centreline" if source.centreline else "mask"
    origin = {
        "image_sha256": item.hashes[0],
        "annotation_sha256": item.hashes[1],
        "annotation": annotation,
        "tracer": tracer_name() if source.annotation is None else None,
        "line_width_um": choices.line_width_um if source.centreline else None,
        "split": source.split,
        "group": source.group,
    }
    entry = writer.Entry(
        image=as_uint8(picture.pixels),
        mask=mask,
        cohort=item.cohort,
        patient=item.patient,
        eye=item.eye,
        visit=item.visit,
        split=item.split,
        pixel_size_um=size[0] if size else None,
        synthetic=False,
        biomarkers=panel,
        provenance={"source": origin},
    )
    return entry, notes


def _widened(mask: np.ndarray, width_um: float, pixel_um: float) -> np.ndarray:
    """Centrelines drawn anew: every pixel whose centre is nearer than half of `width_um`, and the line itself."""
    from scipy.ndimage import distance_transform_edt

    from ..anatomy.skeleton.thinning import thin

    line = thin(np.pad(mask, 1))[1:-1, 1:-1]
    return line | (distance_transform_edt(~line) < width_um / pixel_um / 2) if line.any() else line


def _write(place: Path, batch: list[writer.Entry], report: ImportReport, study: Study) -> None:
    """Append the batch and empty it."""
    written = writer.append(place, batch, study) if batch else []
    report.written += sum(one.new for one in written)
    report.already_there += sum(not one.new for one in written)
    batch.clear()


def _remarks(roster: Path | None, items: Sequence[ImportItem], width_um: float | None) -> list[str]:
    remarks = []
    if not roster:
        remarks.append(
            "whose the images are is unknown, so each counts as a patient of its own and a split may part one "
            "patient's images: give --roster where you know"
        )
    if any(item.source.centreline for item in items):
        remarks.append(
            "the annotations are centrelines: nerve areas and widths were not measured; --line-width-um widens them"
            if width_um is None
            else f"the annotations are centrelines: nerve areas and widths follow from the {width_um:g} µm asked for"
        )
    return remarks
