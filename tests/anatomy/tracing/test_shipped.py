"""The network that ships: its files, what it draws of phantoms of two generators, and what changes nothing."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tests.anatomy import foreign_phantom
from wdlora.anatomy import measure, phantom, sample_mask, trace
from wdlora.anatomy.overlap import cl_dice, dice, line_overlap
from wdlora.anatomy.tracing.choices import DEFAULT, NETWORK
from wdlora.anatomy.tracing.learned import FOLDER, SHIPPED, load_network
from wdlora.anatomy.tracing.segmenters import tracer_name
from wdlora.clinic.field import valid_area
from wdlora.files import sha256


@pytest.fixture(scope="module")
def pair():
    nerves = sample_mask("Control", 31)
    return nerves, phantom(nerves, 31, version=2)


def test_its_files_belong_together():
    metrics, recipe = (json.loads((FOLDER / name).read_text()) for name in ("metrics.json", "recipe.json"))
    assert metrics["sha256"] == sha256(SHIPPED) and SHIPPED.stat().st_size == metrics["bytes"] <= 6_000_000
    tracer = load_network(SHIPPED)
    assert recipe["trained_on"] == "phantom 2" and recipe["recipe"]["name"] == tracer.name
    assert {detail: tracer.rules[detail].level for detail in tracer.rules} == recipe["levels"]
    assert sum(tensor.numel() for tensor in tracer.network.parameters()) == recipe["parameters"]
    figures = metrics["figures"]
    assert figures["seeds"][1] - figures["seeds"][0] >= 59


def test_it_is_the_default(pair):
    assert DEFAULT == NETWORK and tracer_name() == "network-2 annotated"
    assert np.array_equal(trace(pair[1]), trace(pair[1], segmenter="network", detail="annotated"))


def test_details_of_a_phantom(pair):
    """ "visible" finds the fine network, "annotated" leaves most of it out, as the mask does."""
    nerves, image = pair
    fine = nerves.all_fibres & ~ndimage.binary_dilation(nerves.mask, iterations=3)
    visible, annotated = trace(image, detail="visible"), trace(image)
    assert line_overlap(visible, nerves.all_fibres).cl_dice > 0.85
    assert line_overlap(annotated, nerves.mask).cl_dice > 0.85
    assert (visible & fine).sum() > 1.5 * (annotated & fine).sum()


def test_gain_offset_and_bits_do_not_matter(pair):
    image = pair[1].astype(float)
    mask = trace(image)
    assert dice(trace(100 + 7 * image), mask) > 0.99  # single precision
    assert dice(trace((image * 200).astype(np.uint16)), mask) > 0.99
    assert cl_dice(trace(image * np.linspace(0.4, 1.3, 384)[None]), mask) > 0.9


def test_turns_and_pixel_sizes_hardly_matter(pair):
    mask, size = trace(pair[1]), 400 / 384
    for turn in (np.rot90, np.flipud, np.transpose):
        assert line_overlap(trace(np.ascontiguousarray(turn(pair[1]))), turn(mask)).cl_dice > 0.9
    fine = ndimage.zoom(pair[1].astype(float), 2, order=1, grid_mode=True, mode="nearest")
    assert line_overlap(trace(fine, size / 2)[::2, ::2], mask).cl_dice > 0.9


def test_what_holds_no_nerve_gives_none():
    assert not trace(np.zeros((384, 384), np.uint8)).any()
    assert not trace(np.full((100, 130), 77, np.uint8)).any()
    lengths = [measure(trace(np.random.default_rng(seed).gamma(8, 8, (384, 384)))).cnfl for seed in range(4)]
    assert np.mean(lengths) < 0.5  # mm/mm²; a Control has 19


@pytest.mark.parametrize("shape", [(1, 1), (17, 500), (64, 64), (33, 200), (900, 700)])
def test_any_size(shape):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    mask = trace(image, 1.0)
    assert mask.shape == shape and mask.dtype == bool


def test_no_outline_of_a_mosaic_is_a_nerve():
    """Four phantoms of other brightness on black, as JPEG: as with exact black, and no line at an edge."""
    image = np.zeros((760, 760), np.uint8)
    for k, (row, column) in enumerate(((30, 40), (36, 330), (322, 50), (310, 344))):
        tile = phantom(sample_mask("T1DPN", 60 + k, 320), 60 + k, version=2)
        image[row : row + 320, column : column + 320] = np.clip(tile * (0.7 + 0.2 * k), 0, 255)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=85)
    stored = np.array(Image.open(file))
    valid = valid_area(stored)[0]
    blacked = np.where(valid, stored, 0)
    found, clean = (trace(one, valid=valid, detail="visible") for one in (stored, blacked))
    assert measure(found, valid=valid).cnfl == pytest.approx(measure(clean, valid=valid).cnfl, rel=0.02)
    edge = valid & ~ndimage.binary_erosion(valid, iterations=6)
    assert (found & edge).sum() / edge.sum() < 1.5 * (found & valid).sum() / valid.sum()


@pytest.mark.parametrize(
    ("amplitude", "least_dice", "least_topology", "most_error"),
    [(1.0, 0.79, 0.94, 0.8), (0.6, 0.74, 0.88, 1.3), (0.4, 0.68, 0.8, 2.0)],
)
def test_foreign_phantoms(amplitude, least_dice, least_topology, most_error):
    """An image model that shares no code with ours, under two to three times the noise of real frames."""
    rows = []
    for seed in range(900_000, 900_008):
        plexus = foreign_phantom.spline_plexus(seed)
        mask = trace(foreign_phantom.foreign_image(plexus, seed, amplitude))
        error = abs(measure(mask).cnfl - measure(plexus.mask).cnfl)
        rows.append((dice(mask, plexus.mask), cl_dice(mask, plexus.mask), error))
    overlap, topology, error = np.mean(rows, axis=0)
    assert overlap >= least_dice and topology >= least_topology and error <= most_error
