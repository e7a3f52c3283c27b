"""`python -m wdlora measure`: results, tables, pictures, and what it refuses."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from tests.anatomy.drawings import DRAWINGS
from wdlora.anatomy import measure
from wdlora.cli import main


@pytest.fixture
def files(tmp_path):
    """Three masks on disk: H, Y and nothing."""
    paths = []
    for name in ("H", "Y", "nothing"):
        mask = next(d for d in DRAWINGS if d.name == name).mask()
        paths.append(tmp_path / f"smith_{name}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(paths[-1])
    return [str(path) for path in paths]


def test_json_holds_the_panel(files, capsys):
    assert main(["measure", *files, "--pixel-size-um", "hrt", "--json"]) == 0
    out = capsys.readouterr().out
    report = json.loads(out)
    assert [image["trunks"] for image in report["images"]] == [2, 1, 0]
    expected = measure(next(d for d in DRAWINGS if d.name == "H").mask()).to_dict()
    assert {name: report["images"][0][name] for name in expected} == expected
    assert len(report["images"][0]["nerves"]) == 3
    assert report["images"][2]["mean_width_um"] is None
    assert "smith" not in out


def test_tables_and_pictures(files, tmp_path, capsys):
    roster = tmp_path / "roster.csv"
    lines = ["file,patient,eye,visit", *(f"{f.rsplit('/', 1)[-1]},Smith,OD,1" for f in files)]
    roster.write_text("\n".join(lines))
    out = tmp_path / "out"
    outputs = ["--csv", str(out / "i.csv"), "--patients", str(out / "p.csv"), "--nerves", str(out / "n.csv")]
    pictures = ["--overlay", str(out / "pictures")]
    assert main(["measure", *files, "--pixel-size-um", "1.0", "--roster", str(roster), *outputs, *pictures]) == 0
    images, patients, nerves = (list(csv.DictReader((out / f"{k}.csv").open())) for k in "ipn")
    assert [row["trunks"] for row in images] == ["2", "1", "0"]
    assert [row["pixel_size_from"] for row in images] == ["given"] * 3
    assert len(patients) == 1
    assert patients[0]["images"] == "3"
    assert len(nerves) == 3 + 2
    assert len(list((out / "pictures").glob("*.png"))) == 3
    everything = capsys.readouterr().out + "".join(p.read_text() for p in out.glob("*.csv"))
    assert "mith" not in everything
    assert "/" not in "".join(row["image"] for row in images)


def test_names_on_request(files, capsys):
    assert main(["measure", files[0], "--pixel-size-um", "hrt", "--keep-names"]) == 0
    assert "smith_H.png" in capsys.readouterr().out


def test_the_pixel_size_is_never_silently_assumed(files, tmp_path, capsys):
    assert main(["measure", files[0]]) == 0
    assert "assumed" in capsys.readouterr().err
    Image.fromarray(np.zeros((300, 300), np.uint8)).save(tmp_path / "other.png")
    assert main(["measure", str(tmp_path / "other.png")]) == 2
    assert "pixel size" in capsys.readouterr().err


def test_a_mask_of_black_nerves_on_white_is_noticed(files, tmp_path, capsys):
    with Image.open(files[0]) as mask:
        Image.fromarray(255 - np.asarray(mask)).save(tmp_path / "negative.png")
    assert main(["measure", str(tmp_path / "negative.png"), "--pixel-size-um", "hrt"]) == 0
    assert "black on white" in capsys.readouterr().err
    assert main(["measure", *files, "--pixel-size-um", "hrt"]) == 0
    assert capsys.readouterr().err == ""


def test_what_a_mask_says_and_looks_like_is_told(tmp_path, capsys):
    """In the result and on standard error: colours that count, outlines, a pixel size that cannot be used."""
    coloured = np.zeros((384, 384, 3), np.uint8)
    coloured[100:105], coloured[200:205] = (255, 0, 0), (0, 0, 255)
    hollow = np.zeros((384, 384), np.uint8)
    hollow[[100, 105]] = 255
    for name, pixels, cnfl, word in (
        ("colours", coloured, 5.0, "lines in red and blue all count as nerve"),
        ("outline", hollow, 5.0, "as outlines of nerves do: CNFL counts each twice"),
    ):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        assert main(["measure", "--json", str(tmp_path / f"{name}.png"), "--pixel-size-um", "hrt"]) == 0
        said = capsys.readouterr()
        (one,) = json.loads(said.out)["images"]
        assert one["cnfl"] == pytest.approx(cnfl, rel=0.01)
        assert word in "".join(one["notes"]) and word in said.err
    unusable = {270: "ImageJ=1.54\nunit=mm\n", 282: 5.0, 283: 5.0, 296: 1}
    Image.fromarray(hollow).save(tmp_path / "size.tif", tiffinfo=unusable)
    assert "its pixels are 200 × 200 µm, which cannot be used" in refused([str(tmp_path / "size.tif")], capsys)


def test_images_are_traced(tmp_path, capsys):
    rng = np.random.default_rng(0)
    mask = next(d for d in DRAWINGS if d.name == "three parallels").mask()
    from scipy.ndimage import gaussian_filter

    image = 60 + 90 * gaussian_filter(mask.astype(float), 1.2) + rng.normal(0, 8, mask.shape)
    Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(tmp_path / "i.png")
    assert main(["measure", str(tmp_path / "i.png"), "--pixel-size-um", "hrt", "--image", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["images"]
    assert result["trunks"] == 3
    assert main(["measure", str(tmp_path / "i.png"), "--pixel-size-um", "hrt"]) == 2
    assert "--image" in capsys.readouterr().err


def refused(arguments, capsys):
    assert main(["measure", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_bad_files_are_refused_by_name(files, tmp_path, capsys):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(np.zeros((200, 300), np.uint8)).save(tmp_path / "small.png")
    for name, word in (("empty", "empty"), ("text", "image"), ("absent", "no file"), ("small", "300 × 200")):
        table = tmp_path / "t.csv"
        error = refused([files[0], str(tmp_path / f"{name}.png"), "--pixel-size-um", "1", "--csv", str(table)], capsys)
        assert f"{name}.png" in error
        assert word in error
        assert not table.exists()


def test_bad_options(files, capsys):
    assert "acc_like" in refused([files[0], "--rules", "mine"], capsys)
    assert "--roster" in refused([files[0], "--patients", "p.csv"], capsys)
    assert "pixel size" in refused([files[0], "--pixel-size-um", "small"], capsys)
    assert "0.05 to 10 µm" in refused([files[0], "--pixel-size-um", "1040"], capsys)  # nm
    assert "0.05 to 10 µm" in refused([files[0], "--pixel-size-um", "1e-300"], capsys)


def test_keyed_pseudonyms_are_the_same_in_every_table(files, tmp_path, capsys):
    key, roster = tmp_path / "key", tmp_path / "roster.csv"
    key.write_bytes(bytes(range(1, 33)))
    arguments = [files[0], "--pixel-size-um", "hrt", "--roster", str(roster), "--key", str(key), "--json"]
    seen = []
    for before in ("", "smith_Y.png,Jones\n"):  # another table, in which Smith is not the first patient
        roster.write_text(f"file,patient\n{before}smith_H.png,Smith\n")
        assert main(["measure", *arguments]) == 0
        (image,) = json.loads(capsys.readouterr().out)["images"]
        seen.append((image["patient"], image["image"]))
    assert seen[0] == seen[1]
    assert seen[0][0] != "P001"
    key.write_bytes(b"short")
    assert "16" in refused(arguments, capsys)
    assert "--roster" in refused([files[0], "--key", str(key)], capsys)


def test_outputs_that_cannot_be_written_are_named(files, tmp_path, capsys):
    """A file stands where a folder is needed: one line with the path, no traceback."""
    (tmp_path / "taken").write_text("")
    measured = [files[0], "--pixel-size-um", "hrt"]
    assert "taken" in refused([*measured, "--overlay", str(tmp_path / "taken")], capsys)
    assert "taken" in refused([*measured, "--csv", str(tmp_path / "taken" / "t.csv")], capsys)


@pytest.mark.parametrize("option", ["--csv", "--patients", "--nerves"])
def test_tables_that_cannot_be_written_are_noticed_before_the_work(files, tmp_path, capsys, option):
    """So early that a first file which is no image is not even opened; and nothing is made on the way."""
    (tmp_path / "taken").write_text("")
    roster = ["--roster", str(tmp_path / "roster.csv")]
    (tmp_path / "roster.csv").write_text("file,patient\nno.png,A\n")
    (tmp_path / "no.png").write_text("no image")
    for place, said in (("taken/t.csv", "is a file, not a folder"), ("", "is a folder: name a file")):
        arguments = [str(tmp_path / "no.png"), "--pixel-size-um", "hrt", *roster, option, str(tmp_path / place)]
        assert said in refused(arguments, capsys)
    assert "no.png" in refused([*arguments[:-1], str(tmp_path / "new" / "t.csv")], capsys)
    assert not (tmp_path / "new").exists()


def test_files_that_would_share_a_name_are_refused(files, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "smith_H.png"
    twin.write_bytes((tmp_path / "smith_H.png").read_bytes())
    arguments = [files[0], str(twin), "--pixel-size-um", "hrt"]
    assert "smith_H" in refused([*arguments, "--keep-names"], capsys)
    (tmp_path / "roster.csv").write_text("file,patient\nsmith_H.png,Smith\n")
    assert "smith_H" in refused([*arguments, "--roster", str(tmp_path / "roster.csv")], capsys)
    assert main(["measure", *arguments]) == 0


def test_outputs_that_would_replace_what_is_read_or_each_other_are_refused(files, tmp_path, capsys):
    """An overlay into the folder of the masks is fine as long as no mask is called like a picture."""
    roster, numbered = tmp_path / "roster.csv", tmp_path / "0001.png"
    roster.write_text("file,patient\nsmith_H.png,Smith\n")
    numbered.write_bytes((tmp_path / "smith_H.png").read_bytes())
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    sized = ["--pixel-size-um", "hrt"]
    assert "smith_H.png is an input" in refused([files[0], *sized, "--keep-names", "--overlay", str(tmp_path)], capsys)
    assert "0001.png is an input" in refused([str(numbered), *sized, "--overlay", str(tmp_path / "new" / "..")], capsys)
    listed = [files[0], *sized, "--roster", str(roster)]
    assert "roster.csv is an input" in refused([*listed, "--csv", str(roster)], capsys)
    table = str(tmp_path / "t.csv")
    assert "t.csv is the place of two outputs" in refused([files[0], *sized, "--csv", table, "--nerves", table], capsys)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert main(["measure", files[0], *sized, "--overlay", str(tmp_path / "pictures")]) == 0
    assert main(["measure", *listed, "--overlay", str(tmp_path)]) == 0
    assert (tmp_path / "I0001.png").is_file()


def test_a_visit_that_is_no_short_code_passes_on_request_alone(files, tmp_path, capsys):
    (tmp_path / "roster.csv").write_text("file,patient,visit\nsmith_H.png,Smith,25 Jan 2024\nsmith_Y.png,Smith,V1\n")
    arguments = ["--pixel-size-um", "hrt", "--roster", str(tmp_path / "roster.csv"), "--json"]
    assert "smith_H.png: the visit '25 Jan 2024' cannot be kept" in refused([files[0], *arguments], capsys)
    assert main(["measure", files[1], *arguments]) == 0
    assert main(["measure", files[0], *arguments, "--keep-names"]) == 0
