"""The tracer beside annotations of the same images: overlap of lines, agreement of biomarkers, and the worst images."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..anatomy.biomarkers.panel import measure
from ..anatomy.overlap import TOLERANCE_UM, dice, line_overlap
from ..anatomy.tracing.choices import ANNOTATED, DEFAULT, Choice
from ..anatomy.tracing.segmenters import tracer_name
from ..anatomy.tracing.tracer import trace
from ..clinic.images import ClinicImage, read_image
from ..clinic.roster import read_roster
from ..csv_table import one_form
from ..dataset.layouts import Source, read_annotation, read_layout, require_annotations
from ..errors import InputError
from .two_readers import TwoReaders, two_readers

WORST = 10
"""So many of the images with the lowest clDice are shown."""

KEYS = ("cnfl", "cnfd", "cnbd")


@dataclass(frozen=True)
class TracingChoices:
    """How images are traced and compared: `segmenter` and `detail` of `trace`, pixel size, tolerance of lines in µm."""

    segmenter: Choice = DEFAULT
    detail: str = ANNOTATED
    pixel_size_um: str | None = None
    tolerance_um: float = TOLERANCE_UM
    resamples: int = 2000


@dataclass(frozen=True)
class Pair:
    """What was found in one image; `number` counts the images in the order of their names, from 1."""

    number: int
    source: Source
    patient: str
    precision: float
    recall: float
    cl_dice: float
    dice: float
    traced: dict[str, Any]
    annotated: dict[str, Any]

    def row(self, names: bool) -> dict[str, Any]:
        """A row of the table; the file's name only on request."""
        first: dict[str, Any] = {"image": self.source.image.name if names else f"{self.number:04d}"}
        first["patient"] = self.patient
        figures = {"precision": self.precision, "recall": self.recall, "cl_dice": self.cl_dice, "dice": self.dice}
        both = {
            f"{key}_{who}": one[key]
            for key in KEYS
            for who, one in (("annotated", self.annotated), ("traced", self.traced))
        }
        return first | figures | both


