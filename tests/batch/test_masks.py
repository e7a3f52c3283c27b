"""Mask files of a batch: which of a folder are taken, grey pictures, and files with a pixel size of their own."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wdlora.batch.masks import find_masks
from wdlora.cli import main
from wdlora.clinic.masks import OUTLINED

from .conftest import GRAPH, write_masks

MEASURED = {
    **GRAPH,
    "4": {
        "class_type": "CCMBiomarkers",
        "inputs": {"masks": ["1", 0], "pixel_size_um": 1.0417},
        "_meta": {"title": "Measured"},
    },
    "5": {"class_type": "CCMTrace", "inputs": {"images": ["2", 0], "pixel_size_um": 1.0417}},
    "6": {"class_type": "PreviewAny", "inputs": {"source": ["5", 0]}},
}


def batch(*arguments: str) -> int:
    return main(["batch", "flow.json", "--out", "out", "--data", "data", "--device", "cpu", *arguments])


def write_grey(path: Path) -> None:
    """A picture of every grey value, each as often."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(64 * 64).reshape(64, 64).astype(np.uint8)).save(path)


def sample(out: str, *arguments: str) -> None:
    assert main(["sample-masks", "--cohort", "T1DPN", "--out", out, "--size", "224", *arguments]) == 0


def test_images_beside_masks_are_no_masks(place, capsys):
    """The layout of sample-masks and of data sets."""
    sample("drawn", "--phantoms", "--pixel-size-um", "1.0417")
    assert batch("--masks", "drawn") == 0
    assert "1 of 1 jobs done" in capsys.readouterr().out
    write_masks(place / "drawn" / "masks" / "deeper", 1)
    assert [mask.name for mask in find_masks("drawn", keep_names=True)] == [
        "masks/T1DPN_0_00000.png",
        "masks/deeper/mask00.png",
    ]


def test_masks_drawn_as_outlines_are_told_before_the_first_job(place, capsys):
    (place / "drawn").mkdir()
    mask = np.zeros((96, 96), np.uint8)
    for left in (10, 40, 70):
        mask[6:90, left : left + 8] = 255
    Image.fromarray(mask).save(place / "drawn" / "filled.png")
    for left in (10, 40, 70):
        mask[7:89, left + 1 : left + 7] = 0
    Image.fromarray(mask).save(place / "drawn" / "hollow.png")
    assert batch("--masks", "drawn") == 0
    assert f"note: 1 of 2 masks: {OUTLINED}" in capsys.readouterr().err


def test_a_grey_picture_is_refused_by_name_before_the_first_job(place, capsys):
    write_grey(place / "masks" / "picture.png")
    assert batch("--masks", "masks") == 2
    assert "picture.png is not a mask of nerves" in capsys.readouterr().err
    assert not list((place / "out" / "results").iterdir())


@pytest.mark.parametrize(("channel", "status"), [("red", 2), ("alpha", 0)])
def test_a_picture_that_is_not_taken_for_a_mask_may_be_grey(place, channel, status):
    """A graph that traces pictures, and one that takes the mask from the transparency."""
    write_grey(place / "pictures" / "one.png")
    image = {"class_type": "LoadImage", "inputs": {"image": "any.png"}}
    saved = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "picture"}}
    (place / "flow.json").write_text(json.dumps({"1": image, "3": saved}))
    assert batch("--masks", "pictures") == 0
    masked = {**GRAPH, "1": {**GRAPH["1"], "inputs": {**GRAPH["1"]["inputs"], "channel": channel}}}
    (place / "flow.json").write_text(json.dumps(masked))
    assert batch("--masks", "pictures", "--out", "second") == status


