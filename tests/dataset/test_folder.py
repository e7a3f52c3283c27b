"""Folders are read in order, and every defect is named."""

import numpy as np
import pytest
from PIL import Image

from wdlora.dataset.folder import read_folder
from wdlora.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for name in "ab":
            Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / kind / f"{name}.png")
    (tmp_path / "dataset.csv").write_text(
        "file,cohort,patient,pixel_size_um,reference\nb.png,t1dpn,p2,1.04,a\na.png,Control,p2,,\n"
    )
    return tmp_path


def test_rows_keep_their_order_and_their_values(folder):
    b, a = read_folder(folder)
    assert (b.file, b.cohort, b.patient, b.pixel_size_um, b.reference) == (
        "b.png",
        "T1DPN",
        "p2",
        1.04,
        "a.png",
    )
    assert (a.cohort, a.pixel_size_um, a.image.name, a.mask.parent.name) == (
        "Control",
        None,
        "a.png",
        "masks",
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,cohort\na.png,Control\n", "lacks the column patient"),
        ("file,cohort,patient\na.png,Control,p1\n", "no row for b"),
        ("file,cohort,patient\na.png,Control,p1\nb.png,Diabetic,p1\n", "line 3: .*'Diabetic'"),
        ("file,cohort,patient\na.png,Control,p1\nb.png,Control,\n", "line 3: b.png has no patient"),
        ("file,cohort,patient\na.png,Control,p1\nb.png,Control,p1\nc.png,Control,p1\n", "line 4: .*'c.png'"),
        ("file,cohort,patient\na.png,Control,p\nb.png,Control,p\na.png,Control,p\n", "1 images twice"),
        ("file,cohort,patient,reference\na.png,Control,p,a.png\nb.png,Control,p,\n", "another"),
        (
            "file,cohort,patient,reference\na.png,Control,p,b.png\nb.png,T1DPN,q,\n",
            r"a.png \(Control\) has the reference b.png \(T1DPN\) of another patient and another cohort",
        ),
        ("file,cohort,patient,pixel_size_um\na.png,Control,p,wide\nb.png,Control,p,\n", "line 2: .*wide"),
    ],
)
def test_a_bad_table_is_named(folder, table, message):
    (folder / "dataset.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        read_folder(folder)


def test_a_killed_writers_unfinished_file_is_no_picture(folder):
    (folder / "images" / ".c.x7k2.png").write_bytes(b"half")
    assert len(read_folder(folder)) == 2


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_two_pictures_of_one_name_are_refused(folder, kind):
    (folder / kind / "a.tif").write_bytes((folder / kind / "a.png").read_bytes())
    with pytest.raises(InputError, match=rf"{kind} holds a\.png and a\.tif, two pictures of one name"):
        read_folder(folder)


def test_missing_parts_are_named(folder, tmp_path):
    (folder / "masks" / "b.png").unlink()
    with pytest.raises(InputError, match=r"1 of 2 images have no mask.*b\.png"):
        read_folder(folder)
    with pytest.raises(InputError, match="no data set folder"):
        read_folder(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        read_folder(tmp_path / "empty")
