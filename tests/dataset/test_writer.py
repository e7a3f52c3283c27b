"""Writing data sets: read back, nothing twice, nothing torn, two processes at once, pseudonyms only."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from wdlora.dataset.folder import PENDING, read_folder
from wdlora.dataset.writer import Entry, append, check_pseudonym
from wdlora.errors import InputError


def entry(value=0, **changes):
    image = np.full((24, 32), value, np.uint8)
    mask = np.zeros((24, 32), bool)
    mask[:, value % 32] = True
    return Entry(**({"image": image, "mask": mask, "cohort": "Control", "pixel_size_um": 1.0417} | changes))


def table(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_written_is_read_back(tmp_path):
    panel = {"cnfl": 12.345678, "cnfd": None}
    append(tmp_path, [entry(1, cohort="T1DPN", patient="P0012", eye="OD", visit="V1", biomarkers=panel), entry(2)])
    first, second = read_folder(tmp_path)
    assert (first.file, first.cohort, first.patient, first.eye, first.visit) == (
        "T1DPN-000001.png",
        "T1DPN",
        "P0012",
        "OD",
        "V1",
    )
    assert second.file == "Control-000002.png" and second.patient == "Control-000002" and second.pixel_size_um == 1.0417
    with Image.open(first.image) as image, Image.open(first.mask) as mask:
        assert (np.asarray(image) == 1).all() and (np.asarray(mask) > 0)[:, 1].all()
    rows = table(tmp_path / "dataset.csv")
    assert rows[0]["cnfl"] == "12.3457" and rows[0]["cnfd"] == "" and rows[0]["synthetic"] == "1"
    told = json.loads((tmp_path / "provenance" / "T1DPN-000001.json").read_text())
    assert told["image_sha256"] == rows[0]["image_sha256"] and told["biomarkers"]["cnfl"] == 12.345678


def records(path):
    return [json.loads(line) for line in (path / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_records_hold_typed_values(tmp_path):
    """As `datasets.load_dataset(folder)` reads pairs: pictures by their paths, numbers, flags and null."""
    panel = {"cnfl": 12.345678, "cnfd": None}
    append(tmp_path, [entry(1, cohort="T1DPN", patient="007", eye="OD", biomarkers=panel)])
    append(tmp_path, [entry(2, biomarkers={"cnfl": 12}, synthetic=False)])
    first, second = records(tmp_path)
    assert first["file_name"] == "images/T1DPN-000001.png" and first["mask_file_name"] == "masks/T1DPN-000001.png"
    for record in (first, second):
        assert (tmp_path / record["file_name"]).is_file() and (tmp_path / record["mask_file_name"]).is_file()
        assert "file" not in record and record["cnfd"] is None and record["visit"] is None
    assert first["patient"] == "007" and first["eye"] == "OD" and second["eye"] is None
    assert (first["synthetic"], second["synthetic"]) == (True, False)
    assert first["cnfl"] == 12.3457 and first["pixel_size_um"] == 1.0417
    assert second["cnfl"] == 12.0 and type(second["cnfl"]) is float  # one type a column
    assert len(first["image_sha256"]) == 64
    (tmp_path / "metadata.jsonl").unlink()
    append(tmp_path, [entry(2)])  # nothing new
    assert records(tmp_path) == [first, second]


def test_nothing_is_written_twice(tmp_path):
    append(tmp_path, [entry(1), entry(2, patient="P1")])
    again = append(tmp_path, [entry(2, patient="P1"), entry(3), entry(1), entry(3)])
    assert [one.new for one in again] == [False, True, False, False]
    assert again[3].image == again[1].image
    assert len(read_folder(tmp_path)) == 3
    assert append(tmp_path, [entry(2, patient="P2")])[0].new  # the same pixels of somebody else


def test_columns_of_others_are_kept(tmp_path):
    """A table with a column of its own and without hashes is added to."""
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / part / "own.png")
    (tmp_path / "dataset.csv").write_text("file,cohort,patient,device\nown.png,Control,P1,HRT\n", encoding="utf-8")
    append(tmp_path, [entry(1)])
    rows = table(tmp_path / "dataset.csv")
    assert rows[0]["device"] == "HRT" and rows[1]["device"] == "" and len(read_folder(tmp_path)) == 2


@pytest.mark.parametrize("name", ["-001.png", "=1.png"])
def test_a_file_whose_name_would_be_a_formula_stays_in_the_data_set(tmp_path, name):
    """Its cell is guarded when the table is written anew, and read as it was."""
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / part / name)
    (tmp_path / "dataset.csv").write_text(f"file,cohort,patient,shift\n{name},Control,P1,-3.5\n", encoding="utf-8")
    for number in (1, 2):
        append(tmp_path, [entry(number)])
    rows = table(tmp_path / "dataset.csv")
    assert rows[0]["file"] == f"'{name}" and rows[0]["shift"] == "-3.5"
    assert [record.file for record in read_folder(tmp_path)] == [name, "Control-000001.png", "Control-000002.png"]


def test_what_a_killed_writer_left_is_passed_over_and_removed(tmp_path):
    """As after a kill between the files and the table."""
    append(tmp_path, [entry(1)])
    for part in ("images", "masks"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / part / "Control-000002.png")
    (tmp_path / PENDING).write_text(json.dumps(["Control-000002"]))
    assert len(read_folder(tmp_path)) == 1
    append(tmp_path, [entry(5)])
    assert [record.file for record in read_folder(tmp_path)] == ["Control-000001.png", "Control-000002.png"]
    assert not (tmp_path / PENDING).exists()
    with Image.open(tmp_path / "images" / "Control-000002.png") as image:
        assert image.size == (32, 24)


@pytest.mark.parametrize("content", [json.dumps(["../../victim"]), '"Control-000001"', '["Control-00', "[1]"])
def test_a_list_of_unfinished_files_that_is_not_ours_deletes_nothing(tmp_path, content):
    data = tmp_path / "a" / "data"
    append(data, [entry(1)])
    (tmp_path / "victim.png").write_bytes(b"")
    (data / PENDING).write_text(content)
    with pytest.raises(InputError, match="was not written by this program, or is damaged"):
        append(data, [entry(2)])
    assert (tmp_path / "victim.png").exists() and len(table(data / "dataset.csv")) == 1


WRITER = """
import sys
import numpy as np
from wdlora.dataset.writer import Entry, append
start, count, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
for i in range(start, start + count):
    mask = np.zeros((8, 300), bool)
    mask[:, i] = True
    append(folder, [Entry(np.full((8, 300), i % 256, np.uint8), mask, "Control")])
    print(i, flush=True)
