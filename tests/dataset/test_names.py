"""Names of files in tables and folders: forms of Unicode, dots, endings, subfolders, two files of one name."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

from wdlora.clinic.roster import read_roster
from wdlora.dataset.folder import read_folder
from wdlora.dataset.importer import Choices, import_dataset
from wdlora.dataset.layouts import read_layout
from wdlora.errors import InputError
from wdlora.evaluation.sets import read_set


def dataset(place, images, rows, columns="file,cohort,patient", masks=None):
    """A data set of black pictures; `masks` are called as the images unless said otherwise."""
    for kind, names in (("images", images), ("masks", masks or images)):
        for name in names:
            (place / kind / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((8, 8), np.uint8)).save(place / kind / name)
    (place / "dataset.csv").write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")
    return place


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
def test_names_are_found_in_every_form(tmp_path, on_disk, in_table):
    there, said = (unicodedata.normalize(form, "Größe 1.png") for form in (on_disk, in_table))
    mask = unicodedata.normalize("NFC", there)
    (record,) = read_folder(dataset(tmp_path, [there], [f"{said},Control,P1"], masks=[mask]))
    assert record.image.exists() and record.mask.exists()


def test_one_patient_in_two_forms_stays_one(tmp_path):
    """Of two, one could be trained on and the other tested on."""
    name = "Müller"
    forms = [unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name), f"{name}\u200b", f"{name}\u00a0"]
    rows = [f"{k}.png,Control,{form}" for k, form in enumerate(forms)]
    records = read_folder(dataset(tmp_path, [f"{k}.png" for k in range(4)], rows))
    assert len({record.patient for record in records}) == 1
    table = tmp_path / "r.csv"
    table.write_text("file,patient\n" + "".join(f"{k}.png,{form}\n" for k, form in enumerate(forms)), encoding="utf-8")
    assert {entry.patient for entry in read_roster(table).values()} == {"P001"}
    assert len({entry.patient for entry in read_roster(table, b"sixteen random b").values()}) == 1


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("photo.png.crop.png", "photo.png.crop.png"),
        ("P1.L.png", "P1.L"),
        ("P1.L.png", "P1.L.png"),
        ("0001.png", "0001"),
        ("0001.png", "0001.tif"),  # a table from before the files were converted
        ("a.tif.png", "a.tif"),
        ("0001.PNG", "images\\\\0001.PNG"),
    ],
)
def test_dots_and_endings(tmp_path, image, said):
    (record,) = read_folder(dataset(tmp_path, [image], [f"{said.replace(chr(92) * 2, chr(92))},Control,P1"]))
    assert record.file == image


def test_a_dot_is_no_ending(tmp_path):
    with pytest.raises(InputError, match=r"line 2: there is no image 'P1\.L'"):
        read_folder(dataset(tmp_path, ["P1.png"], ["P1.L,Control,P1"]))


def test_a_name_of_its_own_goes_before_another_ending(tmp_path):
    records = read_folder(dataset(tmp_path, ["a.png", "a.png.png"], ["a.png,Control,P1", "a.png.png,Control,P2"]))
    assert [(record.file, record.patient) for record in records] == [("a.png", "P1"), ("a.png.png", "P2")]


def test_semicolons_decimal_commas_and_empty_rows(tmp_path):
    rows = ["a.png;Control;P1;1,0417", ";;;", "b.png;T1DPN;P2;1.0417", ";;;"]
    place = dataset(tmp_path, ["a.png", "b.png"], rows, "\ufefffile;cohort;patient;pixel_size_um")
    assert [record.pixel_size_um for record in read_folder(place)] == [1.0417, 1.0417]


@pytest.mark.parametrize("size", ["1041.7", "-1", "1,041.7"])
def test_a_pixel_size_that_is_none_is_refused_with_its_line(tmp_path, size):
    place = dataset(tmp_path, ["a.png"], [f'a.png,Control,P1,"{size}"'], "file,cohort,patient,pixel_size_um")
    with pytest.raises(InputError, match="line 2: "):
        read_folder(place)


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_pictures_in_subfolders_of_a_data_set_are_refused(tmp_path, kind):
    place = dataset(tmp_path, ["a.png"], ["a.png,Control,P1"])
    (place / kind / ".ipynb_checkpoints").mkdir()
    (place / kind / ".ipynb_checkpoints" / "a.png").write_bytes(b"x")
    assert len(read_folder(place)) == 1
    (place / kind / "P2" / "left").mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(place / kind / "P2" / "left" / "b.png")
    with pytest.raises(InputError, match=rf"{kind} holds pictures in the folder P2.*import-dataset"):
        read_folder(place)
    if kind == "images":
        with pytest.raises(InputError, match="in the folder P2"):
            read_set(place, "real")
        (place / "dataset.csv").unlink()
        with pytest.raises(InputError, match="more in the folder P2, which would be left out"):
            read_set(place, "real")


def tree(place, *names):
    """Folders of textured images and masks with one line."""
    rng = np.random.default_rng(0)
    mask = np.zeros((64, 64), np.uint8)
    mask[30:34] = 255
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = mask if "masks" in name else rng.integers(30, 220, mask.shape).astype(np.uint8)
        Image.fromarray(pixels).save(place / name)
    return place


def test_subfolders_are_imported(tmp_path):
    place = tree(
        tmp_path / "c",
        *("images/1.png", "images/P2/1.png", "images/P2/left/3.png", "images/P3/4.png"),
        *("masks/1.png", "masks/P2/1.png", "masks/P2/left/3.png", "masks/4.png"),
    )
    found = {
        source.image.relative_to(place).as_posix(): source.annotation
        and source.annotation.relative_to(place).as_posix()
        for source in read_layout(place).sources
    }
    assert found == {
        "images/1.png": "masks/1.png",
        "images/P2/1.png": "masks/P2/1.png",
        "images/P2/left/3.png": "masks/P2/left/3.png",
        "images/P3/4.png": "masks/4.png",  # the only one of that name
    }
    report = import_dataset(place, tmp_path / "out", Choices(pixel_size_um=1.04, cohorts={"": "Control"}))
    assert report.written == 4 and not report.failed


def test_a_mask_of_another_folder_is_not_guessed(tmp_path):
    """Two patients have an image 1; the mask of one of them is there."""
    place = tree(tmp_path / "c", "images/P1/1.png", "images/P2/1.png", "masks/P1/1.png")
    assert [source.annotation is None for source in read_layout(place).sources] == [False, True]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("images/a.png", "masks/a.png", "masks/a.tif"), "two annotations of one name"),
        (("images/a.png", "images/a.tif", "masks/a.png"), "two images of one name"),
    ],
)
def test_two_files_of_one_name_are_refused(tmp_path, names, message):
    with pytest.raises(InputError, match=message):
        read_layout(tree(tmp_path / "c", *names))


def test_images_beside_their_masks_may_not_be_in_two_places(tmp_path):
    place = tree(tmp_path / "c", "1.png", "P2/2.png", "masks/1.png")
    with pytest.raises(InputError, match="more in the folder P2, which would be left out"):
        read_layout(place)
