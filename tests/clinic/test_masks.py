"""What of a picture is nerve: grey rims, second classes, colours, outlines."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.clinic.nerve_strokes import nerves
from wdlora.anatomy import measure, sample_mask
from wdlora.clinic.images import read_mask
from wdlora.clinic.masks import OUTLINED, binary_mask, drawn_as_outlines
from wdlora.errors import InputError


@pytest.mark.parametrize("width", [1, 2, 3, 6])
@pytest.mark.parametrize("how", [Image.Resampling.BOX, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
def test_grey_rims_of_smoothed_nerves_are_cut(width, how):
    """A third of what is three pixels wide is rim; the cut leaves the nerve as wide as drawn, to a fifth of a pixel."""
    fine = nerves(width=width, fine=8)
    mask = binary_mask(np.asarray(fine.resize((192, 192), how)))
    assert mask.mean() == pytest.approx(np.mean(np.asarray(fine) > 0), rel=0.2 / width)


@pytest.mark.parametrize("width", [2, 3])
@pytest.mark.parametrize("side", [150, 256, 384, 512])
def test_scaled_masks_and_jpeg_are_masks(width, side):
    drawn = nerves(width=width)
    scaled = binary_mask(np.asarray(drawn.resize((side, side), Image.Resampling.BILINEAR)))
    assert scaled.mean() == pytest.approx(np.mean(np.asarray(drawn) > 0), rel=0.2 / width)
    memory = io.BytesIO()
    drawn.save(memory, "JPEG", quality=50)
    with Image.open(memory) as stored:
        assert (binary_mask(np.asarray(stored)) != (np.asarray(drawn) > 0)).mean() < 0.002


def test_nerves_that_the_cut_would_take_away_are_refused():
    for grey in (60, 100, 127, 128, 160, 220):
        with pytest.raises(InputError, match="of what is drawn is grey"):
            binary_mask(np.asarray(nerves(grey)))


def test_labels_are_no_mask():
    labels = np.asarray(nerves()) // 255
    assert (binary_mask(labels) == labels.astype(bool)).all()
    labels[:96] *= 3
    with pytest.raises(InputError, match="0, 1, 3 are labels"):
        binary_mask(labels)


@pytest.mark.parametrize("grey", [40, 85, 127, 128, 170, 200])
def test_a_small_second_class_is_refused(grey):
    """Three cells of 8 × 8 pixels beside nerves: dropped or counted by their grey, they would be wrong either way."""
    pixels = np.array(nerves())
    for row in (10, 90, 170):
        pixels[row : row + 8, 72:80] = np.maximum(pixels[row : row + 8, 72:80], grey)
    with pytest.raises(InputError, match=r"as a second class is|is grey and would not count"):
        binary_mask(pixels)


@pytest.mark.parametrize("grey", [230, 240, 250, 254])
@pytest.mark.parametrize("shape", ["cells", "a line", "a line of one pixel"])
def test_a_class_beside_white_that_is_almost_white_is_refused(grey, shape):
    """Rims of smoothed nerves are as bright, but have other greys beside them."""
    pixels = np.array(nerves(width=3))
    added = np.zeros_like(pixels)
    if shape == "cells":
        added[10:18, 72:80] = added[90:98, 72:80] = added[170:178, 72:80] = grey
    else:
        added[:, 30 : 33 if shape == "a line" else 31] = grey
    binary_mask(pixels)
    with pytest.raises(InputError, match=rf"about {grey} of 255\), as a second class is"):
        binary_mask(np.maximum(pixels, added))


def test_a_class_of_cells_that_is_almost_white_is_refused_in_jpeg():
    pixels = np.array(nerves(width=8))
    for row in (10, 60, 110, 160):
        pixels[row : row + 20, 70:90] = 236
    memory = io.BytesIO()
    Image.fromarray(pixels).save(memory, "JPEG", quality=90)
    with Image.open(memory) as stored, pytest.raises(InputError, match=r"about 23[4-8] of 25\d\), as a second class"):
        binary_mask(np.asarray(stored))


@pytest.mark.parametrize("white", [240, 252])
def test_nerves_that_are_not_quite_white_are_no_second_class(white):
    """Scaled with overshoots they reach higher at their rims."""
    drawn = Image.fromarray((np.array(nerves(width=6)) // 255 * white).astype(np.uint8))
    pixels = np.array(drawn.resize((300, 300), Image.Resampling.LANCZOS))
    assert pixels.max() > white and binary_mask(pixels).any() and binary_mask(np.array(drawn)).any()


def test_a_ground_that_is_not_black_is_no_second_class():
    pixels = np.maximum(np.array(nerves()), 30)
    assert (binary_mask(pixels) == (np.array(nerves()) > 0)).all()


def test_a_few_pixels_between_are_no_second_class():
    """A tenth of a percent of stray grey pixels are cut as they lie."""
    pixels = np.array(nerves())
    pixels[5:8, 20:23] = 160
    assert binary_mask(pixels)[6, 21]


def lines(**colours):
    """Horizontal lines 5 pixels wide and 384 long, 2.5 mm/mm² each, by colour [384, 384, 3]."""
    pixels = np.zeros((384, 384, 3), np.uint8)
    for number, colour in enumerate(colours.values()):
        pixels[80 + 60 * number : 85 + 60 * number] = colour
    return pixels


TRACED = {"main": (255, 0, 0), "branch": (0, 0, 255), "point": (0, 255, 0)}


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_all_colours_of_a_tracing_are_nerve(tmp_path, suffix):
    form = {"quality": 95, "subsampling": 0} if suffix == "jpg" else {}  # as usual JPEG blurs colours over 8 pixels
    Image.fromarray(lines(**TRACED)).save(tmp_path / f"m.{suffix}", **form)
    found = read_mask(tmp_path / f"m.{suffix}")
    assert measure(found.mask).cnfl == pytest.approx(7.5, rel=0.01)
    assert found.notes == ("lines in red, green and blue all count as nerve",)


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 0, 255), (255, 255, 0), (0, 200, 120)])
def test_lines_of_one_colour_are_nerve(tmp_path, colour):
    picture = lines(one=colour, other=colour)
    picture[:40] = 10  # a ground that is not the same all over
    Image.fromarray(picture).save(tmp_path / "m.png")
    found = read_mask(tmp_path / "m.png")
    assert measure(found.mask).cnfl == pytest.approx(5, rel=0.01) and not found.notes


@pytest.mark.parametrize(
    ("colours", "named"),
    [
        ({"nerve": (255, 255, 255), "cell": (255, 0, 0)}, "red and white"),
        ({"nerve": (255, 255, 0), "cell": (255, 0, 255)}, "yellow and magenta"),
    ],
)
def test_colours_without_a_meaning_are_refused(tmp_path, colours, named):
    Image.fromarray(lines(**colours)).save(tmp_path / "m.png")
    with pytest.raises(InputError, match=named):
        read_mask(tmp_path / "m.png")


def test_coloured_lines_on_white_are_refused(tmp_path):
    picture = np.full((96, 96, 3), 255, np.uint8)
    picture[40:44], picture[60:64] = (255, 0, 0), (0, 0, 255)
    Image.fromarray(picture).save(tmp_path / "m.png")
    with pytest.raises(InputError, match="on more than half of its area"):
        read_mask(tmp_path / "m.png")


def test_a_picture_of_two_colours_is_a_mask(tmp_path):
    """As viridis draws 0 and 1: the brighter one is nerve."""
    picture = np.full((96, 96, 3), (68, 1, 84), np.uint8)
    picture[40:44] = (253, 231, 37)
    Image.fromarray(picture).save(tmp_path / "m.png")
    assert (read_mask(tmp_path / "m.png").mask == (picture[..., 1] > 200)).all()


def outlines(mask, pen=1):
    """The outline of a mask, drawn inside it."""
    from scipy import ndimage

    return mask & ~ndimage.binary_erosion(mask, iterations=pen, border_value=1)


@pytest.mark.parametrize("cohort", ["Control", "T1DPN"])
@pytest.mark.parametrize("seed", range(4))
def test_outlines_are_told_from_nerves(tmp_path, cohort, seed):
    """Their length is nearly twice the nerves', so whoever reads them is told."""
    from scipy import ndimage

    mask = sample_mask(cohort, seed=seed).mask
    thick = ndimage.binary_dilation(mask, iterations=2)  # a nerve of 4 pixels has hardly an inside
    hollow = outlines(thick)
    assert not drawn_as_outlines(mask) and not drawn_as_outlines(thick)
    if mask.any():
        assert drawn_as_outlines(hollow)
        assert measure(hollow).cnfl > 1.5 * measure(thick).cnfl
        Image.fromarray(hollow).save(tmp_path / "m.png")
        assert read_mask(tmp_path / "m.png").notes == (OUTLINED,)


def test_a_line_along_the_edge_is_no_outline():
    """The strip between it and the edge is as narrow as a nerve, but no inside of one; a nerve that leaves has one."""
    line = np.zeros((64, 64), bool)
    line[:, 5:8] = line[30:33] = True
    assert not drawn_as_outlines(line)
    leaving = np.zeros((64, 64), bool)
    leaving[:, 30] = leaving[:, 35] = True
    assert drawn_as_outlines(leaving)


def test_thin_lines_are_no_outlines():
    """Centrelines of one pixel, and two nerves side by side, are as they should be."""
    from wdlora.anatomy.skeleton.thinning import thin

    for cohort in ("Control", "T1NoDPN", "T1DPN"):
        for seed in range(6):
            line = thin(np.pad(sample_mask(cohort, seed=seed).mask, 1))[1:-1, 1:-1]
            assert not drawn_as_outlines(line)
    two = np.zeros((384, 384), bool)
    two[:, 100:104] = two[:, 110:114] = True
    assert not drawn_as_outlines(two)
