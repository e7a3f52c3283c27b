"""Table IX from its arguments to its files: train, paint the same masks, measure, and train downstream networks.

    OUT/table9.md  table9.json  figure9.png  split.csv
    OUT/ROW/…             the training of a row      OUT/ROW/test, OUT/ROW/train   its pictures, as data sets
    OUT/ROW/evaluation/   the evaluation's report    OUT/downstream/               the downstream report

Everything is kept as it comes; the same call goes on where it was stopped.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.clock import Clock
from training.config import TrainingConfig
from training.downstream.config import TASKS, DownstreamConfig
from training.downstream.images import RealSet, read_real, read_synthetic
from training.downstream.report import write_downstream
from training.downstream.splits import Fold, folds_of
from training.downstream.study import DownstreamStudy, Watch, check_real, run_study, unwatched
from training.examples import folder_examples
from training.held_out import DataCase, HeldOut, MaskCase, compare_held_out, held_out, paint_cases, paired_sets
from training.peers.judging import followed
from training.sides import PublicNames, parts_of, write_parts
from training.table9.contenders import Contender, Ground, check_rows, ready, seconds_a_picture
from training.table9.settings import Table9Settings
from wdlora.anatomy.tracing.segmenters import tracer_name
from wdlora.clinic.images import as_uint8, read_image
from wdlora.dataset.split import TABLE as SPLIT
from wdlora.dataset.split import TRAIN, read_split
from wdlora.errors import InputError
from wdlora.files import atomic_write, write_json
from wdlora.qwen.memory import pick_device
from wdlora.study import Study

FIRST_SEED = 0
"""Of the pictures."""

TIMED = 3
"""Pictures whose painting is timed."""


@dataclass(frozen=True)
class Table9Job:
    """Which rows on what data. `drawn`: the data set was drawn by `phantoms.write_phantoms`. `seeds`: pairs of the
    downstream study; 0 leaves it out.
    """

    rows: tuple[str, ...]
    data: Path
    out: Path
    settings: Table9Settings
    downstream: DownstreamConfig
    seeds: int
    drawn: bool = False
    split: Path | None = None
    pixel_size_um: float | None = None
    device: str = "cpu"
    workers: int = 2


@dataclass(frozen=True)
class Row:
    """What was measured of a generator's pictures of the held-out masks. `minutes` of the training and `seconds` a
    picture are those of `Clock`; `report` is the evaluation's record.
    """

    name: str
    parameters: int
    minutes: float | None
    seconds: float
    followed: dict[str, float]
    report: dict[str, Any]


@dataclass(frozen=True)
class Table9:
    """The rows that were run, the downstream record (None where it was left out), and what is shown side by side."""

    job: Table9Job
    rows: list[Row]
    downstream: dict[str, Any] | None
    cases: HeldOut
    pictures: dict[str, list[NDArray[np.uint8]]]


def run_table9(job: Table9Job, watch: Watch = unwatched) -> Table9:
    """Do what is not done yet. Raises InputError, before the first training, for data, rows and devices that cannot be
    used, and where OUT holds another split or other adapters.
    """
    pick_device(job.device)
    kept = (job.out / SPLIT).is_file()
    try:
        real, found, folds, learned, ground = _prepared(job)
    except InputError:
        if not kept:
            (job.out / SPLIT).unlink(missing_ok=True)  # of data that may be corrected
        raise
    rows, pictures = [], {}
    for name in job.rows:
        contender = ready(name, ground, job.settings)
        files = _painted(contender, found.cases, real, job.out / name / "test")
        if job.seeds:
            _painted(contender, learned, real, job.out / name / "train")
            _bring(ground.split, job.out / name / "train" / SPLIT)
        rows.append(_measured(name, contender, found, files, job))
        pictures[name] = [as_uint8(read_image(file).pixels) for file in files]
    downstream = None
    if job.seeds:
        sets = [read_synthetic(job.out / name / "train", real, name) for name in job.rows]
        out = job.out / "downstream"
        study = DownstreamStudy(real, sets, folds, TASKS, job.downstream, out, device=job.device)
        downstream = write_downstream(study, run_study(study, watch))
    return Table9(job, rows, downstream, found, pictures)


def _prepared(job: Table9Job) -> tuple[RealSet, HeldOut, list[Fold], list[DataCase], Ground]:
    """The data and their split, once everything has been refused that a row or the downstream study would refuse."""
    split = _split(job)
    real = read_real(job.data, split, job.pixel_size_um)
    found = held_out(job.data, split, size=None, most=None, pixel_size_um=real.pixel_size_um, first_seed=FIRST_SEED)
    folds = folds_of(real, max(job.seeds, 1), job.downstream.test_share)
    if job.seeds:
        check_real(real, folds, TASKS, job.downstream, without="--seeds 0")
    learned = [
        DataCase(one.identity, one.cohort, one.patient, one.mask, one.caption, image=one.image)
        for one in real.images
        if real.parts[one.patient] == TRAIN
    ]
    of = _digest(learned, real.study, real.pixel_size_um)
    ground = Ground(job.data, split, job.out, real.pixel_size_um, of, job.drawn, job.device)
    check_rows(job.rows, real, ground, job.settings)
    return real, found, folds, learned, ground


def _split(job: Table9Job) -> Path:
    """Who is held out, the same for every training: OUT/split.csv, made once. Raises InputError where it is there, and
    split and data that are given now say otherwise.
    """
    path = job.out / SPLIT
    tables = [job.split] if job.split else [job.data / SPLIT] if (job.data / SPLIT).is_file() else []
    config = TrainingConfig(validation_share=0.0, test_share=job.downstream.test_share)
    parts = parts_of(folder_examples(job.data), config, False, tables)
    if not path.is_file():
        write_parts(path, parts)
    names = PublicNames()
    if read_split(path) != {names.of(patient): part for patient, part in parts.items()}:
        raise InputError(
            f"{path} holds another split than {job.split or job.data} says now: give the split and the data of "
            "the first call, or another --out"
        )
    return path


def _digest(cases: Sequence[DataCase], study: Study, pixel_size_um: float) -> str:
    """SHA-256 of images with everything that is told of them."""
    found = hashlib.sha256(f"{study.sha256} {pixel_size_um:.6g}".encode())
    for case in cases:
        told = [case.file, case.cohort, case.patient, case.caption, case.mask.shape]
        found.update(json.dumps(told).encode() + np.packbits(case.mask).tobytes())
        found.update(np.ascontiguousarray(case.image).tobytes())
    return found.hexdigest()


def _painted(contender: Contender, cases: Sequence[MaskCase], real: RealSet, place: Path) -> list[Path]:
    of = (real.study, real.pixel_size_um)
    return paint_cases(contender.painter, cases, of, FIRST_SEED, place, contender.origin)


def _bring(split: Path, target: Path) -> None:
    with atomic_write(target) as temporary:
        shutil.copyfile(split, temporary)


def _measured(name: str, contender: Contender, found: HeldOut, files: list[Path], job: Table9Job) -> Row:
    """The figures of a row; what was measured of the same pictures and cases by one tracer and clock is read again."""
    out, clock = job.out / name, Clock(job.device)
    kept = out / "row.json"
    known = {"origin": contender.origin, "pictures": len(files), "tracer": tracer_name(), "clock": clock.name}
    known["cases"] = _digest(found.cases, found.study, found.pixel_size_um)
    known = json.loads(json.dumps(known))
    if kept.is_file() and (values := json.loads(kept.read_text(encoding="utf-8")))["of"] == known:
        return Row(**values["row"])
    pictures = [as_uint8(read_image(file).pixels) for file in files]
    group = found.study.cohort(found.cases[0].cohort)
    report = compare_held_out(found, paired_sets(found, files), out / "evaluation", job.workers)[1]
    row = Row(
        name,
        contender.parameters,
        contender.minutes,
        seconds_a_picture(lambda case: contender.painter(case, group, 0), found.cases[:TIMED], clock),
        followed(pictures, [case.mask for case in found.cases], found.pixel_size_um),
        {key: report[key] for key in ("extractor", "tracer", "n", "fidelity", "floor", "fresh_texture", "biomarkers")},
    )
    write_json(kept, {"of": known, "row": row.__dict__})
    return row
