"""A batch's folder is a data set that training and evaluation read."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from training.examples import folder_examples
from wdlora.cli import main
from wdlora.cohorts import COHORTS
from wdlora.dataset.folder import read_folder
from wdlora.errors import InputError
from wdlora.evaluation import read_set
from wdlora.files import sha256
from wdlora.study import read_study

from .conftest import GRAPH

OPTIONS = ["--data", "data", "--device", "cpu"]
STUDY = """name = "sfn"\nversion = "1"\n[cohorts.SFN]\nlabel = "Small fibres"\nprompt = "Few nerves."\n"""


@pytest.fixture
def hospital(place):
    """masks/ of a data set `mine` of four patients with two images each, and a graph that names a cohort."""
    (place / "mine").mkdir()
    shutil.rmtree(place / "masks")
    rows = []
    for index in range(8):
        mask = np.zeros((48, 64), np.uint8)
        mask[4 * index : 4 * index + 2] = 255
        for part in ("images", "masks"):
            (place / "mine" / part).mkdir(exist_ok=True)
            Image.fromarray(mask).save(place / "mine" / part / f"m{index}.png")
        row = {"file": f"m{index}.png", "cohort": "Control", "patient": f"P{index // 2}", "eye": "OD", "visit": "V1"}
        rows.append(row | {"pixel_size_um": "1.5"})
    with (place / "mine" / "dataset.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    conditioning = {"class_type": "CCMConditioning", "inputs": {"cohort": "T1DPN"}}
    (place / "flow.json").write_text(json.dumps(GRAPH | {"8": conditioning}))
    return place


def batch(*arguments: str, masks: str = "mine") -> int:
    return main(["batch", "flow.json", "--masks", masks, "--out", "out", *arguments, *OPTIONS])


def test_pictures_with_their_masks_cohort_and_patients_are_read_by_all(hospital, capsys):
    assert batch() == 0
    assert "out is a data set of 8 images" in capsys.readouterr().out
    records = read_folder("out")
    assert [record.patient for record in records] == [f"P{index // 2}" for index in range(8)]
    assert {(one.cohort, one.eye, one.visit, one.pixel_size_um) for one in records} == {("T1DPN", "OD", "V1", 1.5)}
    for index, example in enumerate(folder_examples("out")):
        image, mask = example.load()
        assert np.flatnonzero(mask.any(1)).tolist() == [4 * index, 4 * index + 1]
        assert (image > 128).tolist() == mask.tolist()  # this graph saves the mask itself
    found = read_set("out", "synthetic")
    assert len(found) == 8 and found.patients_known and set(found.cohorts) == {"T1DPN"}


def test_a_study_that_cannot_be_read_is_refused_before_the_first_job(hospital, capsys):
    (hospital / "out").mkdir()
    (hospital / "out" / "study.toml").write_text("name = ")
    assert batch() == 2
    assert "study.toml is not valid TOML" in (told := capsys.readouterr().err)
    assert "choose another --out" in told and not (hospital / "out" / "results").exists()


def test_cohorts_and_masks_are_added_and_nothing_is_lost(hospital):
    assert batch("--cohort", "Control") == 0
    first = read_folder("out")
    assert batch("--cohort", "T1DPN") == 0
    records = read_folder("out")
    assert sorted(one.cohort for one in records) == ["Control"] * 8 + ["T1DPN"] * 8
    assert {one.file for one in first} < {one.file for one in records}
    shutil.rmtree(next((hospital / "out" / "results").glob("*-Control-*")))
    assert batch("--cohort", "T1DPN") == 0
    assert len(read_folder("out")) == 15


def test_what_a_killed_batch_left_is_no_part_of_it(hospital):
    """Killed after the pictures and before the table, results lost; files that no job wrote are not touched."""
    assert batch("--cohort", "Control") == 0
    table = (hospital / "out" / "dataset.csv").read_bytes()
    assert batch("--cohort", "T1DPN") == 0
    (hospital / "out" / "dataset.csv").write_bytes(table)
    for place in (hospital / "out" / "results").glob("*-T1DPN-*"):
        shutil.rmtree(place)
    shutil.copy("mine/masks/m0.png", hospital / "out" / "masks" / "scan-0123abcd.png")
    with pytest.raises(InputError, match="has no row for image_"):
        read_folder("out")
    assert batch("--cohort", "Control") == 0
    assert (hospital / "out" / "dataset.csv").read_bytes() == table and len(read_folder("out")) == 8
    assert (hospital / "out" / "masks" / "scan-0123abcd.png").is_file()


def test_what_a_user_adds_stays(hospital):
    """A column, a row, a corrected mask; metadata.jsonl is written anew."""
    assert batch("--cohort", "Control") == 0
    out = hospital / "out"
    with (out / "dataset.csv").open(newline="") as file:
        first, second, *rest = csv.DictReader(file)
    corrected = np.asarray(Image.open(out / "masks" / second["file"])).T[:48, :48]
    for one in (first, second):
        assert one["mask_sha256"] == sha256(out / "masks" / one["file"])
        Image.fromarray(np.pad(corrected, ((0, 0), (0, 16)))).save(out / "masks" / one["file"])
    first |= {"mask_sha256": sha256(out / "masks" / first["file"])}  # accepted; the second is not
    for part in ("images", "masks"):
        shutil.copy("mine/masks/m0.png", out / part / "own.png")
    own = {"file": "own.png", "cohort": "T1DPN", "patient": "P0", "note": "by hand"}  # a patient of the masks too
    with (out / "dataset.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["note", *first], restval="")
        table.writeheader()
        table.writerows([first | {"note": "good"}, second, own, *rest])
    (out / "metadata.jsonl").write_text("")
    assert batch("--cohort", "Control", "T1DPN") == 0
    with pytest.raises(InputError, match=f"1 masks in out are not those .* \\({second['file']}\\)"):
        read_folder("out")
    shutil.copy("mine/masks/m1.png", out / "masks" / second["file"])
    (out / "dataset.csv").write_text((out / "dataset.csv").read_text().replace(second["mask_sha256"], ""))
    assert len(read_folder("out")) == len((out / "metadata.jsonl").read_text().splitlines()) == 17
    with (out / "dataset.csv").open(newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert rows[first["file"]] == first | {"note": "good"} and rows["own.png"]["note"] == "by hand"
    assert (np.asarray(Image.open(out / "masks" / first["file"]))[:, :48] == corrected).all()


@pytest.mark.parametrize("broken", [8, 1])
def test_what_a_user_adds_stays_where_jobs_cannot_join_again(hospital, capsys, broken):
    """A fault in the table of the masks, in all rows or one, takes neither rows, columns nor a corrected mask away."""
    assert batch("--cohort", "Control") == 0
    out, table = hospital / "out", hospital / "mine" / "dataset.csv"
    header, first, *rest = (out / "dataset.csv").read_text().splitlines()
    noted = "\n".join([f"{header},note", f"{first},good", *(f"{row}," for row in rest)]) + "\n"
    corrected = out / "masks" / first.split(",")[0]
    Image.fromarray(np.pad(np.full((9, 9), 255, np.uint8), ((0, 39), (0, 55)))).save(corrected)
    (out / "dataset.csv").write_text(noted.replace(first.split(",")[-1], sha256(corrected)))
    files = {path: path.read_bytes() for part in ("images", "masks") for path in (out / part).iterdir()}
    with (out / "dataset.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["file"])
    for eye in ("Smith", "OD"):
        table.write_text(table.read_text().replace({"Smith": ",OD,", "OD": ",Smith,"}[eye], f",{eye},", broken))
        capsys.readouterr()
        assert batch("--cohort", "Control") == 0
        told = json.loads((out / "manifest.json").read_text())["dataset"]
        assert (told["images"], told["left_out"]) == (8, {})
        assert list(told["unchanged"].values()) == ([broken] if eye == "Smith" else [])
        assert ("in the data set stay as they were" in capsys.readouterr().out) == (eye == "Smith")
        assert files == {path: path.read_bytes() for part in ("images", "masks") for path in (out / part).iterdir()}
        with (out / "dataset.csv").open(newline="") as file:
            assert sorted(csv.DictReader(file), key=lambda row: row["file"]) == rows
        assert len(read_folder("out")) == 8


def test_a_row_that_stays_holds_the_others_to_its_part_and_study(hospital):
    """One row of P0 cannot join again while P0 moves to another part, or the study changes: no mix of both."""
    (hospital / "flow.json").write_text(json.dumps(GRAPH))
    (hospital / "mine" / "study.toml").write_text(STUDY)
    table = hospital / "mine" / "dataset.csv"
    header, *rows = table.read_text().replace("Control", "SFN").splitlines()
    table.write_text("\n".join([f"{header},split", *(f"{row},train" for row in rows)]) + "\n")
    assert batch() == 0
    before = read_folder("out")
    text = table.read_text()
    table.write_text(text.replace(",train", ",test").replace("m1.png,SFN,P0,OD", "m1.png,SFN,P0,Smith"))
    assert batch() == 0
    assert {one.patient: one.split for one in read_folder("out")} == {f"P{n}": "test" for n in (1, 2, 3)} | {
        "P0": "train"
    }
    table.write_text(text)
    assert batch() == 0 and read_folder("out") == before
    (hospital / "mine" / "study.toml").write_text(STUDY.replace('"1"', '"2"'))
    table.write_text(text.replace("m7.png,SFN,P3,OD", "m7.png,SFN,P3,Smith"))
    assert batch() == 0
    assert read_folder("out") == before and read_study("out/study.toml").version == "1"
    table.write_text(text)
    assert batch() == 0 and read_study("out/study.toml").version == "2"


def test_the_split_of_the_masks_is_that_of_their_pictures(hospital):
    table = hospital / "mine" / "dataset.csv"
    header, *rows = table.read_text().splitlines()
    parts = ["train", "Training", "val", "test"]
    table.write_text("\n".join([f"{header},split", *(f"{row},{parts[n // 2]}" for n, row in enumerate(rows))]) + "\n")
    assert batch("--cohort", "Control") == 0
    wanted = {"P0": "train", "P1": "train", "P2": "validation", "P3": "test"}
    assert {one.patient: one.split for one in read_folder("out")} == wanted
    table.write_text(table.read_text().replace("V1,1.5,train", "V1,1.5,test").replace(",val", ","))
    written = hospital / "out" / "dataset.csv"
    written.write_text(written.read_text().replace(",train", ",Training"))
    assert batch("--cohort", "T1DPN") == 0
    why = json.loads((hospital / "out" / "manifest.json").read_text())["dataset"]["left_out"]
    assert [
        count for reason, count in why.items() if "in the part test of the masks' split and in train here" in reason
    ]
    assert list(why.values()) == [2]
    assert {one.patient: one.split for one in read_folder("out")} == wanted and len(read_folder("out")) == 14


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("m0.png,Control,P0,OD", "m0.png,Control,P0,Smith", "has an eye other than OD, OS and empty"),
        ("m0.png,Control,P0,OD,V1", "m0.png,Control,P0,OD,Mr Smith", "or a visit that is no short code"),
        ("OD,V1,1.5\r\nm1", "OD,V1,Smith\r\nm1", "has a pixel_size_um that is no size in µm"),
    ],
)
def test_a_row_of_the_masks_that_no_data_set_takes_is_left_out(hospital, old, new, sentence):
    table = hospital / "mine" / "dataset.csv"
    text = table.read_bytes().decode()
    assert old in text
    table.write_bytes(text.replace(old, new, 1).encode())
    assert batch() == 0
    manifest = (hospital / "out" / "manifest.json").read_text()
    (why,) = json.loads(manifest)["dataset"]["left_out"].items()
    assert sentence in why[0] and why[1] == 1 and "Smith" not in manifest
    assert len(read_folder("out")) == 7


def test_masks_of_no_known_patient_are_a_subject_each(hospital):
    shutil.copytree("mine/masks", "alone")
    assert batch("--cohort", "Control", "T1DPN", masks="alone") == 0
    by_patient: dict[str, set[str]] = {}
    for one in read_folder("out"):
        by_patient.setdefault(one.patient, set()).add(one.cohort)
    assert len(by_patient) == 8 and all(cohorts == {"Control", "T1DPN"} for cohorts in by_patient.values())
    found = read_set("out", "real")
    assert (found.patients_known, found.unit, len(set(found.subjects))) == (False, "masks", 8)
    assert list(found.notes) == ["16 of the 16 real images are marked as synthetic in their table"]


def test_one_pseudonym_in_two_data_sets_is_not_one_patient(hospital):
    """P0 to P3 of another hospital do not join; keyed hashes, which say that it is one person, do."""
    other = hospital / "other"
    shutil.copytree("mine", other)
    for index in range(8):
        mask = np.zeros((48, 64), np.uint8)
        mask[:, 4 * index : 4 * index + 2] = 255
        Image.fromarray(mask).save(other / "masks" / f"m{index}.png")
    assert batch() == 0 and batch(masks="other") == 0
    told = json.loads((hospital / "out" / "manifest.json").read_text())["dataset"]
    assert told["images"] == 8
    assert [count for why, count in told["left_out"].items() if "called as one of another data set is here" in why] == [
        8
    ]
    for place in (hospital / "mine", other):
        text = (place / "dataset.csv").read_text()
        for index in range(4):
            text = text.replace(f",P{index},", f",P{index}a2b3c4d5e6f,")
        (place / "dataset.csv").write_text(text)
    shutil.rmtree("out")
    assert batch() == 0 and batch(masks="other") == 0
    assert [len({one.patient for one in read_folder("out")}), len(read_folder("out"))] == [4, 16]


def test_the_same_data_set_again_moved_and_grown_is_the_same_patients(hospital):
    assert batch("--cohort", "Control") == 0
    shutil.move("mine", "moved")
    for index in (8, 9):
        Image.fromarray(np.full((48, 64), 255, np.uint8) * np.eye(48, 64, index, np.uint8)).save(
            f"moved/masks/m{index}.png"
        )
        Image.fromarray(np.zeros((48, 64), np.uint8)).save(f"moved/images/m{index}.png")
    with open("moved/dataset.csv", "a") as table:
        table.write("m8.png,Control,P3,OD,V2,1.5\nm9.png,Control,P4,OD,V1,1.5\n")
    assert batch("--cohort", "Control", "T1DPN", masks="moved") == 0
    assert len(read_folder("out")) == 20 and len({one.patient for one in read_folder("out")}) == 5


def test_a_patients_name_becomes_a_keyed_hash(hospital):
    table = hospital / "mine" / "dataset.csv"
    table.write_text(table.read_text().replace(",P0,", ",Smith,"))
    assert batch() == 0
    assert "Smith" not in (hospital / "out" / "dataset.csv").read_text()
    assert len({one.patient for one in read_folder("out")}) == 4


def test_a_cohort_of_a_study_brings_its_study(hospital):
    studies = hospital / "data" / "models" / "ccm_studies"
    studies.mkdir(parents=True)
    (studies / "sfn.toml").write_text(STUDY)
    assert batch("--cohort", "sfn: SFN") == 0
    assert {one.cohort for one in read_folder("out")} == {"SFN"}
    assert (hospital / "out" / "study.toml").is_file()
    assert batch("--cohort", "Control") == 0
    why = json.loads((hospital / "out" / "manifest.json").read_text())["dataset"]["left_out"]
    assert why == {"they are of the study ccm/1, and the data set is of sfn/1: choose another --out": 8}
    assert len(read_folder("out")) == 8
    for place in (hospital / "out" / "results").glob("*-sfn_SFN-*"):
        shutil.rmtree(place)
    assert batch("--cohort", "Control") == 0
    assert {one.cohort for one in read_folder("out")} == {"Control"}


def test_a_study_that_is_broken_is_named(hospital):
    studies = hospital / "data" / "models" / "ccm_studies"
    studies.mkdir(parents=True)
    (studies / "sfn.toml").write_text(STUDY)
    (studies / "z.toml").write_text("name = ")
    assert batch("--cohort", "sfn: SFN") == 0
    (why,) = json.loads((hospital / "out" / "manifest.json").read_text())["dataset"]["left_out"]
    assert "the study z.toml is not valid TOML" in why
    (studies / "z.toml").unlink()
    (studies / "z.toml").mkdir()  # a file that cannot be read
    assert batch("--cohort", "sfn: SFN") == 0
    manifest = (hospital / "out" / "manifest.json").read_text()
    (why,) = json.loads(manifest)["dataset"]["left_out"]
    assert "the study models/ccm_studies/z.toml cannot be read" in why and str(hospital) not in manifest


def test_without_a_cohort_in_the_graph_it_is_that_of_the_masks_and_of_their_study(hospital):
    (hospital / "flow.json").write_text(json.dumps(GRAPH))
    (hospital / "mine" / "study.toml").write_text(STUDY)
    table = hospital / "mine" / "dataset.csv"
    table.write_text(table.read_text().replace("Control", "sfn"))
    assert batch() == 0
    assert {one.cohort for one in read_folder("out")} == {"SFN"}
    assert read_study("out/study.toml") == read_study("mine/study.toml")


def test_a_pixel_size_that_the_study_of_the_masks_alone_tells_counts(hospital):
    (hospital / "flow.json").write_text(json.dumps(GRAPH))
    (hospital / "mine" / "study.toml").write_text(STUDY.replace("[cohorts", "pixel_size_um = 2.0\n[cohorts", 1))
    table = hospital / "mine" / "dataset.csv"
    table.write_text(table.read_text().replace("Control", "sfn").replace("P0,OD,V1,1.5", "P0,OD,V1,"))
    assert batch() == 0
    assert {(one.patient, one.pixel_size_um) for one in read_folder("out")} == {
        ("P0", 2.0), ("P1", 1.5), ("P2", 1.5), ("P3", 1.5)
    }  # fmt: skip


def test_pictures_of_a_graph_of_several_cohorts_are_left_out(hospital, capsys):
    both = {
        id: {"class_type": "CCMConditioning", "inputs": {"cohort": name}}
        for id, name in zip("89T", COHORTS, strict=True)
    }
    (hospital / "flow.json").write_text(json.dumps(GRAPH | both))
    assert batch() == 0
    said = capsys.readouterr().out
    assert "the pictures of 8 jobs are not part of the data set: their graph paints several cohorts (Contr" in said
    assert not (hospital / "out" / "dataset.csv").exists()


def test_what_is_missing_is_said(place, capsys):
    assert main(["batch", "flow.json", "--masks", "masks", "--out", "out", *OPTIONS]) == 0
    assert (
        "the pictures of 3 jobs are not part of the data set: their cohort is not known: use a graph with one CCM"
        in capsys.readouterr().out
    )
    with pytest.raises(InputError, match="holds no images; they belong into"):
        read_folder("out")


def test_a_data_set_that_no_batch_wrote_is_left_alone(hospital, capsys):
    before = {path: path.read_bytes() for path in (hospital / "mine").rglob("*") if path.is_file()}
    assert main(["batch", "flow.json", "--masks", "mine", "--out", "mine", *OPTIONS]) == 2
    assert "holds images or masks that are not of a batch; choose another --out" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in (hospital / "mine").rglob("*") if path.is_file()}


def test_pictures_are_kept_once_where_the_disk_knows_links(hospital):
    assert batch() == 0
    picture = next((hospital / "out" / "images").iterdir())
    assert os.stat(picture).st_nlink >= 2
