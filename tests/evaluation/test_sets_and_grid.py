"""Sets of images from folders, data sets and memory, brought to one grid; the cache and the workers."""

import dataclasses
import operator
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from wdlora.errors import InputError
from wdlora.evaluation.cache import ContentCache, content_key
from wdlora.evaluation.grid import choose, look, place
from wdlora.evaluation.sets import ImageSet, Item, in_order, pair_up, read_set, set_of_arrays, with_size
from wdlora.evaluation.workers import Crew
from wdlora.study import shipped_study, write_study

UM = 400 / 384


def textures(count: int, shape=(96, 96), seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(20, 200, (count, *shape), dtype=np.uint8))


def folder(path, images, names=None, **options):
    path.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(path / (names[number] if names else f"{number:02d}.png"), **options)
    return path


def data_set(path, images, rows, columns="file,cohort,patient"):
    folder(path / "images", images)
    (path / "dataset.csv").write_text("\n".join([columns, *rows]) + "\n")
    return path


def grid_of(*sets: ImageSet, size=None):
    return choose(sets, [[look(item, size) for item in one.items] for one in sets])


def test_a_plain_folder_knows_neither_cohort_nor_patient(tmp_path):
    found = read_set(folder(tmp_path / "a", textures(8)), "real")
    assert len(found) == 8 and not found.patients_known
    assert set(found.cohorts) == {""} and len(set(found.subjects)) == 8
    other = read_set(tmp_path / "a", "synthetic")
    assert not set(found.subjects) & set(other.subjects)
    assert len(read_set(folder(tmp_path / "b" / "images", textures(9)).parent, "real")) == 9


def test_a_folder_a_cohort(tmp_path):
    for cohort in ("control", "T1DPN", "Keratoconus"):
        folder(tmp_path / "a" / cohort, textures(4))
    found = read_set(tmp_path / "a", "real")
    assert len(found) == 12 and in_order(set(found.cohorts)) == ["Control", "T1DPN", "Keratoconus"]
    assert len({item.name for item in found.items}) == 12


def test_a_data_set_knows_patients(tmp_path):
    rows = [f"{number:02d}.png,t1dpn,P{number // 2:03d}" for number in range(8)]
    found = read_set(data_set(tmp_path / "a", textures(8), rows), "real")
    assert found.patients_known and len(set(found.subjects)) == 4 and set(found.cohorts) == {"T1DPN"}
    own = [f"{number:02d}.png,Control,{number:02d}" for number in range(8)]
    alone = read_set(data_set(tmp_path / "b", textures(8), own), "synthetic")
    assert not alone.patients_known and alone.subjects[0] == "synthetic 00"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[:-1], "has no row for 1 images, first 07.png"),
        (lambda rows: [*rows, rows[0]], "line 10: '00.png' is listed twice"),
        (lambda rows: [*rows, "99.png,Control,P1"], "there is no image '99.png'"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path, change, said):
    rows = [f"{number:02d}.png,Control,P{number}" for number in range(8)]
    with pytest.raises(InputError, match=said):
        read_set(data_set(tmp_path / "a", textures(8), change(rows)), "real")


def test_one_sentence_for_what_is_no_set(tmp_path):
    with pytest.raises(InputError, match=r"there is no folder .* with the real images"):
        read_set(tmp_path / "none", "real")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"the synthetic folder .* holds no images"):
        read_set(tmp_path / "empty", "synthetic")
    with pytest.raises(InputError, match="the real set has 3 images: an evaluation needs at least 8"):
        read_set(folder(tmp_path / "few", textures(3)), "real")
    rows = [f"{number:02d}.png,Control,P1,0" for number in range(8)]
    with pytest.raises(InputError, match="line 2: pixel_size_um must be a positive number, not '0'"):
        read_set(data_set(tmp_path / "size", textures(8), rows, "file,cohort,patient,pixel_size_um"), "real")


def test_synthetic_images_among_the_real_ones_are_said(tmp_path):
    rows = [f"{number:02d}.png,Control,P{number},{int(number < 3)}" for number in range(8)]
    place_ = data_set(tmp_path / "a", textures(8), rows, "file,cohort,patient,synthetic")
    assert read_set(place_, "real").notes == ("3 of the 8 real images are marked as synthetic in their table",)
    assert read_set(place_, "synthetic").notes == ()


