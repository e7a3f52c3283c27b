"""Who is held out of a fine-tune: nobody who ever was is learned from, and the best adapter is judged on others."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.training.runs import job
from training import pipeline
from training.best import BestAdapter
from training.config import load_preset
from training.examples import folder_examples
from training.run_log import RunLog
from training.sides import parts_of, sides_of, write_parts
from wdlora.adapter import Adapter
from wdlora.anatomy import phantom, sample_mask
from wdlora.dataset.split import read_split, write_split
from wdlora.errors import InputError


def data_set(place, patients, split=None, cohorts=("Control", "T1DPN")):
    """A folder of two phantoms a patient; `split` maps patients to parts."""
    rows = []
    for kind in ("images", "masks"):
        (place / kind).mkdir(parents=True, exist_ok=True)
    for number, (patient, cohort) in enumerate((p, c) for c in cohorts for p in range(patients)):
        for eye in ("OD", "OS"):
            name = f"{number:03d}{eye}.png"
            drawn = sample_mask(cohort, seed=2 * number + (eye == "OS"), size=160)
            Image.fromarray(drawn.mask.astype(np.uint8) * 255).save(place / "masks" / name)
            Image.fromarray(phantom(drawn, 7)).save(place / "images" / name)
            owner = f"{cohort}-P{patient}"
            row = {"file": name, "cohort": cohort, "patient": owner, "eye": eye, "pixel_size_um": "1.0417"}
            rows.append(row | ({} if split is None else {"split": split.get(owner, "")}))
    with open(place / "dataset.csv", "w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    return place


@pytest.fixture
def learned(monkeypatch):
    """The files that a run has learned from."""
    seen = set()

    class Watched(pipeline.FineTune):
        def _batch(self, views, generator):
            seen.update(view.identity for view in views)
            return super()._batch(views, generator)

    monkeypatch.setattr(pipeline, "FineTune", Watched)
    return seen


def of_folder(out, cache, data, **changes):
    settings = {"steps": 12, "sample_every": 4, "save_every": 3, "log_every": 3, **changes}
    return dataclasses.replace(job(out, cache, **settings), data=str(data))


def patients_of(data, files):
    return {example.patient for example in folder_examples(data) if example.identity in files}


@pytest.mark.slow
def test_two_patients_more_and_nobody_who_was_held_out_is_learned_from(cache, tmp_path, learned):
    data, more = data_set(tmp_path / "data", 5), data_set(tmp_path / "more", 7)
    result = pipeline.finetune(of_folder(tmp_path / "out", cache, data))
    parts = read_split(tmp_path / "out" / "split.csv")
    held = {patient for patient, part in parts.items() if part != "train"}
    assert len(parts) == 10 and len(held) == 4
    assert patients_of(data, learned) == parts.keys() - held

    best = Adapter.load(result["best"])
    judged = [line for line in map(json.loads, (tmp_path / "out" / "log.jsonl").open()) if "validation_loss" in line]
    lowest = min((line for line in judged if line["step"]), key=lambda line: line["validation_loss"])
    assert best.metadata.step == lowest["step"] and {line["step"] for line in judged} == {0, 4, 8, 12}
    test = json.loads((tmp_path / "out" / "test.json").read_text())
    assert test == result["test"] and (test["adapter"], test["step"]) == ("best.safetensors", lowest["step"])
    assert np.isfinite(test["test_loss"]) and test["test_loss"] != lowest["validation_loss"]
    assert (tmp_path / "out" / "sheets" / "test.png").exists()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "6 patients for training, 2 for validation, 2 for the test" in card and "`best.safetensors` (step" in card

    learned.clear()
    again = of_folder(tmp_path / "again", cache, more, steps=9)
    pipeline.finetune(dataclasses.replace(again, split=tmp_path / "out" / "split.csv"))
    assert not patients_of(more, learned) & held
    now = read_split(tmp_path / "again" / "split.csv")
    assert len(now) == 14 and all(now[patient] == part for patient, part in parts.items())


def parts(data, tables=(), **changes):
    return parts_of(folder_examples(data), load_preset("miniature", changes), False, list(tables))


def test_what_the_table_says_is_obeyed_and_must_not_contradict_a_file(tmp_path):
    stated = {"Control-P0": "Test", "Control-P1": "train", "T1DPN-P2": "val"}
    data = data_set(tmp_path / "data", 5, stated)
    found = parts(data)
    assert (found["Control-P0"], found["Control-P1"], found["T1DPN-P2"]) == ("test", "train", "validation")
    sides = sides_of(folder_examples(data), found)
    assert [len(side) for side in (sides.learned, sides.validation, sides.test)] == [12, 4, 4]
    write_split(tmp_path / "old.csv", {"Control-P1": "test", "Gone-P9": "test"})
    with pytest.raises(InputError, match=r"Control-P1 is in train by dataset\.csv and in test by .*old\.csv"):
        parts(data, [tmp_path / "old.csv"])
    write_split(tmp_path / "old.csv", {"Control-P4": "test", "Gone-P9": "test"})
    found = parts(data, [tmp_path / "old.csv"])
    assert (found["Control-P4"], found["Gone-P9"], len(found)) == ("test", "test", 11)


def test_names_become_keyed_hashes_by_which_the_same_user_finds_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    data = data_set(tmp_path / "data", 5)
    table = (data / "dataset.csv").read_text()
    (data / "dataset.csv").write_text(table.replace("Control-P", "Anna Smith "))
    found = parts(data)
    write_parts(tmp_path / "split.csv", found)
    assert (
        "Smith" not in (tmp_path / "split.csv").read_text() and "T1DPN-P0,train" in (tmp_path / "split.csv").read_text()
    )
    assert parts(data, [tmp_path / "split.csv"], seed=5) == found != parts(data, seed=5)
    (tmp_path / "home" / ".wdlora" / "pseudonym.key").write_text("another key of many bytes")
    with pytest.raises(InputError, match="names 5 patients by keyed hashes, and none of them by the key of this user"):
        parts(data, [tmp_path / "split.csv"])


def test_few_patients_and_none_to_learn_from(tmp_path, caplog):
    assert set(parts(data_set(tmp_path / "one", 1, cohorts=("T1DPN",))).values()) == {"train"}
    five = parts(data_set(tmp_path / "five", 5, cohorts=("T1DPN",)))
    assert sorted(five.values()) == ["test", "train", "train", "train", "validation"]
    held = data_set(tmp_path / "held", 1, {"Control-P0": "test", "T1DPN-P0": "test"})
    with pytest.raises(InputError, match="holds out all 2 patients, so there is nobody to train on"):
        parts(held)
    with pytest.raises(InputError, match=r"Control-P0 in the split 'test' \(000OD\.png\) and 'nothing'"):
        table = (held / "dataset.csv").read_text()
        (held / "dataset.csv").write_text(table.replace("OS,1.0417,test", "OS,1.0417,", 1))
        parts(held)
    with pytest.raises(InputError, match=r"validation_share 0\.6 and test_share 0\.5 leave no patients"):
        load_preset("miniature", {"validation_share": 0.6, "test_share": 0.5})


@pytest.mark.slow
def test_each_checkpoint_holds_its_adapter_and_the_best_is_found_again(cache, tmp_path):
    """Whatever a killed run left of later steps, the run that goes on ends with the tensors of the whole one."""
    data = data_set(tmp_path / "data", 5)
    whole = tmp_path / "whole"
    pipeline.finetune(of_folder(whole, cache, data, keep_checkpoints=9))
    checkpoints = sorted((whole / "checkpoints").iterdir())
    for place in checkpoints:
        adapter = Adapter.load(place / "adapter.safetensors")
        state = load_file(place / "parameters.safetensors")
        assert adapter.metadata.step == int(place.name[-6:])
        for name, layer in adapter.layers.items():
            assert torch.equal(layer.lora_b, state[f"average/{name}.lora_B.default.weight"])
    lines = list(map(json.loads, (whole / "log.jsonl").open()))
    for place in checkpoints:
        killed = tmp_path / place.name
        shutil.copytree(whole, killed)
        step = int(place.name[-6:])
        for later in (killed / "checkpoints").iterdir():
            if later.name > place.name:
                shutil.rmtree(later)
        log = RunLog(killed)
        log.cut_after(step)
        BestAdapter(killed, log).restore()
        until = [line for line in lines if "validation_loss" in line and 0 < line["step"] <= step]
        expected = min(until, key=lambda line: line["validation_loss"])["step"] if until else None
        found = (
            Adapter.load(killed / "best.safetensors").metadata.step if (killed / "best.safetensors").exists() else None
        )
        assert found == expected, place.name
        pipeline.finetune(dataclasses.replace(of_folder(killed, cache, data, keep_checkpoints=9), resume=True))
        for name in ("best", "adapter"):
            mine, theirs = (load_file(run / f"{name}.safetensors") for run in (killed, whole))
            assert mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in theirs)
        assert json.loads((killed / "test.json").read_text()) == json.loads((whole / "test.json").read_text())
