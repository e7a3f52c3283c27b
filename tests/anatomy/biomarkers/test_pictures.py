"""The annotated picture and the overlay."""

import dataclasses

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from tests.anatomy.drawings import DRAWINGS
from wdlora.anatomy import measure
from wdlora.anatomy.biomarkers.overlay import COLOURS, ON_TRUNK, overlay
from wdlora.anatomy.biomarkers.plotting import annotated_picture, local_widths
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


@pytest.mark.parametrize("points", [6, 9, 160, 16000])
def test_numbers_stay_on_their_cards(h, points):
    """CTBD of 37.5, 56.25, 1000 and 100000 per mm²: between its card and the picture's edge nothing is drawn."""
    mask, result = h
    result = dataclasses.replace(result, ctbd=points / 0.16)
    picture = annotated_picture(result, mask)
    cards = np.round(1600 * (0.548 + 0.11 * np.arange(4))).astype(int)  # left edges; each is 160 pixels wide
    for left in cards:  # in the height of the numbers
        gap = picture[160:240, left + 162 : left + 174].astype(int)
        assert np.abs(gap - gap[0, 0]).max() == 0
        assert (picture[160:240, left + 10 : left + 150] > 200).any()


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