def test_what_the_graph_makes_a_mask_of_must_be_one(place, capsys):
    image = {"class_type": "LoadImage", "inputs": {"image": "any.png"}}
    red = {"class_type": "ImageToMask", "inputs": {"image": ["1", 0], "channel": "red"}}
    (place / "flow.json").write_text(
        json.dumps({"1": image, "4": red, "2": {**GRAPH["2"], "inputs": {"mask": ["4", 0]}}, "3": GRAPH["3"]})
    )
    assert batch("--masks", "masks") == 0
    write_grey(place / "masks" / "picture.png")
    assert batch("--masks", "masks") == 2
    assert "picture.png is not a mask of nerves" in capsys.readouterr().err


def test_a_coloured_mask_of_which_the_graph_would_lose_lines_is_refused(place, capsys):
    """The graph takes the channel red: red lines are whole in it, blue ones are not there."""
    pixels = np.zeros((96, 96, 3), np.uint8)
    pixels[20:24] = pixels[60:64] = (255, 0, 0)
    (place / "coloured").mkdir()
    Image.fromarray(pixels).save(place / "coloured" / "one.png")
    assert batch("--masks", "coloured") == 0
    pixels[40:44] = (0, 0, 255)
    Image.fromarray(pixels).save(place / "coloured" / "one.png")
    assert batch("--masks", "coloured", "--out", "second") == 2
    assert "drawn in colours, of which the graph takes red alone" in capsys.readouterr().err


def test_a_masks_own_pixel_size_is_what_is_measured_with(place, capsys):
    """Refused with the options that mend it, which give the CNFL of the mask's record but for their rounding."""
    sample("drawn", "--pixel-size-um", "0.7813")
    (place / "flow.json").write_text(json.dumps(MEASURED))
    assert batch("--masks", "drawn") == 2
    said = capsys.readouterr().err
    options = ["--set", "Measured.pixel_size_um=0.7813", "--set", "CCMTrace.pixel_size_um=0.7813"]
    assert "0.7813 µm, and the graph measures with 1.0417" in said
    assert "add --set 'Measured.pixel_size_um=0.7813' --set 'CCMTrace.pixel_size_um=0.7813'" in said
    assert batch("--masks", "drawn", *options) == 0
    (row,) = csv.DictReader((place / "out" / "measured.csv").open())
    (drawn,) = json.loads((place / "drawn" / "manifest.json").read_text())["masks"]
    assert float(row["cnfl"]) == pytest.approx(drawn["biomarkers"]["cnfl"], rel=1e-3)


def test_a_pixel_size_that_is_given_counts(place):
    """A graph may scale a mask before it measures: then --set or --vary says what is true."""
    sample("drawn", "--pixel-size-um", "0.7813")
    (place / "flow.json").write_text(json.dumps({key: MEASURED[key] for key in "1234"}))
    assert batch("--masks", "drawn", "--set", "Measured.pixel_size_um=1.5") == 0
    assert batch("--masks", "drawn", "--vary", "Measured.pixel_size_um=1,2", "--out", "varied") == 0


def test_nodes_of_the_same_title_are_told_apart_and_others_left_alone(place, capsys):
    """By their ids. A picture beside the mask has its own pixel size."""
    sample("drawn", "--pixel-size-um", "0.7813")
    (place / "data" / "input").mkdir(parents=True)
    write_grey(place / "data" / "input" / "picture.png")
    other = {"class_type": "CCMLoadImage", "inputs": {"image": "picture.png", "pixel_size_um": 2.0}}
    shown = {"class_type": "PreviewAny", "inputs": {"source": ["7", 2]}}
    (place / "flow.json").write_text(json.dumps({**MEASURED, "8": MEASURED["4"], "7": other, "9": shown}))
    options = [f"{name}.pixel_size_um=0.7813" for name in ("4", "CCMTrace", "8")]
    arguments = ["--masks", "drawn", "--mask-input", "The mask.image"]
    assert batch(*arguments) == 2
    assert "add " + " ".join(f"--set '{option}'" for option in options) + ";" in capsys.readouterr().err
    assert batch(*arguments, *(part for option in options for part in ("--set", option))) == 0
