"""`python -m wdlora classify`: what the network says of an image, as text, JSON and a table, and what is refused."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from wdlora.cli import main
from wdlora.hmsvit.file import Facts, built_network, load_hmsvit, save_hmsvit
from wdlora.hmsvit.sizes import SIZES

COHORTS = ("Control", "T1NoDPN", "T1DPN")


@pytest.fixture
def files(tmp_path):
    """Two images whose names must not come out, a network for diagnosis, and one for segmentation."""
    generator = np.random.default_rng(0)
    for name in ("Smith.png", "Jones.png"):
        Image.fromarray(generator.integers(0, 256, (100, 120), dtype=np.uint8)).save(tmp_path / name)
    torch.manual_seed(0)
    for task in ("diagnosis", "segmentation"):
        facts = Facts(task, SIZES["tiny"], 64, 1.0, COHORTS if task == "diagnosis" else ())
        save_hmsvit(tmp_path / f"{task}.safetensors", built_network(facts), facts)
    return tmp_path


def arguments(folder, *more: str, model: str = "diagnosis") -> list[str]:
    images = [str(folder / name) for name in ("Smith.png", "Jones.png")]
    return ["classify", *images, "--model", str(folder / f"{model}.safetensors"), "--pixel-size-um", "1.0", *more]


def test_the_table_holds_the_networks_probabilities(files, capsys):
    assert main(arguments(files, "--csv", str(files / "out.csv"))) == 0
    said = capsys.readouterr().out
    text = (files / "out.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    image = np.asarray(Image.open(files / "Smith.png"))
    expected = load_hmsvit(files / "diagnosis.safetensors").cohort_probabilities(image, 1.0)
    assert [float(rows[0][name]) for name in COHORTS] == pytest.approx(expected, abs=1e-6)
    assert rows[0]["image"] == "0001" and "not a diagnosis" in rows[0]["note"] and "not a diagnosis" in said
    assert "Smith" not in text + said


def test_names_and_json_on_demand(files, capsys):
    assert main(arguments(files, "--json", "--keep-names")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"][1]["image"] == "Jones.png" and "not a medical device" in found["note"]


def test_what_is_refused(files, capsys):
    assert main(arguments(files, model="segmentation")) == 2
    assert "trained for segmentation, not for diagnosis" in capsys.readouterr().err
    assert main(arguments(files, "--csv", str(files / "Smith.png"))) == 2
    assert "would be replaced" in capsys.readouterr().err
    assert main([part for part in arguments(files) if part not in ("--pixel-size-um", "1.0")]) == 2
    assert "pixel size" in capsys.readouterr().err