"""


def start_writer(folder, start, count):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(start), str(count), str(folder)], stdout=subprocess.PIPE, cwd=os.getcwd()
    )


def test_two_processes_at_once(tmp_path):
    writers = [start_writer(tmp_path, start, 15) for start in (0, 100)]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    records = read_folder(tmp_path)
    assert len(records) == 30 and len({record.file for record in records}) == 30
    pictures = {int(np.asarray(Image.open(record.mask))[0].argmax()) for record in records}
    assert pictures == {*range(15), *range(100, 115)}


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_kills_leave_whole_rows(tmp_path):
    """Killed at five moments and started again over the same jobs: every picture once."""
    for delay in (0.0, 0.004, 0.013, 0.03, 0.05):
        writer = start_writer(tmp_path, 0, 40)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.wait(30)
        read_folder(tmp_path)
    assert start_writer(tmp_path, 0, 40).wait(120) == 0
    records = read_folder(tmp_path)
    assert sorted(int(np.asarray(Image.open(r.mask))[0].argmax()) for r in records) == list(range(40))


@pytest.mark.parametrize("name", ["P0012", "site2-17", "7", "Control-000001", "a1_b2"])
def test_pseudonyms(name):
    assert check_pseudonym(name) == name


@pytest.mark.parametrize(
    "name", ["Meier", "Anna Meier 3", "a@b.c1", "../P1", "19500131", "P-1950-01-31", "31-01-1950", "", "P1\n"]
)
def test_what_may_be_a_name_or_a_date(name):
    with pytest.raises(InputError, match="is not a pseudonym"):
        check_pseudonym(name)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mask": np.zeros((24, 30), bool)}, "the image is 32 × 24 pixels and its mask 30 × 24"),
        ({"image": np.zeros((24, 32))}, "float64"),
        ({"cohort": "T2"}, "there is no cohort 'T2'"),
        ({"patient": "Meier"}, "is not a pseudonym"),
        ({"eye": "left"}, "eye is OD, OS or empty"),
        ({"visit": "20240131"}, "visit a short code"),
    ],
)
def test_entries_that_cannot_be_kept(tmp_path, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        append(tmp_path / "new", [entry(1), entry(2, **changes)])
    assert not (tmp_path / "new").exists()
