"""A first look writes settings, a user corrects them, and import-dataset obeys them."""

import re
import tomllib

import numpy as np
import pytest
from PIL import Image

from tests.cli.hospital_export import small_export
from tests.cli.test_hospital import COLUMNS, LABELS, run
from wdlora.cli import main
from wdlora.dataset.folder import read_folder


def look(root, file, *more):
    return main(["import-dataset", str(root), "--write-settings", str(file), *more])


def test_a_look_a_correction_and_the_same_data_set_as_by_options(tmp_path, capsys):
    root, file = small_export(tmp_path / "Export"), tmp_path / "settings.toml"
    assert look(root, file) == 0
    guessed = tomllib.loads(file.read_text(encoding="utf-8"))
    assert guessed["roster"] == "list.csv" and guessed["masks"] == {"suffix": "_nervemask"}
    assert guessed["columns"] == dict(part.split("=") for part in COLUMNS.split(","))
    assert guessed["labels"] == {"HC": "?", "DM+": "?", "DM−": "?"}
    assert '"HC" = "?"   # 6 lines' in file.read_text(encoding="utf-8")

    given = ("import-dataset", str(root), "--settings", str(file))
    assert main([*given, "--dry-run"]) == 2
    assert 'leave open pixel_size_um, "DM+", "DM−", "HC": write what each is in place of ?' in capsys.readouterr().err
    text = file.read_text(encoding="utf-8").replace('pixel_size_um = "?"', "pixel_size_um = 1.0417")
    for label, cohort in (("HC", "Control"), ("DM+", "T1DPN"), ("DM−", "T1NoDPN")):
        text = text.replace(f'"{label}" = "?"', f'"{label}" = "{cohort}"')
    file.write_text(text, encoding="utf-8")
    assert main([*given, "--out", str(tmp_path / "a")]) == 0
    assert run(root, "--columns", COLUMNS, "--labels", LABELS, "--out", str(tmp_path / "b")) == 0
    assert (tmp_path / "a" / "dataset.csv").read_bytes() == (tmp_path / "b" / "dataset.csv").read_bytes()
    assert len(read_folder(tmp_path / "a")) == 18


def test_a_look_says_that_dates_will_be_refused(tmp_path):
    root = small_export(tmp_path / "Export", patients=1)
    table = root / "list.csv"
    table.write_text(re.sub(r"\d\d\.\d\d\.\d{4}", "03/04/2024", table.read_text("utf-8")), "utf-8")
    assert look(root, tmp_path / "s.toml") == 0
    assert 'visit = "Datum"   # 03/04/2024 does not tell day from month' in (tmp_path / "s.toml").read_text("utf-8")


def test_masks_of_the_same_names_in_another_folder_and_a_prefix(tmp_path):
    for kind, name in (("scan", "s{}"), ("drawn", "s{}")):
        (tmp_path / "in" / kind).mkdir(parents=True)
        for number in range(12):
            pixels = np.full((32, 32), 90, np.uint8) if kind == "scan" else np.zeros((32, 32), np.uint8)
            pixels[number] = 255
            pixels[number, ::2] = 255 if kind == "drawn" else 120
            Image.fromarray(pixels).save(tmp_path / "in" / kind / f"{name.format(number)}.png")
    assert look(tmp_path / "in", tmp_path / "one.toml") == 0
    assert tomllib.loads((tmp_path / "one.toml").read_text()) == {"pixel_size_um": "?", "masks": {"folder": "drawn"}}
    for path in (tmp_path / "in" / "drawn").iterdir():
        path.rename(path.with_name(f"m-{path.name}"))
    assert look(tmp_path / "in", tmp_path / "two.toml") == 0
    assert tomllib.loads((tmp_path / "two.toml").read_text()) == {"pixel_size_um": "?", "masks": {"prefix": "m-"}}


