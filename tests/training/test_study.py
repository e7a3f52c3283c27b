"""A study of another disease, trained on phantoms and painted; carried by data sets; refused where it does not fit."""

import dataclasses
import json

import numpy as np
import pytest

from tests.test_study import small_fibre as small_fibre
from tests.training.runs import job
from training.examples import phantom_examples
from training.pipeline import finetune
from wdlora.adapter import Adapter
from wdlora.anatomy import phantom, sample_mask
from wdlora.cli import main
from wdlora.dataset.folder import read_folder
from wdlora.dataset.writer import Entry, append
from wdlora.errors import InputError
from wdlora.study import read_study, study_of


def entry(cohort, seed, **more):
    drawn = sample_mask("Control", seed, size=160)
    return Entry(phantom(drawn, 1), drawn.mask, cohort, f"P{seed}", pixel_size_um=1.0417, **more)


def test_a_data_set_carries_its_study(small_fibre, tmp_path):
    study, place = read_study(small_fibre), tmp_path / "data"
    append(place, [entry("sfn", 1), entry("Healthy", 2)], study)
    assert study_of(place) == study
    assert [record.cohort for record in read_folder(place)] == ["SFN", "Healthy"]
    append(place, [entry("SFN", 3)])
    told = json.loads(next((place / "provenance").iterdir()).read_text())
    assert told["study"] == {"name": "small_fibre", "version": "2", "sha256": study.sha256}
    with pytest.raises(InputError, match="has no cohort 'Control'"):
        append(place, [entry("Control", 4)])
    append(tmp_path / "ccm", [entry("Control", 1)])
    assert not (tmp_path / "ccm" / "study.toml").exists()
    with pytest.raises(InputError, match="is a data set of the study ccm/1, not of small_fibre/2 as it is now"):
        append(tmp_path / "ccm", [entry("SFN", 1)], study)


def test_phantoms_of_a_study_have_the_anatomy_it_says_and_seeds_of_their_own(small_fibre):
    study = read_study(small_fibre)
    found = phantom_examples(2, 0, study=study)
    assert [example.cohort for example in found] == ["Healthy", "Healthy", "SFN", "SFN"]
    ours, theirs = found[0].load(), phantom_examples(2, 0)[0].load()  # the first cohort of each is Control's anatomy
    assert all(map(np.array_equal, ours, theirs))
    assert not np.array_equal(found[1].load()[1], found[0].load()[1])
    bare = dataclasses.replace(study.cohorts["SFN"], anatomy="")
    with pytest.raises(InputError, match="SFN of the study small_fibre names no anatomy"):
        phantom_examples(2, 0, study=dataclasses.replace(study, cohorts={"SFN": bare}))


@pytest.mark.slow
def test_trained_and_painted(small_fibre, cache, tmp_path):
    from wdlora.qwen.generate import generate
    from wdlora.qwen.miniature_files import load_miniature
    from wdlora.qwen.patch import apply_adapter

    study = read_study(small_fibre)
    result = finetune(dataclasses.replace(job(tmp_path / "out", cache), study=small_fibre))
    adapter = Adapter.load(result["best"])
    assert (adapter.metadata.study, adapter.metadata.study_sha256) == ("small_fibre/2", study.sha256)
    assert adapter.metadata.prompt_version == "2"
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"small_fibre/2, cohorts Healthy, SFN, SHA-256 {study.sha256}" in card
    model = load_miniature()
    apply_adapter(model.transformer, adapter)
    mask = sample_mask("T1DPN", 5, size=160).mask[:64, :64]
    by_study, by_words = (
        generate(model, mask, seed=1, **how)
        for how in ({"cohort": study.cohort("SFN")}, {"prompt": study.cohort("SFN").prompt, "negative": "colour"})
    )
    assert np.array_equal(by_study, by_words)

    from training.__main__ import main as training

    line = ["evaluate", "--adapter", str(tmp_path / "out" / "best.safetensors"), "--out", str(tmp_path / "eval")]
    assert training([*line, "--count", "4"]) == 2


def test_a_study_that_is_not_the_folders_is_refused(small_fibre, tmp_path):
    append(tmp_path / "data", [entry("Control", 1)])
    one = dataclasses.replace(job(tmp_path / "out", tmp_path), data=str(tmp_path / "data"), study=small_fibre)
    with pytest.raises(InputError, match="is a data set of the study ccm/1, not of small_fibre/2: put the right one"):
        finetune(one)


def test_a_hospital_of_another_disease(small_fibre, tmp_path, capsys):
    from tests.dataset import public_trees as trees

    source, out = trees.own(tmp_path / "clinic"), tmp_path / "out"
    given = [str(source), "--out", str(out), "--pixel-size-um", "1.0417", "--study", str(small_fibre)]
    assert main(["import-dataset", *given]) == 2
    assert "--labels T1DPN=NAME,Control=NAME, each NAME one of Healthy, SFN" in capsys.readouterr().err
    assert main(["import-dataset", *given, "--labels", "Control=Healthy,T1DPN=SFN"]) == 0
    assert study_of(out) == read_study(small_fibre)
    assert [record.cohort for record in read_folder(out)].count("SFN") == 1
