"""Table IX from its arguments to its files: train, paint the same masks, measure, and train downstream networks.

    OUT/table9.md  table9.json  figure9.png  split.csv
    OUT/ROW/…             the training of a row      OUT/ROW/test, OUT/ROW/train   its pictures, as data sets
    OUT/ROW/evaluation/   the evaluation's report    OUT/downstream/               the downstream report

Everything is kept as it comes; the same call goes on where it was stopped.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.downstream.config import TASKS, DownstreamConfig
from training.downstream.images import LabelledImage, RealSet, read_real, read_synthetic
from training.downstream.report import write_downstream
from training.downstream.splits import folds_of
from training.downstream.study import DownstreamStudy, Watch, run_study, unwatched
from training.held_out import HeldOut, MaskCase, compare_held_out, held_out, paint_cases, paired_sets
from training.peers.judging import followed
from training.peers.lesson import check_monai
from training.peers.recipe import PEERS
from training.sides import parts_of, write_parts
from training.table9.contenders import Contender, Ground, Table9Settings, ready, seconds_a_picture
from wdlora.anatomy.tracing.segmenters import tracer_name
from wdlora.clinic.images import as_uint8, read_image
from wdlora.dataset.split import TABLE as SPLIT
from wdlora.dataset.split import TRAIN
from wdlora.files import atomic_write, write_json

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
    """What was measured of a generator's pictures of the held-out masks. `report` is the evaluation's record."""

    name: str
    parameters: int
    core_minutes: float | None
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
    """Do what is not done yet. Raises InputError, before the first training, for data and rows that cannot be used."""
    if any(name in PEERS for name in job.rows):
        check_monai()
    split = _split(job)
    real = read_real(job.data, split, job.pixel_size_um)
    found = held_out(job.data, split, size=None, most=None, pixel_size_um=real.pixel_size_um, first_seed=FIRST_SEED)
    folds = folds_of(real, max(job.seeds, 1), job.downstream.test_share)
    ground = Ground(job.data, split, job.out, real.pixel_size_um, job.drawn, job.device)
    learned = [_case(image) for image in real.images if real.parts[image.patient] == TRAIN]
    rows, pictures = [], {}
    for name in job.rows:
        contender = ready(name, ground, job.settings)
        files = _painted(contender, found.cases, real, job.out / name / "test")
        if job.seeds:
            _painted(contender, learned, real, job.out / name / "train")
            _bring(split, job.out / name / "train" / SPLIT)
        rows.append(_measured(name, contender, found, files, job))
        pictures[name] = [as_uint8(read_image(file).pixels) for file in files]
    downstream = None
    if job.seeds:
        sets = [read_synthetic(job.out / name / "train", real, name) for name in job.rows]
        out = job.out / "downstream"
        study = DownstreamStudy(real, sets, folds, TASKS, job.downstream, out, device=job.device)
        downstream = write_downstream(study, run_study(study, watch))
    return Table9(job, rows, downstream, found, pictures)


def _split(job: Table9Job) -> Path:
    """Who is held out, the same for every training: OUT/split.csv, made once."""
    from training.config import TrainingConfig
    from training.examples import folder_examples

    path = job.out / SPLIT
    if not path.is_file():
        tables = [job.split] if job.split else [job.data / SPLIT] if (job.data / SPLIT).is_file() else []
        config = TrainingConfig(validation_share=0.0, test_share=job.downstream.test_share)
        write_parts(path, parts_of(folder_examples(job.data), config, False, tables))
    return path


def _case(image: LabelledImage) -> MaskCase:
    return MaskCase(image.identity, image.cohort, image.patient, image.mask, image.caption)


def _painted(contender: Contender, cases: Sequence[MaskCase], real: RealSet, place: Path) -> list[Path]:
    of = (real.study, real.pixel_size_um)
    return paint_cases(contender.painter, cases, of, FIRST_SEED, place, contender.origin)


def _bring(split: Path, target: Path) -> None:
    with atomic_write(target) as temporary:
        shutil.copyfile(split, temporary)


def _measured(name: str, contender: Contender, found: HeldOut, files: list[Path], job: Table9Job) -> Row:
    """The figures of a row; what was measured of the same pictures by the same tracer is read again."""
    out = job.out / name
    kept = out / "row.json"
    known = json.loads(json.dumps({"origin": contender.origin, "pictures": len(files), "tracer": tracer_name()}))
    if kept.is_file() and (values := json.loads(kept.read_text(encoding="utf-8")))["of"] == known:
        return Row(**values["row"])
    pictures = [as_uint8(read_image(file).pixels) for file in files]
    group = found.study.cohort(found.cases[0].cohort)
    report = compare_held_out(found, paired_sets(found, files), out / "evaluation", job.workers)[1]
    row = Row(
        name,
        contender.parameters,
        contender.core_minutes,
        seconds_a_picture(lambda case: contender.painter(case, group, 0), list(found.cases[:TIMED])),
        followed(pictures, [case.mask for case in found.cases], found.pixel_size_um),
        {key: report[key] for key in ("extractor", "tracer", "n", "fidelity", "floor", "fresh_texture", "biomarkers")},
    )
    write_json(kept, {"of": known, "row": row.__dict__})
    return row
