"""The annotated picture, the overlay and the tables."""

import csv
import io
import math

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from tests.anatomy.drawings import DRAWINGS
from wdlora.anatomy import measure
from wdlora.anatomy.biomarkers.overlay import COLOURS, ON_TRUNK, overlay
from wdlora.anatomy.biomarkers.plotting import annotated_picture, local_widths
from wdlora.anatomy.biomarkers.tables import image_row, nerve_rows, patient_rows
from wdlora.csv_table import write_csv
from wdlora.errors import InputError


@pytest.fixture(scope="module")
def h():
    mask = next(d for d in DRAWINGS if d.name == "H").mask()
    return mask, measure(mask)


def near(picture, colour):
    return (np.abs(picture.astype(int) - np.round(np.array(to_rgb(colour)) * 255)).max(-1) < 12).sum()


def test_picture_shows_what_was_measured(h):
    mask, result = h
    picture = annotated_picture(result, mask, title="a$_$b")  # a file's name, no formula
    assert picture.shape == (900, 1600, 3)
    assert picture.dtype == np.uint8
    empty = annotated_picture(measure(np.zeros_like(mask)), np.zeros_like(mask))
    trunk, branch = (near(picture, c) - near(empty, c) for c in (COLOURS["trunk"], COLOURS["branch"]))
    assert 2 < trunk / branch < 12  # two trunks of 384 px against one branch of about 150
    assert trunk > 1000


def test_picture_of_an_image_keeps_its_brightness_order(h):
    mask, result = h
    image = np.tile(np.linspace(0, 255, 384), (384, 1)).astype(np.uint8)
    picture = annotated_picture(result, mask, image, "gradient").astype(float)
    assert picture[450, 60:100].mean() < picture[450, 740:780].mean()
    with pytest.raises(InputError, match="must match"):
        annotated_picture(result, mask, image[:100])


def test_overlay_keeps_the_grid_and_colours_nerves_by_kind(h):
    mask, result = h
    ground = np.full(mask.shape, 90, np.uint8)
    picture = overlay(ground, result)
    assert picture.shape == (*mask.shape, 3) and picture.dtype == np.uint8
    places = result.branch_xy
    for nerve in result.nerves:
        clear = np.array([np.hypot(*(places - point).T).min() > 8 for point in nerve.path])
        column, row = np.rint(nerve.path[clear]).astype(int).T
        inside = (row >= 0) & (row < 384) & (column >= 0) & (column < 384)
        colour = np.array(to_rgb(COLOURS[nerve.kind])) * 255
        seen = picture[row[inside], column[inside]]
        assert np.abs(seen - colour).max(1).mean() < 40  # 1.6 px wide: centre pixels are covered nearly or wholly
    assert near(picture, ON_TRUNK) >= 2 * 8  # two rings
    away = np.ones(mask.shape, bool)
    for x, y in np.concatenate([nerve.path for nerve in result.nerves]):
        away[max(int(y) - 5, 0) : int(y) + 7, max(int(x) - 5, 0) : int(x) + 7] = False
    assert (picture[away] == 90).all()


def test_local_widths_average_to_area_over_length(h):
    from scipy.ndimage import distance_transform_edt

    mask, result = h
    for nerve in result.nerves:
        assert local_widths(nerve, distance_transform_edt(mask)).mean() == pytest.approx(nerve.width_um)


def test_image_table(h, tmp_path):
    mask, result = h
    rows = [image_row(r, {"image": n}) for n, r in (("a", result), ("=b", measure(np.zeros_like(mask))))]
    write_csv(tmp_path / "t.csv", rows, digits=9)
    read = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text(encoding="utf-8"))))
    assert float(read[0]["cnfl"]) == pytest.approx(result.cnfl, rel=1e-8)
    assert read[1]["image"] == "'=b"  # no formula
    assert (read[1]["cnfl"], read[1]["mean_width_um"]) == ("0", "")
    assert "no nerve" in read[1]["reasons"]


def test_nerve_table(h):
    rows = nerve_rows(h[1], {"image": "a"})
    assert [row["kind"] for row in rows].count("trunk") == 2
    assert sum(row["length_um"] for row in rows) == pytest.approx(h[1].length_mm * 1e3)
    assert {row["nerve"] for row in rows} == set(range(1, len(rows) + 1))


def test_patient_table_by_hand():
    def row(patient, eye, cnfl, width):
        blank = dict.fromkeys(image_row(measure(np.zeros((8, 8))), {}), 0.0)
        return blank | {"patient": patient, "eye": eye, "cnfl": cnfl, "mean_width_um": width, "rules": "acc_like/1"}

    first, second = patient_rows([row("P1", "left", 10, 3), row("P2", "left", 7, 4), row("P1", "left", 14, None)])
    assert (first["patient"], first["images"], first["cnfl_mean"]) == ("P1", 2, 12)
    assert first["cnfl_sd"] == pytest.approx(math.sqrt(8))
    assert (first["mean_width_um_mean"], first["mean_width_um_n"], first["mean_width_um_sd"]) == (3, 1, None)
    assert (second["cnfl_mean"], second["cnfl_sd"]) == (7, None)
