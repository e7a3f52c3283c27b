"""Table IX from end to end on a few phantoms: the same masks and split for every row, limits, and what was not run."""

import dataclasses
import importlib.util
import json
import shutil

import numpy as np
import pytest

from training.__main__ import main
from training.clock import PROCESSOR, WALL, Clock
from training.config import PRESETS, load_preset
from training.downstream.config import DownstreamConfig
from training.held_out import DataCase
from training.models import ModelSource
from training.peers.recipe import load_recipe
from training.table9 import run
from training.table9.contenders import _counted, _minutes, seconds_a_picture
from training.table9.page import NOT_RUN, write_table9
from training.table9.phantoms import drawn_mask, write_phantoms
from training.table9.run import Table9Job, run_table9
from training.table9.settings import BASE, NAMES, PHANTOM, Table9Settings
from wdlora.clinic.images import read_mask
from wdlora.cohorts import COHORTS
from wdlora.dataset.folder import read_folder
from wdlora.dataset.split import read_split, write_split
from wdlora.errors import InputError
from wdlora.study import Study, shipped_study, write_study

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
    assert rows[PHANTOM].minutes is None and rows[PHANTOM].parameters == 0
    assert rows[TRAINED].parameters > 0 and rows[TRAINED].minutes is not None
    assert "minutes of training (processor time)" in lines[0] and values["clock"] == PROCESSOR
    assert rows[PHANTOM].followed["traced_dice"] > 0.6 and rows[PHANTOM].followed["wrong_dice"] < 0.3
    assert json.loads((job.out / "table9.json").read_text(encoding="utf-8"))["rows"].keys() == rows.keys()
    assert (job.out / "figure9.png").is_file()


def test_a_second_call_computes_nothing_again(done, monkeypatch):
    job, found, _ = done

    def never(*_):
        raise AssertionError("painted or compared again")

    monkeypatch.setattr(run, "compare_held_out", never)
    monkeypatch.setattr(run, "seconds_a_picture", never)
    again = run_table9(job)
    assert [row.report for row in again.rows] == [row.report for row in found.rows]
    kept = job.out / PHANTOM / "row.json"
    values = json.loads(kept.read_text(encoding="utf-8"))
    kept.write_text(json.dumps(values | {"of": values["of"] | {"cases": "of other masks"}}), encoding="utf-8")
    with pytest.raises(AssertionError, match="compared again"):
        run_table9(job)
    kept.write_text(json.dumps(values), encoding="utf-8")
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


def test_phantoms_of_another_version_are_not_taken_for_those_of_this_one(done, tmp_path):
    data = shutil.copytree(done[0].data, tmp_path / "data")
    told = sorted((data / "provenance").iterdir())[3]
    values = json.loads(told.read_text(encoding="utf-8"))
    told.write_text(json.dumps(values | {"phantom": "phantom 1"}), encoding="utf-8")
    with pytest.raises(InputError, match="holds images of phantom 1, and now phantom 2 is drawn"):
        write_phantoms(data, 2, 3)
    told.unlink()
    with pytest.raises(InputError, match="holds images of an unknown version"):
        write_phantoms(data, 2, 3)


