"""`validate-tracing` on a generated folder of the Qilu data set's shape."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from wdlora.anatomy import measure, phantom, sample_mask, trace
from wdlora.anatomy.tracing.segmenters import tracer_name
from wdlora.cli import main
from wdlora.evaluation.tracing_check import means


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three phantoms with their masks as annotations, in Dataset/images and Dataset/annotations."""
    root = tmp_path_factory.mktemp("qilu")
    for name in ("images", "annotations"):
        (root / "Dataset" / name).mkdir(parents=True)
    for i, cohort in enumerate(("Control", "T1NoDPN", "T1DPN")):
        nerve_mask = sample_mask(cohort, 40 + i)
        Image.fromarray(phantom(nerve_mask, 40 + i, version=1)).save(root / "Dataset" / "images" / f"1_{i}.png")
        annotation = nerve_mask.mask.astype(np.uint8) * 255
        Image.fromarray(annotation).save(root / "Dataset" / "annotations" / f"1_{i}.png")
    return root


def test_figures_with_intervals(dataset, capsys):
    assert main(["validate-tracing", str(dataset), "--pixel-size-um", "hrt", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["images"] == 3 and result["resampled_by"] == "image" and "acc_like" in result["rules"]
    assert result["tracer"] == tracer_name()
    figures = result["figures"]
    assert figures["Dice"]["value"] > 0.8 and figures["clDice"]["value"] > 0.9
    for row in figures.values():
        assert row["low"] <= row["value"] <= row["high"]
    assert figures["CNFL MAE"]["value"] >= abs(figures["CNFL bias"]["value"])


def test_annotations_by_the_tracer_itself_agree_exactly(dataset, tmp_path, capsys):
    for name in ("images", "annotations"):
        (tmp_path / name).mkdir()
    image = np.asarray(Image.open(dataset / "Dataset" / "images" / "1_0.png"))
    Image.fromarray(image).save(tmp_path / "images" / "a.bmp")
    Image.fromarray(trace(image).astype(np.uint8)).save(tmp_path / "annotations" / "a.png")  # 0 and 1
    assert main(["validate-tracing", str(tmp_path), "--pixel-size-um", "hrt"]) == 0
    lines = capsys.readouterr().out.splitlines()
    figures = {line[2:20].strip(): line[20:28].strip() for line in lines[1:8]}
    assert figures["precision"] == figures["recall"] == figures["clDice"] == figures["Dice"] == "1.000"
    assert figures["CNFL bias"] == "0.000"


def test_only_what_a_mosaic_shows_is_compared(dataset, tmp_path, capsys):
    """Black is no tissue: lengths are per area that was seen, and lines drawn elsewhere do not count."""
    for name in ("images", "annotations"):
        (tmp_path / name).mkdir()
    image = np.array(Image.open(dataset / "Dataset" / "images" / "1_0.png")).clip(1)
    image[:, :154] = 0
    valid = image > 0
    annotation = trace(image, valid=valid)
    length = measure(annotation[:, 154:]).cnfl
    annotation[100:104, :154] = True
    Image.fromarray(image).save(tmp_path / "images" / "a.png")
    Image.fromarray(annotation.astype(np.uint8)).save(tmp_path / "annotations" / "a.png")
    assert main(["validate-tracing", str(tmp_path), "--pixel-size-um", "hrt", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert figures["Dice"]["value"] == 1 and figures["CNFL bias"]["value"] == 0
    assert length > 5 and figures["CNFL annotated"]["value"] == pytest.approx(length)


def test_patients_are_resampled_together(dataset, tmp_path, capsys):
    roster = tmp_path / "roster.csv"
    roster.write_text("file,patient\n1_0.png,A\n1_1.png,A\n1_2.png,B\n")
    arguments = ["validate-tracing", str(dataset), "--pixel-size-um", "1.0417", "--roster", str(roster), "--json"]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["patients"] == 2 and result["notes"] == []
    roster.write_text("file,patient\n1_0.png,A\n")
    assert main(arguments) == 2
    assert "no line for 1_1.png" in capsys.readouterr().err


def test_the_interval_of_a_mean():
    """Against the normal interval of a mean of 400 values; 15 %: percentiles of 2,000 resamples."""
    values = np.random.default_rng(0).normal(0.5, 0.1, 400).tolist()
    row = means({"Dice": values}, [str(i) for i in range(400)], 2000)["Dice"]
    assert (row["high"] - row["low"]) == pytest.approx(2 * 1.96 * 0.1 / np.sqrt(400), rel=0.15)
    alone = means({"Dice": values}, ["one patient"] * 400, 2000)["Dice"]
    assert alone == {"value": row["value"], "low": None, "high": None}
    twice = means({"Dice": np.repeat(values, 2).tolist()}, [str(i // 2) for i in range(800)], 2000)["Dice"]
    assert twice["high"] - twice["low"] == pytest.approx(row["high"] - row["low"], rel=0.15)  # not narrower


@pytest.fixture
def clinic(dataset, tmp_path):
    """The same images as a clinic has them: images/, masks/ and a table of patients."""
    for name in ("images", "annotations"):
        shutil.copytree(dataset / "Dataset" / name, tmp_path / {"annotations": "masks"}.get(name, name))
    (tmp_path / "patients.csv").write_text("file,patient\n1_0.png,Doe\n1_1.png,Doe\n1_2.png,Roe\n")
    return tmp_path


def test_a_clinics_own_folder_with_a_report(clinic, tmp_path, capsys):
    out = tmp_path / "check"
    arguments = ["validate-tracing", str(clinic), "--pixel-size-um", "hrt", "--segmenter", "lines", "--out", str(out)]
    assert main([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["patients"], result["resampled_by"], result["tracer"]) == (2, "patient", tracer_name("lines"))
    for name in ("CNFL", "CNFD", "CNBD"):
        one = result["agreement"][name]
        assert one["n"] == 3 and one["units"] == 2 and one["limits"][0][0] <= one["bias"][0] <= one["limits"][1][0]
    assert json.loads((out / "report.json").read_text()) == result
    page = (out / "report.html").read_text()
    assert "http" not in page.replace("http-equiv", "") and "Research software" in page and tracer_name("lines") in page
    assert page.count("<tr>") > 10 and "data:image/png;base64," in page
    table = (out / "images.csv").read_text()
    assert len(table.splitlines()) == 4 and "P001" in table
    for text in (page, table, json.dumps(result)):
        assert "Doe" not in text and "1_0" not in text
    sheet = Image.open(out / "contains-real-images" / "worst.png")
    colours = {colour for _, colour in sheet.getcolors(1 << 24)}
    assert {(0, 205, 90), (255, 70, 60)} <= colours
    assert main([*arguments, "--keep-names"]) == 0
    assert "1_0.png" in (out / "images.csv").read_text()


def test_the_worst_come_first(clinic, capsys):
    Image.new("L", (384, 384)).save(clinic / "masks" / "1_1.png")  # nothing annotated: clDice 0
    assert main(["validate-tracing", str(clinic), "--pixel-size-um", "hrt", "--segmenter", "lines", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["worst"][0] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pixel-size-um", "wide"], "not a pixel size"),
        ([], "does not say its pixel size"),
        (["--pixel-size-um", "hrt", "--resamples", "3"], "--resamples is 3"),
        (["--pixel-size-um", "hrt", "--tolerance-um", "0"], "--tolerance-um is 0"),
        (["--pixel-size-um", "hrt", "--keep-names"], "--keep-names is about the table"),
        (["--pixel-size-um", "hrt", "--segmenter", "frangi"], "there is no segmenter 'frangi'"),
    ],
)
def test_bad_arguments(dataset, arguments, message, capsys):
    assert main(["validate-tracing", str(dataset), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_bad_folders(dataset, tmp_path, capsys):
    assert main(["validate-tracing", str(tmp_path)]) == 2
    assert "images/ and masks/" in capsys.readouterr().err
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    assert main(["validate-tracing", str(tmp_path)]) == 2
    assert "has no images" in capsys.readouterr().err
    Image.fromarray(np.ones((9, 9), np.uint8)).save(tmp_path / "images" / "a.png")
    assert main(["validate-tracing", str(tmp_path)]) == 2
    assert "1 of 1 images have no annotation (a.png)" in capsys.readouterr().err
    Image.fromarray(np.ones((5, 5), np.uint8)).save(tmp_path / "annotations" / "a.png")
    assert main(["validate-tracing", str(tmp_path), "--pixel-size-um", "1"]) == 2
    assert "not of its image's size" in capsys.readouterr().err
