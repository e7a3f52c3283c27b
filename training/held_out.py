"""The held-out patients of a data set: painted from their masks, and compared with their own images.

What is painted is a data set in OUT/painted, in pairs with the held-out images; the comparison is that of
`python -m wdlora evaluate --pairs`, with the patients that were learned from as the training set.
"""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.cases import best_corner, picture_of
from training.examples import Example, folder_examples, shared_pixel_size
from training.sides import PublicNames, read_parts
from training.validation import evenly
from wdlora.clinic.images import as_uint8, read_image
from wdlora.dataset.folder import TABLE
from wdlora.dataset.split import TABLE as SPLIT
from wdlora.dataset.split import TEST, TRAIN, VALIDATION, merged
from wdlora.dataset.writer import Entry, append
from wdlora.errors import InputError
from wdlora.evaluation.sets import LEAST, ImageSet, Item
from wdlora.files import write_json
from wdlora.qwen.sampling import Sampling
from wdlora.study import Study, StudyCohort, captioned, study_of

PAINTED, JOURNAL = "painted", "journal.json"


@dataclass(frozen=True)
class MaskCase:
    """A mask [H, W] to paint. `patient` may be empty: the picture is then its own subject. `pixel_size_um` is None
    where it is that of all cases, or not known.
    """

    file: str
    cohort: str
    patient: str
    mask: NDArray[np.bool_]
    caption: str = ""
    pixel_size_um: float | None = None

    def seed(self, first: int, repeat: int = 0) -> int:
        """Of its picture: decided by `first` and the mask, whatever the file is called. `repeat` counts the cases
        before it that have the same mask, such as an empty one.
        """
        told = b"%d " % first + (b"%d " % repeat if repeat else b"")
        return int.from_bytes(hashlib.sha256(told + self.mask.tobytes()).digest()[:6], "big")


@dataclass(frozen=True)
class DataCase(MaskCase):
    """One image [H, W] with its mask, cut to the size that is painted."""

    image: NDArray[np.uint8] = field(kw_only=True)


@dataclass(frozen=True)
class HeldOut:
    """The patients whom nobody trained on, and what was learned from; `note` says where they are from."""

    cases: list[DataCase]
    training: ImageSet | None
    pixel_size_um: float
    note: str
    study: Study


def parts_in(folder: Path, examples: Sequence[Example], table: Path | None) -> dict[str, str]:
    """The part of every patient: of the data set's column `split` and of `table`; whoever is in neither is new, so
    held out. Raises InputError where neither says anything.
    """
    stated = {one.patient: one.split for one in examples if one.split}
    tables = [(TABLE, stated)]
    if table is not None:
        tables.append((str(table), read_parts(table, list(examples), PublicNames())))
    known = merged(*tables)
    if not known:
        raise InputError(
            f"nothing says which patients of {folder} the adapter was trained on: give --split FILE with the run's "
            f"{SPLIT}, or a column split in {TABLE}"
        )
    return {one.patient: known.get(one.patient, TEST) for one in examples}


def held_out(
    folder: Path,
    table: Path | None,
    *,
    size: int | None,
    most: int | None,
    pixel_size_um: float | None,
    first_seed: int,
) -> HeldOut:
    """The images to judge an adapter on: those of the test; where there are too few, of the validation as well.

    `size`: side of the crops in pixels, None for whole images; `most`: at most so many of them. Raises InputError for
    what a training refuses of a data set, and where fewer than `LEAST` images are held out.
    """
    examples, study = folder_examples(folder), study_of(folder)
    pixel_um = shared_pixel_size(examples, pixel_size_um, study)
    parts = parts_in(folder, examples, table)
    chosen = [one for one in examples if parts[one.patient] == TEST]
    note = "of the test, whom neither training nor the choice of the adapter saw"
    if len(chosen) < LEAST:
        chosen = [one for one in examples if parts[one.patient] in (TEST, VALIDATION)]
        note = f"of validation and test, because the test has fewer than {LEAST} images; validation chose the adapter"
    if len(chosen) < LEAST:
        raise InputError(f"{folder} holds {len(chosen)} images of held-out patients: an evaluation needs {LEAST}")
    if most is not None and most < LEAST:
        raise InputError(f"--count {most} is too few: an evaluation needs at least {LEAST} images")
    cases = [_case(one, size, first_seed) for one in evenly(chosen, most or len(chosen))]
    patients = len({one.patient for one in cases})
    note = f"The real images are {len(cases)} of {patients} patients {note}"
    learned = [_case(one, size, first_seed) for one in examples if parts[one.patient] == TRAIN]
    return HeldOut(cases, _training(learned, pixel_um), pixel_um, note, study)