def test_pairs_by_name(tmp_path):
    rows = [f"{number:02d}.png,Control,P{number // 3}" for number in range(10)]
    real = read_set(data_set(tmp_path / "a", textures(10), rows), "real")
    synthetic = read_set(
        folder(tmp_path / "b", textures(9, seed=1), [f"{n:02d}.png" for n in range(1, 10)]), "synthetic"
    )
    one, other, notes = pair_up(real, synthetic)
    assert [item.name for item in one.items] == [item.name for item in other.items]
    assert (one.subjects == other.subjects).all() and set(other.cohorts) == {"Control"}
    assert notes == ["1 real images have no partner of the same name and were left out"]
    strangers = read_set(folder(tmp_path / "c", textures(9), [f"x{n}.png" for n in range(9)]), "synthetic")
    with pytest.raises(InputError, match="only 0 images have the same file name"):
        pair_up(real, strangers)


def test_images_of_one_size_stay_as_they_are(tmp_path):
    real = set_of_arrays("real", textures(8), pixel_size_um=UM)
    grid, notes = grid_of(real)
    assert grid.shape == (96, 96) and grid.pixel_size_um == pytest.approx(UM) and notes == []
    pixels, valid = place(real.items[0], None, grid, "real")
    assert np.array_equal(pixels, real.items[0].source) and valid.all()


def test_images_of_other_sizes_are_cropped_and_said():
    real, synthetic = (
        set_of_arrays("real", textures(8, (96, 110)), pixel_size_um=UM),
        set_of_arrays("synthetic", textures(8, (100, 96)), pixel_size_um=UM),
    )
    grid, notes = grid_of(real, synthetic)
    assert grid.shape == (96, 96)
    assert notes == ["16 larger images were cropped to the central 96 × 96 pixels that all have"]
    assert np.array_equal(place(real.items[0], None, grid, "real")[0], real.items[0].source[:, 7:103])
    mosaic = set_of_arrays("real", textures(8, (300, 300)), pixel_size_um=UM)
    with pytest.raises(InputError, match="share too small a field"):
        grid_of(mosaic, synthetic)


def test_pixel_sizes_that_differ_become_the_coarsest():
    fine, coarse = (
        set_of_arrays("real", textures(8, (192, 192)), pixel_size_um=0.6),
        set_of_arrays("synthetic", textures(8), pixel_size_um=1.2),
    )
    grid, notes = grid_of(fine, coarse)
    assert grid.shape == (96, 96) and grid.pixel_size_um == pytest.approx(1.2)
    assert notes == ["8 images with finer pixels were brought to 1.2 µm a pixel, which blurs them"]
    small, _ = place(fine.items[0], None, grid, "real")
    assert small.shape == (96, 96) and small.std() < fine.items[0].source.std() / 1.5
    with pytest.raises(InputError, match=r"differ 3\.0-fold"):
        grid_of(fine, set_of_arrays("synthetic", textures(8), pixel_size_um=1.8))


def test_unknown_pixel_sizes(tmp_path):
    plain = read_set(folder(tmp_path / "a", textures(8)), "real")
    with pytest.raises(InputError, match="8 of 8 images do not say their pixel size: write it into the column"):
        grid_of(plain)
    grid, _ = grid_of(plain, size=1.1)
    assert grid.pixel_size_um == 1.1
    usual = read_set(folder(tmp_path / "b", textures(8, (384, 384))), "real")
    grid, notes = grid_of(usual)
    assert grid.pixel_size_um == pytest.approx(UM)
    assert notes == ["8 images do not say their pixel size: 400 µm fields of the HRT were assumed"]
    coarse = set_of_arrays("synthetic", textures(8, (320, 320)), pixel_size_um=1.2)
    grid, _ = grid_of(usual, coarse)
    assumed, _ = place(usual.items[0], None, grid, "real")
    assert grid.shape == (320, 320) and np.array_equal(assumed, place(usual.items[0], UM, grid, "real")[0])


def test_a_size_for_images_that_tell_none_leaves_the_others_theirs(tmp_path):
    rows = [f"{n:02d}.png,Control,P{n},{'1.1' if n else ''}" for n in range(8)]
    found = read_set(data_set(tmp_path / "a", textures(8), rows, "file,cohort,patient,pixel_size_um"), "real")
    with pytest.raises(InputError, match="1 of 8 images do not say their pixel size"):
        grid_of(found)
    sizes = [look(item, None).pixel_size_um for item in with_size(found, 1.0).items]
    assert sizes == [(1.0, 1.0)] + [(1.1, 1.1)] * 7
    assert look(with_size(found, 1.0).items[0], 1.2).pixel_size_um == (1.2, 1.2)


