"""Table IX from end to end on a few phantoms: the same masks and split for every row, limits, and what was not run."""

import importlib.util
import json

import numpy as np
import pytest

from training.__main__ import main
from training.config import load_preset
from training.downstream.config import DownstreamConfig
from training.models import ModelSource
from training.peers.recipe import load_recipe
from training.table9.contenders import BASE, NAMES, PHANTOM, Table9Settings, seconds_a_picture
from training.table9.page import NOT_RUN, write_table9
from training.table9.phantoms import drawn_mask, write_phantoms
from training.table9.run import Table9Job, run_table9
from wdlora.clinic.images import read_mask
from wdlora.cohorts import COHORTS
from wdlora.dataset.folder import read_folder
from wdlora.dataset.split import read_split
from wdlora.errors import InputError

HAS_MONAI = all(importlib.util.find_spec(name) for name in ("monai", "einops"))
TRAINED = "spade" if HAS_MONAI else "lora"
ROWS = (TRAINED, PHANTOM)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("table9")
    tiny = {"size": 64, "steps": 2, "batch": 2, "channels": (8, 8), "hidden": 8, "style": 4, "sample_every": 0}
    changes = {"steps": 2, "views": 1, "batch_size": 2, "warmup_steps": 1, "sample_every": 0, "sample_steps": 1}
    finetune = load_preset("miniature", changes | {"size": 64, "validation_share": 0, "test_share": 0})
    settings = Table9Settings({"spade": load_recipe("spade", "small", tiny)}, finetune, ModelSource("miniature"))
    data = write_phantoms(out / "data", 2, 3)
    downstream = DownstreamConfig(side=64, steps=1, pretrain_steps=0, batch=2)
    job = Table9Job(ROWS, data, out, settings, downstream, seeds=1, drawn=True, workers=1)
    found = run_table9(job)
    return job, found, write_table9(found)


def test_every_row_paints_the_same_masks_of_the_same_patients(done):
    job, _, _ = done
    parts = read_split(job.out / "split.csv")
    for part, count in (("test", 9), ("train", 6)):
        patients = {patient for patient, of in parts.items() if of == part}
        real = {one.patient: read_mask(one.mask).mask for one in read_folder(job.data) if one.patient in patients}
        for name in job.rows:
            painted = read_folder(job.out / name / part)
            assert {one.patient for one in painted} == patients and len(painted) == count
            for one in painted:
                np.testing.assert_array_equal(read_mask(one.mask).mask, real[one.patient])
    for name in job.rows:
        assert read_split(job.out / name / "train" / "split.csv") == parts
    assert read_split(job.out / TRAINED / "split.csv") == parts


def test_the_table_says_what_was_measured_and_what_not(done):
    job, found, values = done
    page = (job.out / "table9.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    columns = lines[0].count("|")
    assert all(line.count("|") == columns for line in lines[: len(NAMES) + 2])
    assert sum(NOT_RUN in line for line in lines) == len(NAMES) - len(ROWS)
    assert BASE in values["not_run"] and "they are not ranked" in page and "nothing is claimed" in page
    rows = {row.name: row for row in found.rows}
    assert rows[PHANTOM].core_minutes is None and rows[PHANTOM].parameters == 0
    assert rows[TRAINED].parameters > 0 and rows[TRAINED].core_minutes is not None
    assert rows[PHANTOM].followed["traced_dice"] > 0.6 and rows[PHANTOM].followed["wrong_dice"] < 0.3
    assert json.loads((job.out / "table9.json").read_text(encoding="utf-8"))["rows"].keys() == rows.keys()
    assert (job.out / "figure9.png").is_file()


def test_a_second_call_computes_nothing_again(done, monkeypatch):
    job, found, _ = done
    from training.table9 import run

    def never(*_):
        raise AssertionError("painted or compared again")

    monkeypatch.setattr(run, "compare_held_out", never)
    monkeypatch.setattr(run, "seconds_a_picture", never)
    again = run_table9(job)
    assert [row.report for row in again.rows] == [row.report for row in found.rows]
    monkeypatch.setattr(run, "tracer_name", lambda: "another tracer")
    with pytest.raises(AssertionError, match="compared again"):
        run_table9(job)


def test_phantoms_are_drawn_once_and_their_numbers_stay(done):
    job, _, _ = done
    records = read_folder(job.data)
    assert [one.cohort for one in records] == [list(COHORTS)[number % 3] for number in range(15)]
    np.testing.assert_array_equal(read_mask(records[7].mask).mask, drawn_mask(7).mask)
    assert write_phantoms(job.data, 2, 3) == job.data
    with pytest.raises(InputError, match="holds 6 phantoms to learn from and 9 held out"):
        write_phantoms(job.data, 4, 3)


def test_the_median_of_the_pictures_after_the_first_is_timed(monkeypatch):
    from training.table9 import contenders

    ticks = iter([0.0, 9.0, 10.0, 11.0, 20.0, 25.0, 30.0, 32.0])
    monkeypatch.setattr(contenders.time, "process_time", lambda: next(ticks))
    painted = []
    assert seconds_a_picture(painted.append, ["a", "b", "c"]) == 2.0  # 9 is the first; then 1, 5, 2
    assert painted == ["a", "a", "b", "c"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--rows", "gan"], "no row gan; there are spade, maisi, lora, wdlora, base, phantom"),
        (["--rows", "phantom", "--data", "x"], "leave out --data; there are spade, maisi, lora, wdlora, base"),
        (["--data", "x", "--held", "9"], "--held is of phantoms"),
        (["--split", "s.csv"], "--split is of --data"),
        (["--held", "2"], "--held 2 is too few"),
        (["--seeds", "-1"], "--seeds -1"),
        (["--peer-preset", "huge"], "no preset 'huge' of spade; there are paper, small"),
    ],
)
def test_what_cannot_be_run_is_told_before_anything_is_made(options, told, tmp_path, capsys):
    assert main(["table9", "--out", str(tmp_path / "out"), *options]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
