"""The panel's definitions, on shapes whose figures are known."""

import json
import math

import numpy as np
import pytest

from tests.anatomy.drawings import arc, beads, down, draw, length_inside, line, ray, stroke_points
from tests.anatomy.random_plexus import random_plexus
from wdlora.anatomy import measure
from wdlora.anatomy.biomarkers.units import UNITS
from wdlora.anatomy.scale import PIXEL_SIZE_UM
from wdlora.errors import InputError


@pytest.fixture(scope="module")
def plexus():
    return draw(random_plexus(4))


def test_one_straight_nerve_by_hand():
    mask = np.zeros((384, 384), bool)
    mask[:, 190:194] = True
    result = measure(mask)
    assert result.area_mm2 == pytest.approx(0.16)
    assert result.cnfl == pytest.approx(0.4 / 0.16, rel=0.003)
    assert result.cnfd == pytest.approx(1 / 0.16)
    assert result.cnfa == pytest.approx(4 / 384)
    assert result.mean_width_um == pytest.approx(4 * PIXEL_SIZE_UM, rel=0.003)
    assert result.cnfw == pytest.approx(result.mean_width_um / 0.16)  # the paper's printed unit, µm/mm²
    assert result.tortuosity == pytest.approx(1, abs=1e-3)
    assert result.curvature_per_mm == pytest.approx(0, abs=0.05)
    (nerve,) = result.nerves
    assert (nerve.kind, nerve.branch_points) == ("trunk", 0)
    assert nerve.length_um == pytest.approx(400, rel=0.003)
    assert nerve.width_um == pytest.approx(result.mean_width_um)


def test_width_is_weighted_by_length_not_constant():
    """A nerve that is 3 px wide over two thirds of its way and 7 px over the last third."""
    y = np.array([-10, 245, 255, 394.0])
    mask = draw([(np.stack([np.full(4, 190.0), y], 1), np.array([3, 3, 7, 7.0]))])
    _, y, w = stroke_points(np.stack([np.full(4, 190.0), y], 1), np.array([3, 3, 7, 7.0]))
    truth = w[(y > -0.5) & (y < 383.5)].mean()
    # 4 % for the pixels: upright strokes of 3 and 7 px between whole columns draw exactly 3 and 7 columns.
    assert measure(mask, 1.0).mean_width_um == pytest.approx(truth, rel=0.04)
    beaded = measure(draw([beads(190, 5, 2, 24)]), 1.0).mean_width_um
    assert beaded == pytest.approx(5, rel=0.05)


def test_dropped_pieces_do_not_widen_the_rest():
    nerve, crumbs = [down(100)], [ray(x, y, 30, 25, 6) for x in (200, 300) for y in (100, 200, 300)]
    alone, both = measure(draw(nerve)), measure(draw(nerve + crumbs))
    assert both.cnfl == pytest.approx(alone.cnfl)
    assert both.mean_width_um == pytest.approx(alone.mean_width_um)
    assert both.cnfa > alone.cnfa  # the area of the mask as it is
    assert measure(draw(nerve + crumbs), rules="keep_all").cnfl > both.cnfl


def test_pieces_by_length_and_border():
    kept = measure(draw([ray(150, 200, 20, 85)]))
    dropped = measure(draw([ray(150, 200, 20, 60)]))
    at_border = measure(draw([line(-10, 200, 40, 190)]))
    assert kept.length_mm > 0
    assert dropped.length_mm == 0
    assert at_border.length_mm > 0


@pytest.mark.parametrize("radius", [40, 80])
def test_half_circle(radius):
    """Arc over chord π/2 and curvature 1/r, on a nerve without a trunk: read from the table of nerves."""
    (nerve,) = measure(draw([arc(190, 190, radius, 0, 180, 3)]), 1.0, "keep_all").nerves
    assert nerve.tortuosity == pytest.approx(math.pi / 2, rel=0.02)
    assert nerve.curvature_per_mm == pytest.approx(1e3 / radius, rel=0.08)  # rounding adds what smoothing leaves


def test_tortuosity_is_that_of_the_trunks():
    t = np.linspace(0, 1, 2000)
    sine = np.stack([190 + 20 * np.sin(6 * np.pi * t), -20 + 424 * t], 1)
    result = measure(draw([(sine, 4.0)]), 1.0)
    assert result.tortuosity == pytest.approx(length_inside(sine) / 384, rel=0.01)
    with_free_curl = measure(draw([(sine, 4.0), arc(300, 190, 50, 0, 270, 3)]), 1.0)
    assert with_free_curl.tortuosity == pytest.approx(result.tortuosity)


def test_a_black_image_is_an_answer():
    result = measure(np.zeros((384, 384), bool))
    counts = (result.cnfl, result.cnfd, result.cnbd, result.ctbd, result.cnfa, result.trunks)
    assert counts == (0, 0, 0, 0, 0, 0)
    undefined = {name for name in UNITS if isinstance(v := getattr(result, name), float) and math.isnan(v)}
    tortuosities = {"tortuosity", "curvature_per_mm", "tortuosity_legacy"}
    assert undefined == {"mean_width_um", "cnfw", "cnfrd"} | tortuosities
    assert set(result.reasons) == undefined
    values = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert values["mean_width_um"] is None
    assert "no nerve" in values["reasons"]["mean_width_um"]


