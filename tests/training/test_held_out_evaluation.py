"""`training evaluate --data`: held-out patients' masks painted, compared in pairs, linked by the card of the run."""

import dataclasses
import json

import numpy as np
import pytest

from tests.training.runs import job
from tests.training.test_held_out import data_set
from training import held_out
from training.__main__ import main
from training.pipeline import finetune
from wdlora.clinic.images import read_image, read_mask
from wdlora.dataset.folder import read_folder
from wdlora.dataset.split import read_split, write_split

PATIENTS = 6
SETTINGS = [
    "--model",
    "miniature",
    "--device",
    "cpu",
    "--size",
    "64",
    "--steps",
    "1",
    "--sampler",
    "euler",
    "--cfg",
    "1",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A data set of 24 images of 12 patients, and a run of two steps that held out three patients a cohort."""
    place = tmp_path_factory.mktemp("hospital")
    parts = {f"{cohort}-P{p}": "test" if p < 3 else "train" for cohort in ("Control", "T1DPN") for p in range(PATIENTS)}
    data = data_set(place / "data", PATIENTS, parts)
    out = place / "run"
    finetune(dataclasses.replace(job(out, place / "cache", steps=2), data=str(data)))
    return data, out


def command(data, out, *more):
    return main(["evaluate", "--adapter", str(out / "adapter.safetensors"), "--data", str(data), *SETTINGS, *more])


def test_from_the_run_to_the_report_and_the_card(run, capsys, monkeypatch):
    data, out = run
    assert command(data, out, "--json") == 0
    values = json.loads(capsys.readouterr().out)
    place = out / "evaluation"
    assert values == json.loads((place / "report.json").read_text(encoding="utf-8"))
    assert values["n"] == {"real": 12, "synthetic": 12, "patients": 6}
    assert values["training"] == 12 and values["paired"]
    assert values["notes"][0].startswith("The real images are 12 of 6 patients of the test, whom neither training nor")
    assert set(values["biomarkers"]) == {"Control", "T1DPN"}

    parts = read_split(out / "split.csv")
    painted = read_folder(place / "painted")
    assert len(painted) == 12 and {parts[one.patient] for one in painted} == {"test"}

    card = (out / "README.md").read_text(encoding="utf-8")
    assert card.count("## Held-out patients") == 1 and "(evaluation/report.html)" in card
    assert "## Configuration" in card and card.index("# A ") < card.index("## Held-out patients")

    def nothing_new(*_):
        raise AssertionError("a picture was painted twice")

    monkeypatch.setattr(held_out, "picture_of", nothing_new)
    (place / "report.json").unlink()
    assert command(data, out, "--json") == 0
    assert json.loads(capsys.readouterr().out) == values
    assert (out / "README.md").read_text(encoding="utf-8") == card
    assert command(data, out, "--seed", "5") == 2
    assert "holds pictures of another model or other settings" in capsys.readouterr().err


def test_crops_are_cut_from_image_and_mask_alike(run):
    data, _ = run
    found = held_out.held_out(data, None, size=64, most=8, pixel_size_um=None, first_seed=3)
    assert len(found.cases) == 8 and len(found.training.items) == 12
    case = found.cases[0]
    record = next(one for one in read_folder(data) if one.file == case.file)
    image, mask = read_image(record.image).pixels, read_mask(record.mask).mask
    windows = np.lib.stride_tricks.sliding_window_view(image, (64, 64))
    row, column = np.argwhere((windows == case.image).all((2, 3)))[0]
    assert (mask[row : row + 64, column : column + 64] == case.mask).all() and case.mask.any()
    assert case.seed(3) != case.seed(4)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--appearance", "common"], "--appearance belongs to phantoms"),
        (["--phantom", "1"], "--phantom belongs to phantoms"),
        (["--count", "5"], "--count 5 is too few"),
        (["--size", "200"], "smaller than --size 200"),
        (["--adapter", "other.safetensors"], "--data takes one adapter"),
    ],
)
def test_what_does_not_fit_is_said_before_a_model_is_loaded(run, capsys, tmp_path, more, words):
    data, out = run
    assert command(data, out, "--out", str(tmp_path / "out"), *more) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "out" / "painted").exists()


def test_who_was_held_out_must_be_known(run, capsys, tmp_path):
    data = data_set(tmp_path / "unknown", PATIENTS)
    (tmp_path / "adapter").mkdir()
    adapter = tmp_path / "adapter" / "adapter.safetensors"
    adapter.write_bytes((run[1] / "adapter.safetensors").read_bytes())
    arguments = ["evaluate", "--adapter", str(adapter), "--data", str(data), *SETTINGS]
    assert main(arguments) == 2
    assert "nothing says which patients of" in capsys.readouterr().err
    everybody = {one.patient: "train" for one in read_folder(data)}
    write_split(tmp_path / "split.csv", everybody)
    assert main([*arguments, "--split", str(tmp_path / "split.csv")]) == 2
    assert "holds 0 images of held-out patients" in capsys.readouterr().err


def test_split_without_data_is_refused(capsys, tmp_path):
    arguments = ["evaluate", "--adapter", "a.safetensors", "--out", str(tmp_path / "out"), "--split", "split.csv"]
    assert main(arguments) == 2
    assert "--split belongs to --data" in capsys.readouterr().err