def test_another_split_than_the_first_call_s_is_refused(done, tmp_path):
    job, _, _ = done
    parts = read_split(job.out / "split.csv")
    first = min(parts)
    write_split(tmp_path / "other.csv", parts | {first: "test" if parts[first] == "train" else "train"})
    for record in read_folder(job.data):
        assert record.split  # it is the table that says it, so that another one contradicts it
    with pytest.raises(InputError, match=f"the patient {first} is in"):
        run_table9(dataclasses.replace(job, split=tmp_path / "other.csv"))
    data = shutil.copytree(job.data, tmp_path / "data")
    table = data / "dataset.csv"
    head, *rows = [line.split(",") for line in table.read_text(encoding="utf-8").splitlines()]
    column = head.index("split")
    told = [head, *([*row[:column], "", *row[column + 1 :]] for row in rows)]
    table.write_text("\n".join(",".join(row) for row in told) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"split.csv holds another split than .*other.csv says now"):
        run_table9(dataclasses.replace(job, data=data, split=tmp_path / "other.csv"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"downstream": DownstreamConfig(side=192)}, "smaller than a tile of 192: give a smaller --size"),
        ({"rows": ("lora",), "size": 192}, "smaller than the crop of 192"),
        ({"rows": ("base",), "study": "sfn"}, "the preset own is for the study sfn/1, and .* is of ccm/1"),
        ({"rows": (PHANTOM,), "drawn": False}, "fresh texture on phantoms' masks"),
        ({"device": "gpu"}, "there is no device 'gpu'"),
    ],
)
def test_what_a_later_row_would_refuse_is_refused_before_the_first_training(done, changes, told, tmp_path, monkeypatch):
    job, changes = done[0], dict(changes)
    settings = dataclasses.replace(job.settings, preset="own")
    if size := changes.pop("size", None):
        settings = dataclasses.replace(settings, finetune=dataclasses.replace(settings.finetune, size=size))
    if name := changes.pop("study", None):
        settings = dataclasses.replace(settings, study=Study(name, "1", shipped_study().cohorts))
    monkeypatch.setattr(run, "ready", lambda *_: pytest.fail("a row was begun"))
    job = dataclasses.replace(job, out=tmp_path, settings=settings, **changes)
    with pytest.raises(InputError, match=told):
        run_table9(job)
    assert not (tmp_path / "split.csv").exists()  # the data may be corrected


@pytest.mark.skipif(not HAS_MONAI, reason="needs MONAI")
@pytest.mark.parametrize("finished", [True, False])
def test_a_peer_of_another_recipe_is_refused_before_the_first_training(done, tmp_path, monkeypatch, finished):
    job = done[0]
    out = shutil.copytree(job.out, tmp_path / "out")
    if not finished:
        (out / TRAINED / "peer.safetensors").unlink()
    other = {TRAINED: dataclasses.replace(job.settings.recipes[TRAINED], seed=99)}
    settings = dataclasses.replace(job.settings, recipes=other)
    monkeypatch.setattr(run, "ready", lambda *_: pytest.fail("a row was begun"))
    with pytest.raises(InputError, match="of another recipe or other data"):
        run_table9(dataclasses.replace(job, out=out, settings=settings, rows=(PHANTOM, TRAINED)))