def test_no_trunk_means_zero_not_undefined():
    result = measure(draw([ray(120, 250, 30, 150), ray(180, 215, 80, 90)]))
    assert (result.cnfd, result.cnbd) == (0, 0)
    assert result.ctbd > 0
    assert math.isnan(result.tortuosity)
    assert "no trunk" in result.reasons["tortuosity"]
    assert math.isfinite(result.mean_width_um)


def test_anisotropic_pixels():
    """A line of 45° on pixels twice as high as wide is √5/√2 as long as on square ones of their width."""
    mask = draw([line(-10, -10, 394, 394)])
    square, tall = measure(mask, 1.0, "keep_all"), measure(mask, (2.0, 1.0), "keep_all")
    assert tall.length_mm == pytest.approx(square.length_mm * math.sqrt(5 / 2), rel=0.003)
    assert tall.area_mm2 == pytest.approx(2 * square.area_mm2)
    assert measure(mask, (1.0, 1.0)).to_dict() == measure(mask, 1.0).to_dict()


def test_turns_and_mirrors(plexus):
    result = measure(plexus)
    for view in (np.rot90(plexus), plexus[::-1], plexus[:, ::-1], plexus.T):
        other = measure(np.ascontiguousarray(view))
        assert other.cnfl == pytest.approx(result.cnfl, abs=0.1)
        assert other.trunks == result.trunks
        assert abs(other.branch_points - result.branch_points) <= 1


def test_zero_padding(plexus):
    """Padding turns nerves that left the field into ends: about half a width each is lost, and all trunks."""
    result, padded = measure(plexus, rules="keep_all"), measure(np.pad(plexus, 40), rules="keep_all")
    assert padded.length_mm == pytest.approx(result.length_mm, rel=0.01)
    valid = np.pad(np.ones_like(plexus), 40)
    cropped = measure(np.pad(plexus, 40), rules="keep_all", valid=valid)
    assert cropped.to_dict() == result.to_dict()
    inner = cropped.nerves[0].path - result.nerves[0].path
    assert np.allclose(inner, 40)  # coordinates are those of the image given


def test_twice_the_pixels(plexus):
    result = measure(plexus)
    double = measure(np.kron(plexus, np.ones((2, 2), bool)), PIXEL_SIZE_UM / 2)
    assert double.cnfl == pytest.approx(result.cnfl, rel=0.01)
    assert double.mean_width_um == pytest.approx(result.mean_width_um, rel=0.01)
    assert (double.trunks, double.branch_points) == (result.trunks, result.branch_points)


def test_mosaic_counts_trunks_in_windows():
    """Two fields side by side and one below, the fourth not seen: three windows of 0.16 mm²."""
    mask = draw([(np.array([(x, -10), (x, 790.0)]), 4.0) for x in (100, 250, 500)], (768, 768))
    valid = np.ones_like(mask)
    valid[384:, 384:] = False
    result = measure(mask, valid=valid)
    assert result.area_mm2 == pytest.approx(3 * 0.16)
    assert result.trunks == 5
    assert result.cnfd == pytest.approx(5 / 0.48)
    assert result.length_mm == pytest.approx(5 * 0.4, rel=0.01)
    assert len(result.nerves) == 3  # cut for the count, whole in the table
    unseen = np.zeros_like(mask)
    unseen[200:560, 300:460] = True  # parts of all windows, most of none
    result = measure(mask, valid=unseen)
    assert math.isfinite(result.cnfl)


def test_mosaic_without_a_seen_window():
    mask = draw([down(100, bottom=2000)], (1536, 1536))
    valid = np.eye(48, dtype=bool).repeat(32, 0).repeat(32, 1)
    result = measure(mask, valid=valid)
    assert math.isnan(result.cnfd) and math.isnan(result.cnbd)
    assert "window" in result.reasons["cnfd"]


def test_a_mosaic_of_tiles_counts_what_its_tiles_count(plexus):
    tiles = np.tile(plexus, (2, 2))
    assert abs(measure(tiles).trunks - 4 * measure(plexus).trunks) <= 2  # neighbours continue tiles' edges


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mask": np.zeros((3, 4, 3))}, "two-dimensional"),
        ({"mask": np.zeros((0, 4))}, "not empty"),
        ({"mask": np.array([["a"]])}, "numbers"),
        ({"mask": np.full((4, 4), np.nan)}, "not finite"),
        ({"mask": np.zeros((4, 4)), "pixel_size_um": 0}, "pixel size"),
        ({"mask": np.zeros((4, 4)), "pixel_size_um": (1, 2, 3)}, "pixel size"),
        ({"mask": np.ones((40, 40)), "pixel_size_um": 1e-300}, "from 0.05 to 10 µm"),
        ({"mask": np.ones((40, 40)), "pixel_size_um": 1040}, "from 0.05 to 10 µm"),
        ({"mask": np.ones((40, 40)), "pixel_size_um": (1.0, float("nan"))}, "from 0.05 to 10 µm"),
        ({"mask": np.zeros((4, 4)), "pixel_size_um": "one"}, "pixel size"),
        ({"mask": np.zeros((4, 4)), "rules": "mine"}, "acc_like"),
        ({"mask": np.zeros((4, 4)), "valid": np.ones((4, 5))}, "match"),
        ({"mask": np.zeros((4, 4)), "valid": np.zeros((4, 4))}, "valid area is empty"),
        ({"mask": np.zeros((4, 4)), "image": np.zeros((5, 4))}, "match"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(InputError, match=words):
        measure(**arguments)