def test_headers_of_two_lines_stay_in_their_comment(tmp_path):
    root, file = small_export(tmp_path / "Export", patients=1), tmp_path / "s.toml"
    table = (root / "list.csv").read_text(encoding="utf-8")
    assert look(root, file) == 0
    before = tomllib.loads(file.read_text(encoding="utf-8"))
    (root / "list.csv").write_text(table.replace("Gruppe\n", 'Gruppe;"Be\n[masks] # \x07"\n', 1), encoding="utf-8")
    file.unlink()
    assert look(root, file) == 0
    text = file.read_text(encoding="utf-8")
    assert tomllib.loads(text) == before and r'"Gruppe", "Be\n[masks] # \u0007"' in text


def test_the_first_image_says_how_wide_its_pixels_are(tmp_path):
    """Not the first file, a mask that says something else."""
    root = tmp_path / "in"
    root.mkdir()
    mask = np.zeros((40, 64), np.uint8)
    mask[20] = 255
    Image.fromarray(mask).save(root / "Mask_a.png", dpi=(12700, 12700))

    def said(name):
        assert look(root, tmp_path / name) == 0
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert tomllib.loads(text)["masks"] == {"prefix": "Mask_"}
        return next(line for line in text.splitlines() if "pixel_size_um" in line)

    scan = Image.fromarray(np.full((40, 64), 90, np.uint8) + mask // 2)
    scan.save(root / "a.png")
    line = said("1.toml")
    assert line.startswith('pixel_size_um = "?"') and line.endswith("of 64 × 40 pixels, does not say it")
    scan.save(root / "a.png", dpi=(25400, 20320))  # 1 µm wide, 1.25 µm high
    assert said("2.toml").startswith('# pixel_size_um = "1.25,1"')
    (root / "a.png").write_bytes(b"")
    assert said("3.toml").endswith("no image can be read")


@pytest.mark.parametrize(
    ("text", "more", "sentence"),
    [
        ("roster = ", [], "the settings file s.toml is not valid TOML"),
        ("rooster = 'a'", [], "the unknown entry rooster; there are roster, study"),
        ("roster = 3", [], "roster must be a text in quotation marks, not 3"),
        ("pixel_size_um = true", [], "pixel_size_um must be a text in quotation marks, not True"),
        ("pixel_size_um = '?'", [], "leave open pixel_size_um: write what each is in place of ?"),
        ("masks = 'm'", [], "masks must be a table, [masks]"),
        ("[masks]\nending = '_m'", [], "masks has no 'ending'; it has prefix, suffix, folder"),
        ("[columns]\nfile = 2", [], "file in columns must be a text in quotation marks, not 2"),
        ("roster = 'list.csv'", ["--roster", "x.csv"], "says roster, and so do options: leave one out"),
        ("[masks]\nsuffix = '_m'", ["--mask-prefix", "m"], "says masks, and so do options: leave one out"),
        ("roster = 'none.csv'\n[masks]\nsuffix='_nervemask'", [], "none.csv"),
        ("", ["--write-settings", "y.toml"], "--write-settings only looks, with --roster and --study: leave --out"),
    ],
)
def test_bad_settings_are_one_sentence(tmp_path, capsys, monkeypatch, text, more, sentence):
    monkeypatch.chdir(tmp_path)
    small_export(tmp_path / "Export", patients=1)
    (tmp_path / "s.toml").write_text(text)
    assert main(["import-dataset", "Export", "--settings", "s.toml", "--out", "out", *more]) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said and "\n" not in said and not (tmp_path / "out").exists()


def test_settings_that_were_corrected_are_not_overwritten(tmp_path, capsys):
    root, file = small_export(tmp_path / "Export", patients=1), tmp_path / "s.toml"
    file.write_text("mine")
    assert look(root, file) == 2
    assert "is there already: choose another file, or remove it to look again" in capsys.readouterr().err
    assert file.read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert look(tmp_path / "empty", tmp_path / "t.toml") == 2 and not (tmp_path / "t.toml").exists()
    assert main(["import-dataset", str(root), "--settings", str(tmp_path / "none.toml"), "--dry-run"]) == 2