def test_the_size_of_the_study_is_that_of_images_whose_table_tells_none(tmp_path):
    """Also in a folder without a table, and before the size that files tell or that is taken for granted."""
    study = dataclasses.replace(shipped_study(), pixel_size_um=0.8)
    rows = [f"{n:02d}.png,Control,P{n},{'' if n else '1.1'}" for n in range(8)]
    table = data_set(tmp_path / "a", textures(8, (384, 384)), rows, "file,cohort,patient,pixel_size_um")
    plain = folder(tmp_path / "b" / "images", textures(8), dpi=(25400, 25400)).parent
    groups = folder(tmp_path / "c" / "Control", textures(8)).parent
    for place_, first in ((table, 1.1), (plain, 0.8), (groups, 0.8)):
        write_study(place_ / "study.toml", study)
        found = with_size(read_set(place_, "real"), UM)
        assert [look(item, None).pixel_size_um for item in found.items] == [(first, first)] + [(0.8, 0.8)] * 7
    assert grid_of(read_set(plain, "real"))[0].pixel_size_um == 0.8
    assert grid_of(read_set(plain, "real"), size=1.2)[0].pixel_size_um == 1.2


def test_grey_saved_as_colour_is_grey_and_colour_is_refused(tmp_path):
    grey = textures(8)
    as_rgb = folder(tmp_path / "rgb", [np.repeat(image[..., None], 3, axis=2) for image in grey])
    found = read_set(as_rgb, "real")
    grid, _ = grid_of(found, size=UM)
    assert np.array_equal(place(found.items[0], UM, grid, "real")[0], grey[0])
    coloured = [np.repeat(image[..., None], 3, axis=2) for image in grey]
    coloured[2][10:14, :, 0] = 255
    with pytest.raises(InputError, match=r"02.png is coloured"):
        grid_of(read_set(folder(tmp_path / "colour", coloured), "real"), size=UM)


def test_bits_are_brought_to_eight_by_set(tmp_path):
    images = [(image.astype(np.uint16) * 16) for image in textures(8)]  # 12 bits in 16
    found = read_set(folder(tmp_path / "a", images), "real")
    grid, notes = grid_of(found, size=UM)
    assert notes == ["real images of 12 bits were brought to 8"]
    pixels = place(found.items[0], UM, grid, "real")[0]
    assert np.abs(pixels.astype(int) - np.asarray(images[0] / 16)).max() <= 1
    black = read_set(folder(tmp_path / "b", [image // 20 for image in textures(8)]), "synthetic")
    with pytest.raises(InputError, match="the synthetic images are nearly black"):
        grid_of(black, size=UM)


def test_what_is_kept_is_found_again_by_content(tmp_path):
    image, all_valid = textures(1)[0], np.ones((96, 96), bool)
    key = content_key(image, all_valid, UM)
    assert key != content_key(image, all_valid, 1.2)
    assert key != content_key(np.roll(image, 1), all_valid, UM) and key == content_key(image.copy(), all_valid, UM)
    cache = ContentCache(tmp_path / "cache")
    assert cache.array("texture-1", key) is None and cache.value("a/b", key) is None
    cache.keep_array("texture-1", key, np.arange(3.0))
    cache.keep_value("a/b", key, {"cnfl": None})
    assert ContentCache(tmp_path / "cache").array("texture-1", key).tolist() == [0, 1, 2]
    assert cache.value("a/b", key) == {"cnfl": None}
    (tmp_path / "cache" / "texture-1" / f"{key}.npy").write_bytes(b"damaged")
    assert cache.array("texture-1", key) is None
    ContentCache(None).keep_array("texture-1", key, np.arange(3.0))


def test_work_comes_back_in_order_and_errors_as_they_are():
    tasks = [(100, number) for number in range(7)]
    assert Crew(2).run(operator.add, tasks, "adding") == Crew().run(operator.add, tasks, "adding")
    assert Crew(2).run(operator.add, tasks, "adding") == list(range(100, 107))
    for crew in (Crew(), Crew(2)):
        with pytest.raises(ZeroDivisionError):
            crew.run(operator.floordiv, [(1, 0), (1, 1)], "dividing")


SLEEPER = """
import os, sys, time
from wdlora.evaluation.workers import Crew
def sleep(folder, number):
    open(os.path.join(folder, f"{number}-{os.getpid()}"), "w").close()
    time.sleep(0.4)
if __name__ == "__main__":
    Crew(2).run(sleep, [(sys.argv[1], n) for n in range(40)], "sleeping")
"""


def listen() -> None:
    """What is started in the background may be told to ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_an_interruption(tmp_path, how):
    script, done = tmp_path / "sleeper.py", tmp_path / "done"
    script.write_text(SLEEPER)
    done.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(script), str(done)], stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=listen
    )
    until = time.monotonic() + 60
    while len(list(done.iterdir())) < 3 and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(process.pid, how)
    assert process.wait(30) != 0
    workers = {int(path.name.split("-")[1]) for path in done.iterdir()}
    assert len(workers) == 2
    until = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{pid}") for pid in workers) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)
    assert len(list(done.iterdir())) < 20


def test_an_item_is_not_printed_with_its_file():
    assert "secret" not in repr(Item(os.path.join("secret", "x.png"), "x", "P1"))