def test_scikit_learn_is_missed_before_the_first_training(done, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sklearn" else find(name))
    monkeypatch.setattr(run, "ready", lambda *_: pytest.fail("a row was begun"))
    with pytest.raises(InputError, match=r"need scikit-learn: .* or give --seeds 0"):
        run_table9(dataclasses.replace(done[0], out=tmp_path))


def test_an_adapter_of_other_settings_base_or_data_is_not_taken_for_this_one(done, tmp_path):
    """The rows base and wdlora, with nothing downstream."""
    job = dataclasses.replace(done[0], rows=("wdlora", "base"), out=tmp_path / "out", seeds=0)
    found = run_table9(job)
    page = (write_table9(found), (job.out / "table9.md").read_text(encoding="utf-8"))[1]
    rows = {row.name: row for row in found.rows}
    assert rows["wdlora"].parameters > 0 and rows["wdlora"].minutes is not None
    assert rows["base"].parameters == 0 and rows["base"].minutes is None
    assert found.downstream is None and "accuracy C" not in page
    pictures = found.pictures
    assert any((a != b).any() for a, b in zip(pictures["wdlora"], pictures["base"], strict=True))
    (job.out / "wdlora" / "cost.json").unlink()
    (job.out / "wdlora" / "row.json").unlink()
    assert run_table9(dataclasses.replace(job, rows=("wdlora",))).rows[0].minutes is None  # not 0

    def refused(**changes):
        with pytest.raises(InputError) as told:
            run_table9(dataclasses.replace(job, **changes))
        return str(told.value)

    config = dataclasses.replace(job.settings.finetune, rank=8, steps=3)
    told = refused(settings=dataclasses.replace(job.settings, finetune=config))
    assert "rank (4 then, 8 now), steps (2 then, 3 now): name another --out" in told
    data = shutil.copytree(job.data, tmp_path / "data")
    head, *lines = (data / "dataset.csv").read_text(encoding="utf-8").splitlines()
    captioned = [f"{head},caption", *(f"{line},blurred" for line in lines)]
    (data / "dataset.csv").write_text("\n".join(captioned) + "\n", encoding="utf-8")
    assert "trained with another data: name another --out" in refused(data=data)


def test_a_digest_of_cases_is_of_everything_that_is_told_of_them():
    mask, image = np.eye(8, dtype=bool), np.arange(64, dtype=np.uint8).reshape(8, 8)
    case, study = DataCase("a.png", "Control", "P1", mask, image=image), shipped_study()
    changed = [{"file": "b.png"}, {"cohort": "T1DPN"}, {"patient": "P2"}, {"caption": "blurred"}]
    changed += [{"mask": ~mask}, {"image": image + 1}, {"mask": mask.reshape(4, 16), "image": image.reshape(4, 16)}]
    digests = [run._digest([case], study, 1.0), run._digest([case], study, 1.1), run._digest([case] * 2, study, 1.0)]
    digests += [run._digest([case], dataclasses.replace(study, version="9"), 1.0)]
    digests += [run._digest([dataclasses.replace(case, **one)], study, 1.0) for one in changed]
    assert len(set(digests)) == len(digests)
    assert run._digest([dataclasses.replace(case, mask=mask.copy())], study, 1.0) == digests[0]


def test_the_median_of_the_pictures_after_the_first_is_timed():
    ticks = iter([0.0, 9.0, 10.0, 11.0, 20.0, 25.0, 30.0, 32.0])
    painted = []
    found = seconds_a_picture(painted.append, ["a", "b", "c"], lambda: next(ticks))
    assert found == 2.0  # 9 is the first; then 1, 5, 2
    assert painted == ["a", "a", "b", "c"]


def test_each_generator_knows_its_own_preset_by_name(tmp_path):
    from argparse import Namespace

    from training.cli.table9 import _settings

    own = tmp_path / "own.toml"
    text = (PRESETS / "miniature.toml").read_text(encoding="utf-8")
    own.write_text(text + '\n[study]\nvalue = "sfn.toml"\nsource = "ours"\n', encoding="utf-8")
    study = dataclasses.replace(shipped_study(), name="sfn")
    write_study(tmp_path / "sfn.toml", study)
    settings = _settings(Namespace(preset=str(own), peer_preset="small", model="miniature"))
    assert (settings.preset, settings.peer_preset, settings.study) == ("own", "small", study)


def test_minutes_are_counted_over_calls_and_unknown_where_nothing_or_another_clock_counted(tmp_path):
    class Ticking(Clock):
        seconds = 0.0

        def __call__(self):
            self.seconds += 90.0
            return self.seconds

    file, clock = tmp_path / "cost.json", Ticking("cpu")
    assert _minutes(file, clock) is None
    with _counted(file, clock):
        assert _minutes(file, clock) is None
        under_way = file.read_bytes()
    with pytest.raises(KeyError), _counted(file, clock):
        raise KeyError
    assert _minutes(file, clock) == 3.0
    other = Clock("cuda")
    assert (clock.name, other.name) == (PROCESSOR, WALL) and _minutes(file, other) is None
    file.write_bytes(under_way)  # as a killed process leaves it
    with _counted(file, clock):
        pass
    assert _minutes(file, clock) is None
    file.write_text('{"seconds": 60.0}')  # as earlier versions wrote it
    assert _minutes(file, clock) == 1.0 and _minutes(file, other) is None


def test_on_an_accelerator_the_clock_is_read_once_its_work_is_done(monkeypatch):
    from training import clock

    done = []
    monkeypatch.setattr(clock.torch.accelerator, "synchronize", lambda device: done.append(device.type))
    monkeypatch.setattr(clock.time, "monotonic", lambda: float(len(done)))
    assert Clock("cuda")() == 1.0 and done == ["cuda"]


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
        (["--device", "gpu"], "there is no device 'gpu'"),
    ],
)
def test_what_cannot_be_run_is_told_before_anything_is_made(options, told, tmp_path, capsys):
    assert main(["table9", "--out", str(tmp_path / "out"), *options]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
