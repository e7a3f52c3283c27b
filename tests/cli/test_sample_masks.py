"""The sample-masks command: files, manifest, resuming, refusals."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from wdlora.anatomy import phantom, sample_mask
from wdlora.cli import main
from wdlora.cli.sample_masks import mask_seed, phantom_seed
from wdlora.clinic.images import read_image
from wdlora.dataset.folder import read_folder
from wdlora.dataset.subjects import is_of_mask
from wdlora.files import sha256


def sample(out, *more):
    return main(["sample-masks", "--cohort", "T1DPN", "--count", "2", "--seed", "7", "--out", str(out), *more])


def test_masks_and_manifest(tmp_path, capsys):
    assert sample(tmp_path, "--json", "--phantoms") == 0
    printed = json.loads(capsys.readouterr().out)
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert printed == manifest
    assert [record["seed"] for record in manifest["masks"]] == [mask_seed(7, 0), mask_seed(7, 1)]
    for record in manifest["masks"]:
        for file in record["files"].values():
            assert sha256(tmp_path / file["path"]) == file["sha256"]
        pixels = np.asarray(Image.open(tmp_path / record["files"]["mask"]["path"]))
        assert pixels.shape == (384, 384) and set(np.unique(pixels)) <= {0, 255}
        phantom = np.asarray(Image.open(tmp_path / record["files"]["phantom"]["path"]))
        assert phantom.shape == (384, 384) and len(np.unique(phantom)) > 20
        assert record["biomarkers"]["cnfl"] == pytest.approx(record["target"]["cnfl"], rel=0.03)


def test_files_say_their_pixel_size(tmp_path, capsys):
    assert sample(tmp_path, "--count", "1", "--phantoms", "--pixel-size-um", "0.9") == 0
    for folder in ("masks", "images"):
        (file,) = (tmp_path / folder).iterdir()
        assert read_image(file).pixel_size_um == pytest.approx((0.9, 0.9), rel=1e-5)  # PNG: whole pixels a metre
    capsys.readouterr()
    assert main(["measure", str(file.parents[1] / "masks" / file.name)]) == 0
    assert capsys.readouterr().err == ""


def test_a_file_in_place_of_the_folder_is_named(tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert sample(tmp_path / "taken") == 2
    error = capsys.readouterr().err
    assert "taken" in error and len(error.strip().splitlines()) == 1


def test_continues_where_it_stopped(tmp_path, capsys):
    assert sample(tmp_path) == 0
    first, second = sorted((tmp_path / "masks").iterdir())
    wanted = second.read_bytes()
    stamp = first.stat().st_mtime_ns
    second.unlink()
    assert sample(tmp_path) == 0
    assert second.read_bytes() == wanted
    assert first.stat().st_mtime_ns == stamp
    assert "2 masks" in capsys.readouterr().out


def test_cohorts_of_one_seed_have_backgrounds_of_their_own(tmp_path):
    """Off the nerves, what is finer than 8 px correlates by chance alone; phantoms of one seed share it."""
    for cohort in ("T1DPN", "Control"):
        assert sample(tmp_path / cohort, "--phantoms", "--count", "1", "--cohort", cohort) == 0
    ground, free = [], []
    for folder in (tmp_path / "T1DPN", tmp_path / "Control"):
        image, mask = (np.asarray(Image.open(next((folder / kind).iterdir()))) for kind in ("images", "masks"))
        ground.append(image - ndimage.gaussian_filter(image.astype(float), 8))
        free.append(~ndimage.binary_dilation(mask > 0, iterations=6))
    both = free[0] & free[1]
    assert abs(np.corrcoef(ground[0][both], ground[1][both])[0, 1]) < 0.1


def test_the_manifest_lists_all_that_was_drawn_of_the_series(tmp_path):
    assert sample(tmp_path, "--phantoms") == 0
    before = (tmp_path / "manifest.json").read_bytes()
    assert sample(tmp_path, "--count", "1") == 0  # fewer, and without phantoms
    assert (tmp_path / "manifest.json").read_bytes() == before
    first = min((tmp_path / "images").iterdir())
    Image.fromarray(np.zeros((384, 384), np.uint8)).save(first)  # somebody painted one
    assert sample(tmp_path) == 0
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert ["phantom" in record["files"] for record in manifest["masks"]] == [False, True]


def test_a_series_of_recipe_1_goes_on_by_its_name_alone(tmp_path, capsys):
    """Recipe 2 has the same masks; phantoms and the record differ, so the two are no one series."""
    assert sample(tmp_path / "old", "--recipe", "1", "--phantoms", "--count", "1") == 0
    assert sample(tmp_path / "new", "--phantoms", "--count", "1") == 0
    (old_mask,), (new_mask,) = ((tmp_path / name / "masks").iterdir() for name in ("old", "new"))
    assert (np.asarray(Image.open(old_mask)) == np.asarray(Image.open(new_mask))).all()
    drawn = sample_mask("T1DPN", mask_seed(7, 0))
    for name, version in (("old", 1), ("new", 2)):
        (image,) = (tmp_path / name / "images").iterdir()
        expected = phantom(drawn, phantom_seed("T1DPN", mask_seed(7, 0)), version=version)
        assert (np.asarray(Image.open(image)) == expected).all()
    assert not (tmp_path / "old" / "all_fibres").exists()
    (fibres,) = (tmp_path / "new" / "all_fibres").iterdir()
    assert (np.asarray(Image.open(fibres)) == drawn.all_fibres * np.uint8(255)).all()
    fibres.unlink()  # what is missing is drawn again
    assert sample(tmp_path / "new", "--phantoms", "--count", "1") == 0 and fibres.exists()
    recipes = [json.loads((tmp_path / name / "manifest.json").read_text())["recipe"] for name in ("old", "new")]
    assert recipes[0] | {"sampler": 2, "phantom": "phantom 2"} == recipes[1] and recipes[0]["sampler"] == 1
    capsys.readouterr()
    assert sample(tmp_path / "old") == 2
    assert "of recipe 1, which recipe 2 does not continue; give --recipe 1" in capsys.readouterr().err
    assert len(list((tmp_path / "old" / "masks").iterdir())) == 1
    assert sample(tmp_path / "old", "--recipe", "1") == 0
    assert len(list((tmp_path / "old" / "masks").iterdir())) == 2


def test_the_share_of_the_fine_network_is_fixed_and_told(tmp_path, capsys):
    assert sample(tmp_path / "a", "--target", "fine_share=0.6", "--count", "1") == 0
    record = json.loads((tmp_path / "a" / "manifest.json").read_text())["masks"][0]
    assert record["fine_share"] == 0.6
    for more in (["--target", "fine_share=9"], ["--target", "fine_share=0.5", "--recipe", "1"]):
        assert sample(tmp_path / "b", *more) == 2
    error = capsys.readouterr().err
    assert "longer than 2 times" in error and "is of recipe 2" in error


@pytest.mark.parametrize("other", [["--seed", "8"], ["--cohort", "Control"]])
def test_another_series_needs_another_folder(tmp_path, capsys, other):
    assert sample(tmp_path, "--count", "1") == 0
    before = (tmp_path / "manifest.json").read_bytes()
    assert sample(tmp_path, *other) == 2
    assert "manifest.json lists a series that was drawn with other settings" in capsys.readouterr().err
    assert (tmp_path / "manifest.json").read_bytes() == before and len(list((tmp_path / "masks").iterdir())) == 1


@pytest.mark.parametrize("text", ['{"format": "wdlora-batch/1"}', "[]", "no JSON"])
def test_another_commands_manifest_is_kept(tmp_path, capsys, text):
    (tmp_path / "manifest.json").write_text(text)
    assert sample(tmp_path) == 2
    assert "manifest.json is not of this command" in capsys.readouterr().err
    assert (tmp_path / "manifest.json").read_text() == text


def test_other_settings_are_refused(tmp_path, capsys):
    assert sample(tmp_path) == 0
    for named in ("manifest.json lists a series that", "T1DPN_7_00000.png"):
        assert sample(tmp_path, "--severity", "1.5") == 2
        assert f"{named} was drawn with other settings; choose another --out" in capsys.readouterr().err
        (tmp_path / "manifest.json").unlink(missing_ok=True)  # the second time as after an interruption


@pytest.mark.parametrize(
    "more, message",
    [
        (["--count", "0"], "--count 0"),
        (["--size", "a"], "--size 'a'"),
        (["--target", "cnfl"], "NAME=VALUE"),
        (["--target", "cnfl=18", "--target", " cnfl=12"], "--target cnfl is given twice"),
        (["--shift", "cnfl=1", "--shift", "cnfl=2"], "--shift cnfl is given twice"),
        (["--target", "cnfw=31", "--target", "width_um=3"], "cnfw and width_um both"),
        (["--target", "cnfd=0", "--target", "cnbd=50"], "no 400 µm field"),
        (["--cohort", "T2DM"], "there is no cohort"),
        (["--seed", "-1"], "--seed -1"),
    ],
)
def test_bad_input(tmp_path, capsys, more, message):
    assert sample(tmp_path, *more) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1


def test_seeds_of_a_series_are_apart():
    seeds = {mask_seed(seed, index) for seed in range(20) for index in range(200)}
    assert len(seeds) == 4000 and max(seeds) < 2**53


def test_a_data_set_of_somebody_is_left_alone(tmp_path, capsys):
    """Also one that has the pictures of another series and lost its manifest."""
    drawn = ["--size", "160", "--phantoms", "--count", "1"]
    assert sample(tmp_path, *drawn, "--seed", "8") == 0
    (tmp_path / "manifest.json").unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert sample(tmp_path, *drawn) == 2
    assert "dataset.csv is of another data set; choose another --out" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "dataset.csv").write_text("name,what\na,b\n")
    assert sample(tmp_path, *drawn) == 2 and "it is not a data set to add to" in capsys.readouterr().err
    assert (tmp_path / "dataset.csv").read_text() == "name,what\na,b\n"


def test_what_a_user_wrote_into_the_table_stays(tmp_path):
    """A column, a cell and a row; a row of the series without its picture goes."""
    drawn = ["--size", "160", "--phantoms"]
    assert sample(tmp_path, *drawn) == 0
    first, second = read_folder(tmp_path)
    for part, picture in (("images", first.image), ("masks", first.mask)):
        (tmp_path / part / "mine.png").write_bytes(picture.read_bytes())
    (tmp_path / "dataset.csv").write_text(
        "file,note,cohort,patient,pixel_size_um,synthetic\n"
        f"{first.file},good,T1DPN,P7,,1\nmine.png,mine,Control,P8,1.5,0\n"
    )
    (tmp_path / "metadata.jsonl").write_text("")
    assert sample(tmp_path, *drawn, "--count", "3") == 0
    table = (tmp_path / "dataset.csv").read_text().splitlines()
    assert table[0] == "file,note,cohort,patient,pixel_size_um,synthetic"
    assert table[1:3] == [f"{first.file},good,T1DPN,P7,1.04167,1", "mine.png,mine,Control,P8,1.5,0"]
    assert [line.split(",")[0] for line in table[3:]] == [second.file, "T1DPN_7_00002.png"]
    assert len(read_folder(tmp_path)) == len((tmp_path / "metadata.jsonl").read_text().splitlines()) == 4
    second.image.unlink()
    assert sample(tmp_path, "--size", "160") == 0
    assert [one.file for one in read_folder(tmp_path)] == [first.file, "mine.png", "T1DPN_7_00002.png"]


def test_masks_with_phantoms_are_a_data_set(tmp_path):
    given = ["sample-masks", "--cohort", "T1DPN", "--size", "160", "--out", str(tmp_path)]
    assert main([*given, "--count", "2"]) == 0 and not (tmp_path / "dataset.csv").exists()
    assert main([*given, "--count", "3", "--phantoms"]) == 0
    records = read_folder(tmp_path)
    assert [record.cohort for record in records] == ["T1DPN"] * 3 and len({record.patient for record in records}) == 3
    assert all(is_of_mask(record.patient) for record in records)  # under any name of the file, no patient
    assert all(abs(record.pixel_size_um - 400 / 384) < 1e-5 for record in records)
