"""A hospital's export as it is, its names, columns and labels; up to a painted picture: test_story.py."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.cli.hospital_export import small_export
from wdlora.anatomy import phantom, sample_mask
from wdlora.cli import main
from wdlora.dataset.folder import read_folder

COLUMNS = "file=Datei,patient=Pat-ID,eye=Auge,visit=Datum,cohort=Gruppe"
LABELS = "HC=Control,DM-=T1NoDPN,DM+=T1DPN"


def run(root, *more):
    given = ["--pixel-size-um", "1.0417", "--roster", str(root / "list.csv"), "--mask-suffix", "_nervemask"]
    return main(["import-dataset", str(root), *given, *more])


def test_it_goes_in_as_it_is(tmp_path, capsys):
    root, out = small_export(tmp_path / "Export"), tmp_path / "out"
    (root / "Thumbs.db").write_bytes(b"x")
    (root / "Gruppe 0" / "Notiz.txt").write_text("x")
    (root / "Gruppe 0" / "Rest_nervemask.bmp").write_bytes(
        (root / "Gruppe 0" / "Meier_00_OS_nervemask.bmp").read_bytes()
    )
    with open(root / "list.csv", "a", encoding="utf-8") as table:
        table.write("99;Meier_99_OD.bmp;Meier 99;OD;01.01.2024;HC\n")
    told = ("--columns", COLUMNS, "--labels", LABELS)
    assert run(root, *told, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert not out.exists() and shown.count("_nervemask.") == 19
    assert re.search(r"Meier_00_OS\.TIF +Meier_00_OS_nervemask\.bmp +P001 +OS +V2 +Control", shown)
    left = [line for line in shown.splitlines() if line.startswith("left out: ")]
    assert left == [
        "left out: Gruppe 0/Notiz.txt: neither an image nor a mask by its name",
        "left out: Gruppe 0/Rest_nervemask.bmp: a mask without an image of its name",
        "left out: Meier_99_OD.bmp: in the roster, but there is no such image",
    ]
    assert "T1DPN: 6 images of 3 patients" in shown and "18 images would be taken, 3 files left out" in shown

    assert run(root, *told, "--out", str(out), "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["written"] == 18 and json.loads(printed.out)["passed_over"] == 3
    assert printed.err.count("left out: ") == 3
    records = read_folder(out)
    assert len({record.patient for record in records}) == 9 and {record.visit for record in records} == {"V1", "V2"}
    first = next(record for record in records if record.cohort == "Control")
    with Image.open(first.mask) as mask:
        assert np.array_equal(np.asarray(mask) > 0, sample_mask("Control", seed=0, size=160).mask)


def test_all_labels_that_name_no_cohort_are_told_at_once(tmp_path, capsys):
    root = small_export(tmp_path / "Export")
    table = (root / "list.csv").read_text(encoding="utf-8")
    (root / "list.csv").write_text(table.replace(";DM+", ";DPN").replace(";DM−", ";PN−"), encoding="utf-8")
    assert run(root, "--columns", COLUMNS, "--out", str(tmp_path / "out")) == 2
    said = capsys.readouterr().err
    assert "'HC' (6 images), 'PN−' (6 images), 'DPN' (6 images)" in said
    assert "--labels HC=NAME,PN−=NAME,DPN=NAME" in said
    assert run(root, "--columns", COLUMNS, "--labels", "HC=Control,PN-=none,dpn=T1DPN", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert shown.count("its cohort is none") == 6 and "12 images would be taken, 6 files left out" in shown


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            ["--columns", "file=Bild"],
            "lacks the column bild and patient; it has nr, datei, pat-id, auge, datum, gruppe",
        ),
        (["--columns", "datei=file"], "a roster has no column 'datei'; the columns are file, patient, eye"),
        (["--columns", "file=Datei,patient=Datei"], "file and patient are given the same column, 'Datei'"),
        (["--columns", "file"], "--columns takes A=B,C=D and so on, not 'file'"),
        (["--columns", "file=Datei,file=Nr"], "--columns gives file twice"),
        (["--labels", LABELS], "lacks the column file and patient; it has nr, datei"),
        (
            ["--columns", COLUMNS, "--labels", f"{LABELS},XX=Control"],
            "--labels names XX, but the labels are HC, DM+, DM−",
        ),
        (["--columns", COLUMNS, "--labels", "HC=Gesund"], "--labels HC=Gesund: there is no cohort 'Gesund'"),
        (["--columns", COLUMNS, "--labels", "HC=DPN"], "--labels HC=DPN: 'DPN' names no cohort by itself"),
        (["--columns", COLUMNS, "--mask-folder", "Masken"], "there is no folder 'Masken' below"),
        (["--columns", COLUMNS, "--mask-folder", "../Export"], "there is no folder '../Export' below"),
        (
            ["--columns", COLUMNS, "--mask-suffix", "_mask"],
            "holds no mask, a picture whose name ends with '_mask': correct it, or leave it out and give --trace",
        ),
        (["--columns", COLUMNS, "--labels", f"{LABELS},hc=T1DPN"], "--labels gives hc twice, as Control and as T1DPN"),
        (["--columns", COLUMNS, "--pixel-size-um", "1000"], "numbers from 0.05 to 10 µm, not 1000"),
        (["--columns", COLUMNS, "--layout", "qilu"], "names of masks are for folders of your own"),
        (["--columns", COLUMNS, "--labels", LABELS], "name the folder for the data set with --out"),
    ],
)
def test_bad_options_are_one_sentence(tmp_path, capsys, more, sentence):
    out = [] if "--out" in sentence else ["--out", str(tmp_path / "out")]
    assert run(small_export(tmp_path / "Export", patients=1), *more, *out) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said and "\n" not in said


def test_a_mask_folder_a_prefix_and_names_without_endings(tmp_path, capsys):
    root = tmp_path / "in"
    rows = ["file,patient,cohort,split"]
    for number in range(3):
        drawn = sample_mask("Control", seed=number, size=160)
        for kind in ("scans", "traced"):
            (root / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(phantom(drawn, 1)).save(root / "scans" / f"s{number}.png")
        Image.fromarray(drawn.mask.astype(np.uint8) * 255).save(root / "traced" / f"m-s{number}.png")
        rows.append(f"s{number},P{number},Control,{('train', 'val', 'Test')[number]}")
    (root / "list.csv").write_text("\n".join(rows) + "\n")
    given = [
        "--pixel-size-um",
        "1.0417",
        "--mask-folder",
        "traced",
        "--mask-prefix",
        "m-",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(["import-dataset", str(root), "--roster", str(root / "list.csv"), *given]) == 0
    assert [record.split for record in read_folder(tmp_path / "out")] == ["train", "validation", "test"]
    capsys.readouterr()
    (root / "traced" / "m-s1.bmp").write_bytes(b"")
    assert main(["import-dataset", str(root), "--roster", str(root / "list.csv"), *given]) == 2
    assert "s1.png has 2 masks, m-s1.bmp and m-s1.png: remove one" in capsys.readouterr().err


def drawn_with(program, mask, path):
    """A mask as the program saves it; returns the file."""
    if program == "napari":  # Labels layer, saved as TIFF
        tifffile = pytest.importorskip("tifffile")
        tifffile.imwrite(path.with_suffix(".tif"), mask.astype(np.int32))
    elif program == "numpy":  # napari's layer, np.save
        np.save(path.with_suffix(".npy"), mask.astype(np.uint8))
    elif program == "itk-snap":  # a PNG was opened, its segmentation saved
        nibabel = pytest.importorskip("nibabel")
        volume = mask.astype(np.int16).T[:, :, None]
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1, -1, 1, 1])), path.with_suffix(".nii.gz"))
    elif program == "imagej":  # Binary › Make Binary, saved as TIFF with its inverting look-up table
        tifffile = pytest.importorskip("tifffile")
        inverted = np.where(mask, 0, 255).astype(np.uint8)
        tifffile.imwrite(path.with_suffix(".tif"), inverted, photometric="miniswhite")
    else:  # CVAT, "Segmentation mask": colours of labels on black
        colours = np.zeros((*mask.shape, 3), np.uint8)
        colours[mask] = (250, 50, 83)
        Image.fromarray(colours).save(path.with_suffix(".png"))


@pytest.mark.parametrize("program", ["napari", "numpy", "itk-snap", "imagej", "cvat"])
def test_masks_as_drawing_programs_save_them(tmp_path, program):
    drawn = sample_mask("Control", seed=4, size=(160, 192))
    root = tmp_path / "in"
    (root / "corrected").mkdir(parents=True)
    Image.fromarray(phantom(drawn, 1)).save(root / "a.bmp")
    drawn_with(program, drawn.mask, root / "corrected" / "a")
    given = ["--cohort", "Control", "--pixel-size-um", "1.0417", "--mask-folder", "corrected"]
    assert main(["import-dataset", str(root), "--out", str(tmp_path / "out"), *given]) == 0
    (record,) = read_folder(tmp_path / "out")
    with Image.open(record.mask) as mask:
        assert np.array_equal(np.asarray(mask) > 0, drawn.mask)


def test_arrays_that_are_no_mask_of_one_picture_are_left_out_with_the_reason(tmp_path, capsys):
    root = tmp_path / "in"
    (root / "m").mkdir(parents=True)
    for name in "abc":
        Image.fromarray(np.zeros((160, 160), np.uint8)).save(root / f"{name}.png")
    np.save(root / "m" / "a.npy", np.zeros((3, 160, 160)))
    np.save(root / "m" / "b.npy", np.array([{"a": 1}]), allow_pickle=True)
    np.save(root / "m" / "c.npy", np.array([["x", "y"]]))
    given = ["--cohort", "Control", "--pixel-size-um", "1", "--mask-folder", "m", "--out", str(tmp_path / "out")]
    assert main(["import-dataset", str(root), *given]) == 1
    said = capsys.readouterr().err
    assert "a.png: a.npy holds an array of 3 × 160 × 160, not one plane" in said
    assert "b.png: b.npy is not an array of numbers that NumPy can read safely" in said
    assert "c.png: c.npy holds <U1, no numbers" in said
