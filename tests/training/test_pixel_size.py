"""The pixel size of a data set folder: the table's column, the argument, and where they disagree."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from training.config import load_preset
from training.examples import folder_examples, shared_pixel_size
from training.job import TrainingJob
from training.models import ModelSource
from training.pipeline import finetune
from wdlora.errors import InputError
from wdlora.study import shipped_study


def folder(place, sizes, column=True):
    """Two patients a cohort; `sizes` are the four cells of the column `pixel_size_um`."""
    rows = ["file,cohort,patient,pixel_size_um" if column else "file,cohort,patient"]
    for kind in ("images", "masks"):
        (place / kind).mkdir(parents=True)
    for number, size in enumerate(sizes):
        for kind in ("images", "masks"):
            Image.fromarray(np.zeros((32, 32), np.uint8)).save(place / kind / f"{number}.png")
        rows.append(f"{number}.png,{('Control', 'T1DPN')[number % 2]},P{number}" + f",{size}" * column)
    (place / "dataset.csv").write_text("\n".join(rows) + "\n")
    return place


@pytest.mark.parametrize(
    ("sizes", "given", "wanted"),
    [
        (["0.7813"] * 4, None, 0.7813),
        (["0.7813", "0.7812", "0.7813", "0.7813"], None, 0.7812),  # rounded otherwise: within 1 %
        (["1.0417"] * 4, 400 / 384, 400 / 384),
        (["1.0417", "", "", "1.0417"], 1.04, 1.04),
        ([""] * 4, 1.5, 1.5),
    ],
)
def test_the_column_serves_where_it_is_filled(tmp_path, sizes, given, wanted):
    assert shared_pixel_size(folder_examples(folder(tmp_path / "data", sizes)), given) == wanted


def finetuned(data, given, tmp_path):
    """Up to the models, which could not be read."""
    (tmp_path / "no").write_bytes(b"no model")
    broken = ModelSource(**dict.fromkeys(("transformer", "text_encoder", "vae", "tokenizer"), str(tmp_path / "no")))
    finetune(
        TrainingJob(
            load_preset("miniature"),
            "miniature",
            broken,
            tmp_path / "out",
            str(data),
            pixel_size_um=given,
            device="cpu",
        )
    )


@pytest.mark.parametrize(
    ("sizes", "given", "sentence"),
    [
        (["1.0417", "1.0417", "0.7813", "1.0417"], None, "tells pixel sizes from 0.7813 to 1.0417 µm"),
        (["1.0417", "1.0417", "0.7813", "1.0417"], 1.0417, "tells pixel sizes from 0.7813 to 1.0417 µm"),
        (["0.7813"] * 4, 1.0417, "--pixel-size-um 1.0417 contradicts dataset.csv, which tells 0.7813"),
        (["", "", "0.7813", ""], 1.0417, "--pixel-size-um 1.0417 contradicts dataset.csv, which tells 0.7813"),
        (["1.0417", "", "1.0417", "1.0417"], None, "has no pixel_size_um of 1 of 4 images: give"),
        ([""] * 4, None, "has no pixel_size_um of 4 of 4 images: give"),
        ([""] * 4, 1041.7, "from 0.05 to 10 µm, not 1041.7"),
        ([""] * 4, 0.0, "from 0.05 to 10 µm, not 0.0"),
        ([""] * 4, -1.0, "from 0.05 to 10 µm, not -1.0"),
        ([""] * 4, float("nan"), "from 0.05 to 10 µm, not nan"),
        (["1041.7"] * 4, None, "from 0.05 to 10 µm, not 1041.7"),
        (["inf"] * 4, None, "line 2: 'inf' is not a number"),
    ],
)
def test_what_disagrees_or_is_unknown_is_refused_before_models_are_loaded(tmp_path, sizes, given, sentence):
    with pytest.raises(InputError, match=sentence):
        finetuned(folder(tmp_path / "data", sizes), given, tmp_path)


@pytest.mark.parametrize(("column", "given"), [(True, None), (True, 0.7813), (False, 0.7813)])
def test_a_size_that_is_known_lets_the_training_go_on_to_its_models(tmp_path, column, given):
    with pytest.raises(InputError, match=str(tmp_path / "no")):
        finetuned(folder(tmp_path / "data", ["0.7813"] * 4, column), given, tmp_path)


def test_a_study_that_contradicts_the_column_is_named(tmp_path):
    study = dataclasses.replace(shipped_study(), pixel_size_um=0.5)
    examples = folder_examples(folder(tmp_path / "data", ["1.0417"] * 4))
    with pytest.raises(InputError, match=r"pixel_size_um 0\.5 of the study ccm contradicts .*, which tells 1\.04"):
        shared_pixel_size(examples, None, study)
    assert shared_pixel_size(examples, 1.0417, study) == 1.0417  # what is said aloud goes first


def test_without_the_column_the_argument_is_asked_for(tmp_path):
    with pytest.raises(InputError, match="give the pixel size of all with --pixel-size-um"):
        finetuned(folder(tmp_path / "data", [""] * 4, column=False), None, tmp_path)