@dataclass(frozen=True)
class TracingCheck:
    """A finished comparison."""

    pairs: tuple[Pair, ...]
    choices: TracingChoices
    tracer: str
    rules: str
    patients: int | None
    notes: tuple[str, ...]

    @property
    def units(self) -> list[str]:
        """What intervals resample: the patient of every image, or the image itself."""
        return [pair.patient or f"image {pair.number}" for pair in self.pairs]

    def figures(self) -> dict[str, dict[str, float | None]]:
        """Means over images, each with a 95 % bootstrap interval over units (None where there is one unit only)."""
        columns = {
            "precision": [pair.precision for pair in self.pairs],
            "recall": [pair.recall for pair in self.pairs],
            "clDice": [pair.cl_dice for pair in self.pairs],
            "Dice": [pair.dice for pair in self.pairs],
            "CNFL bias": [pair.traced["cnfl"] - pair.annotated["cnfl"] for pair in self.pairs],
            "CNFL MAE": [abs(pair.traced["cnfl"] - pair.annotated["cnfl"]) for pair in self.pairs],
            "CNFL annotated": [pair.annotated["cnfl"] for pair in self.pairs],
        }
        return means(columns, self.units, self.choices.resamples)

    def agreement(self) -> dict[str, TwoReaders]:
        """CNFL, CNFD and CNBD of the tracer beside those of the annotations."""
        found = {}
        for key in KEYS:
            first, second = ([_number(panel[key]) for panel in who] for who in self._panels())
            found[key.upper()] = two_readers(first, second, self.units, self.choices.resamples)
        return found

    def _panels(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        return [pair.annotated for pair in self.pairs], [pair.traced for pair in self.pairs]

    def worst(self) -> list[Pair]:
        """The images with the lowest clDice, the worst first."""
        return sorted(self.pairs, key=lambda pair: (pair.cl_dice, pair.number))[:WORST]

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON values, without names of files."""
        return {
            "images": len(self.pairs),
            "patients": self.patients,
            "resampled_by": "image" if self.patients is None else "patient",
            "tracer": self.tracer,
            "tolerance_um": self.choices.tolerance_um,
            "rules": self.rules,
            "figures": self.figures(),
            "agreement": {key: one.to_dict() for key, one in self.agreement().items()},
            "worst": [pair.number for pair in self.worst()],
            "notes": list(self.notes),
        }


def check_tracing(
    folder: Path,
    choices: TracingChoices,
    roster: str | None = None,
    progress: Callable[[Sequence[Source]], Iterable[Source]] = iter,
) -> TracingCheck:
    """Trace every image of a data set of a known layout and compare with its annotation.

    Patients are those of `roster`, else of the table beside the images. Raises InputError for a folder of no known
    layout, images without annotation, of unknown pixel size or not in the roster, and annotations of another size.
    """
    tracer = tracer_name(choices.segmenter, choices.detail)
    layout = read_layout(folder)
    require_annotations(layout.sources)
    table = roster or layout.table
    entries = read_roster(table) if table else {}
    notes: dict[str, int] = {}
    pairs: list[Pair] = []
    for number, source in enumerate(progress(layout.sources), start=1):
        name = one_form(source.image.name)
        if table and name not in entries:
            raise InputError(f"{table} has no line for {name}: add it, or leave --roster out")
        pair, found = _pair(number, source, entries[name].patient if table else "", choices)
        pairs.append(pair)
        for note in found:
            notes[note] = notes.get(note, 0) + 1
    patients = len({pair.patient for pair in pairs}) if table else None
    said = [f"{text} ({count} images)" for text, count in notes.items()]
    if (patients or len(pairs)) < 2:
        said.append("no intervals: they need two patients, or two images without a roster")
    if patients is None:
        said.append("images of one patient counted as independent: intervals may be too narrow")
    return TracingCheck(tuple(pairs), choices, tracer, str(pairs[0].traced["rules"]), patients, tuple(said))


def both_masks(source: Source, choices: TracingChoices) -> tuple[ClinicImage, NDArray, NDArray]:
    """The image, what the tracer draws and what is annotated in it, bool [H, W] each."""
    image = read_image(source.image, choices.pixel_size_um)
    size = image.require_pixel_size(str(source.image))
    truth = read_annotation(source, image.pixels) & image.valid  # what the black of a mosaic hides was not seen
    return image, trace(image.pixels, size, choices.segmenter, image.valid, detail=choices.detail), truth


def _pair(number: int, source: Source, patient: str, choices: TracingChoices) -> tuple[Pair, list[str]]:
    """One image with what to say about it."""
    image, traced, truth = both_masks(source, choices)
    size = image.require_pixel_size()
    lines = line_overlap(traced, truth, choices.tolerance_um, size)
    found, wanted = (measure(mask, size, valid=image.valid).to_dict() for mask in (traced, truth))
    notes = [image.cropped] if image.cropped else []
    if source.centreline:
        notes.append("annotated by lines without width, so Dice says nothing")
    pair = Pair(
        number, source, patient, lines.precision, lines.recall, lines.cl_dice, dice(traced, truth), found, wanted
    )
    return pair, notes


def means(columns: dict[str, list[float]], units: Sequence[str], resamples: int) -> dict[str, dict[str, float | None]]:
    """Mean of every column with its bootstrap interval over units; one unit alone does not vary: None."""
    values = np.array(list(columns.values()), float).T
    _, unit = np.unique(np.asarray(units), return_inverse=True)
    count = int(unit.max()) + 1
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, unit, values)
    sizes = np.bincount(unit, minlength=count)
    drawn = np.random.default_rng(0).integers(0, count, (resamples, count))
    low, high = np.percentile(sums[drawn].sum(1) / sizes[drawn].sum(1)[:, None], [2.5, 97.5], axis=0)
    return {
        name: {
            "value": float(values[:, k].mean()),
            "low": float(low[k]) if count > 1 else None,
            "high": float(high[k]) if count > 1 else None,
        }
        for k, name in enumerate(columns)
    }


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
