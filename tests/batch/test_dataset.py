"""A batch's folder is a data set that training and evaluation read."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from training.examples import folder_examples
from wdlora.batch.dataset import _painted
from wdlora.cli import main
from wdlora.dataset.folder import read_folder
from wdlora.errors import InputError
from wdlora.evaluation import read_set

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
    """Killed after the pictures and before the table; a user's own file is not touched."""
    assert batch("--cohort", "Control") == 0
    table = (hospital / "out" / "dataset.csv").read_bytes()
    for part in ("images", "masks"):
        shutil.copy("mine/masks/m0.png", hospital / "out" / part / "image_00-T1DPN-0123abcd.png")
    shutil.copy("mine/masks/m0.png", hospital / "out" / "masks" / "mine.png")
    with pytest.raises(InputError, match="has no row for image_00-T1DPN-0123abcd"):
        read_folder("out")
    assert batch("--cohort", "Control") == 0
    assert (hospital / "out" / "dataset.csv").read_bytes() == table and len(read_folder("out")) == 8
    assert (hospital / "out" / "masks" / "mine.png").is_file()


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
    assert why == {"of the study ccm/1, and a data set is of one (sfn/1)": 8}
    assert len(read_folder("out")) == 8


def test_what_was_painted_is_told_from_what_was_drawn_of_it():
    nodes = {
        "1": ("VAEDecode", {}),
        "2": ("CCMCropToMask", {"image": ["1", 0]}),
        "3": ("SaveImage", {"images": ["2", 0]}),
        "4": ("CCMTrace", {"images": ["2", 0]}),
        "5": ("MaskToImage", {"mask": ["4", 0]}),
        "6": ("SaveImage", {"images": ["5", 0]}),
        "7": ("LoadImage", {}),
        "8": ("SaveImage", {"images": ["7", 0]}),
    }
    graph = {id: {"class_type": kind, "inputs": inputs} for id, (kind, inputs) in nodes.items()}
    record = {"outputs": [{"node": id, "files": [{"file": f"{id}.png"}]} for id in "368"]}
    assert list(_painted(graph, record)) == ["3.png"]
    del graph["1"]
    assert list(_painted(graph, record)) == ["3.png", "6.png", "8.png"]


def test_what_is_missing_is_said(place, capsys):
    assert main(["batch", "flow.json", "--masks", "masks", "--out", "out", *OPTIONS]) == 0
    assert "not part of a data set: of no cohort, or of several: the graph needs one CCM" in capsys.readouterr().out
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