def _case(example: Example, size: int | None, first_seed: int) -> DataCase:
    image, mask = example.load()
    if size is not None:
        if min(mask.shape) < size:
            raise InputError(f"{example.identity} is smaller than --size {size}: give a smaller size")
        row, column = best_corner(mask, size, np.random.default_rng(first_seed))
        image, mask = (one[row : row + size, column : column + size] for one in (image, mask))
    return DataCase(example.identity, example.cohort, example.patient, mask, example.caption, image=image)


def _training(learned: list[DataCase], pixel_um: float) -> ImageSet | None:
    """The images that were learned from, None where there are too few to look for copies of."""
    items = [Item(one.image, one.file, one.patient, one.cohort, pixel_um) for one in learned]
    return ImageSet("training", tuple(items), patients_known=True) if len(items) >= LEAST else None


Painter = Callable[[MaskCase, StudyCohort, int], NDArray[np.uint8]]
"""A case, the cohort with its words and a seed to a picture uint8 [H, W]."""


def paint_held_out(
    model: Any, found: HeldOut, sampling: Sampling, first_seed: int, out: Path, origin: dict[str, Any]
) -> tuple[ImageSet, ImageSet]:
    """Paint every case into the data set OUT/painted; returns the held-out and the painted set, in pairs."""

    def painter(case: MaskCase, group: StudyCohort, seed: int) -> NDArray[np.uint8]:
        return picture_of(model, case.mask, group, sampling, seed)

    files = paint_cases(painter, found.cases, (found.study, found.pixel_size_um), first_seed, out / PAINTED, origin)
    return paired_sets(found, files)


def paint_cases(
    painter: Painter,
    cases: Sequence[MaskCase],
    of: tuple[Study, float | None],
    first_seed: int,
    place: Path,
    origin: dict[str, Any],
) -> list[Path]:
    """Paint every case into the data set `place`, of a study and the pixel size in µm of cases that have none of their
    own (None: it is not known, and the data set does not tell it); returns the pictures' files.

    Pictures that an interrupted call has painted are not painted again. Raises InputError where `place` holds those of
    another model or other settings (`origin`).
    """
    (study, pixel_size_um), done = of, _painted(place, origin)
    names, files = PublicNames(), list[Path]()
    repeats: Counter[int] = Counter()
    for case in tqdm(cases, "painting masks", unit="picture", disable=None):
        seed = case.seed(first_seed, repeats[case.seed(first_seed)])
        repeats[case.seed(first_seed)] += 1
        key = str(seed)
        if key not in done or not (place / "images" / done[key]).is_file():
            group = study.cohort(case.cohort)
            group = dataclasses.replace(group, prompt=captioned(group.prompt, case.caption))
            entry = Entry(
                image=painter(case, group, seed),
                mask=case.mask,
                cohort=case.cohort,
                patient=names.of(case.patient) if case.patient else "",
                pixel_size_um=case.pixel_size_um or pixel_size_um,
                provenance=origin | {"seed": seed},
            )
            done[key] = append(place, [entry], study)[0].image.name
            write_json(place / JOURNAL, {"origin": origin, "painted": done})
        files.append(place / "images" / done[key])
    return files


def paired_sets(found: HeldOut, files: Sequence[Path]) -> tuple[ImageSet, ImageSet]:
    """The held-out images and the pictures of their masks, in pairs."""
    real: list[Item] = []
    painted: list[Item] = []
    for case, file in zip(found.cases, files, strict=True):
        for items, pixels in ((real, case.image), (painted, as_uint8(read_image(file).pixels))):
            items.append(Item(pixels, case.file, case.patient, case.cohort, found.pixel_size_um))
    return ImageSet("real", tuple(real), True), ImageSet("synthetic", tuple(painted), True)


def _painted(place: Path, origin: dict[str, Any]) -> dict[str, str]:
    """The pictures that are there already, by seed. Raises InputError where they are of something else."""
    try:
        kept = json.loads((place / JOURNAL).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise InputError(f"{place / JOURNAL} is damaged: remove {place} and paint again") from None
    if kept["origin"] != origin:
        raise InputError(f"{place} holds pictures of another model or other settings: name another --out")
    return dict(kept["painted"])


def compare_held_out(found: HeldOut, sets: tuple[ImageSet, ImageSet], out: Path, workers: int = 2) -> Any:
    """The three pillars of the pairs, written into `out`; returns (comparison, report.json's values)."""
    from wdlora.evaluation import Crew, Options, compare_sets, write_evaluation

    def bar(results: Any, title: str, total: int) -> Any:
        return tqdm(results, title, total, unit="", disable=None, leave=False)

    with Crew(workers, bar) as crew:
        compared = compare_sets(*sets, found.training, Options(pairs=True, cache=out / "cache"), crew)
    compared = dataclasses.replace(compared, notes=(found.note, *compared.notes))
    return compared, write_evaluation(compared, out)
