"""The line filters on drawings with a known answer, on what holds no nerve, and on phantoms of two image models."""

from functools import partial

import numpy as np
import pytest
from scipy import ndimage

from tests.anatomy import foreign_phantom
from wdlora.anatomy import measure, phantom, sample_mask
from wdlora.anatomy.overlap import cl_dice, dice
from wdlora.anatomy.phantoms.imaging import ImageModel
from wdlora.anatomy.tracing import tracer
from wdlora.errors import InputError

trace = partial(tracer.trace, segmenter="lines")


def distance_to_segment(shape, start, end) -> np.ndarray:
    """Distance in px of every pixel from a straight segment between two (x, y)."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    start, end = np.asarray(start, float), np.asarray(end, float)
    along = end - start
    t = np.clip(((x - start[0]) * along[0] + (y - start[1]) * along[1]) / (along @ along), 0, 1)
    return np.hypot(x - start[0] - t * along[0], y - start[1] - t * along[1])


def drawing(segments, shape=(256, 256), width=5.0, contrast=60.0, noise=12.0, seed=0) -> tuple[np.ndarray, np.ndarray]:
    """A noisy image of segments with a Gaussian profile of half-height `width` px, and their mask."""
    distance = np.min([distance_to_segment(shape, a, b) for a, b in segments], axis=0)
    image = 70 + contrast * 0.5 ** ((2 * distance / width) ** 2)
    return image + np.random.default_rng(seed).normal(0, noise, shape), distance <= width / 2


def pieces(mask) -> int:
    return int(ndimage.label(mask, np.ones((3, 3)))[1])


@pytest.mark.parametrize("angle", [0, 13, 30, 45, 77, 90, 120, 165])
@pytest.mark.parametrize("width", [3.5, 6.0])
def test_a_line_is_found_at_every_angle_with_its_width(angle, width):
    direction = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    centre = np.array([130.3, 125.8])
    image, truth = drawing([(centre - 300 * direction, centre + 300 * direction)], width=width)
    mask = trace(image, 1.0)
    assert pieces(mask) == 1
    assert cl_dice(mask, truth) > 0.98
    # The width within a quarter, at a contrast of five times the noise: a mask's pixel is a quarter of the width.
    length = (distance_to_segment(image.shape, centre - 300 * direction, centre + 300 * direction) <= 20).sum() / 40
    assert mask.sum() / (width * length) == pytest.approx(1, abs=0.25)
    border = np.zeros_like(mask)
    border[:2] = border[-2:] = border[:, :2] = border[:, -2:] = True
    assert (mask & border & truth).sum() >= 0.5 * (border & truth).sum()  # reaches the border at both ends


def test_ends_are_where_they_are():
    image, _ = drawing([((60, 128), (190, 128))])
    columns = np.flatnonzero(trace(image, 1.0).any(0))
    assert columns.min() == pytest.approx(60, abs=6) and columns.max() == pytest.approx(190, abs=6)


def test_small_gaps_are_bridged_and_large_ones_are_not():
    near, _ = drawing([((0, 128), (120, 128)), ((130, 128), (256, 128))], noise=20)
    far, _ = drawing([((0, 128), (90, 128)), ((160, 128), (256, 128))], noise=20)
    assert pieces(trace(near, 1.0)) == 1
    assert pieces(trace(far, 1.0)) == 2


def test_a_fibre_that_ends_beside_another_is_not_joined_to_it():
    image, _ = drawing([((0, 128), (256, 128)), ((100, 30), (128, 113))], noise=6)
    assert pieces(trace(image, 1.0)) == 2


def test_a_branch_is_joined():
    image, truth = drawing([((0, 128), (256, 128)), ((90, 128), (150, 40))], noise=6)
    mask = trace(image, 1.0)
    assert pieces(mask) == 1 and cl_dice(mask, truth) > 0.97


def test_parallel_fibres_stay_apart():
    image, truth = drawing([((0, 100), (256, 110)), ((0, 114), (256, 124))], width=4)
    mask = trace(image, 1.0)
    assert pieces(mask) == 2 and cl_dice(mask, truth) > 0.95


def test_cells_beside_a_nerve_are_left_out():
    rng = np.random.default_rng(1)
    image, truth = drawing([((0, 5), (256, 240))], noise=15)
    for x, y in ((180, 40), (200, 110), (60, 140), (40, 220)):  # bright bodies with three arms of 12 px
        for angle in rng.uniform(0, 2 * np.pi, 3):
            tip = (x + 12 * np.cos(angle), y + 12 * np.sin(angle))
            image += 120 * 0.5 ** ((2 * distance_to_segment(image.shape, (x, y), tip) / 3) ** 2)
    mask = trace(image, 1.0)
    assert pieces(mask) == 1 and cl_dice(mask, truth) > 0.97


def test_what_holds_no_nerve_gives_none():
    assert not trace(np.zeros((384, 384), np.uint8)).any()
    assert not trace(np.full((100, 130), 77, np.uint8)).any()
    lengths = []
    for seed in range(6):
        noise = np.random.default_rng(seed).gamma(8, 8, (384, 384))
        lengths.append(measure(trace(noise)).cnfl)
    assert np.mean(lengths) < 0.2  # mm/mm²; a Control has 19


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1), (2, 3), (17, 500), (64, 64), (33, 200)])
def test_any_size(shape):
    rng = np.random.default_rng(0)
    for image in (rng.integers(0, 256, shape).astype(np.uint8), np.zeros(shape), np.ones(shape, bool)):
        mask = trace(image, 1.0)
        assert mask.shape == shape and mask.dtype == bool


@pytest.fixture(scope="module")
def pair():
    nerve_mask = sample_mask("Control", 31)
    return nerve_mask, phantom(nerve_mask, 31, version=1)


def test_brightness_and_contrast_do_not_matter(pair):
    image = pair[1].astype(float)
    mask = trace(image)
    # Rounding of single precision only: some pixels at thresholds.
    assert dice(trace(100 + 7 * image), mask) > 0.99
    assert dice(trace((image * 200).astype(np.uint16)), mask) > 0.99


def test_a_shading_over_the_image_hardly_matters(pair):
    shading = np.linspace(0.4, 1.3, 384)[None]
    assert cl_dice(trace(pair[1] * shading), trace(pair[1])) > 0.95


def test_rotation_and_mirror(pair):
    mask = trace(pair[1])
    for turn in (lambda a: np.rot90(a), lambda a: a[::-1], lambda a: a.T):
        # The working grid meets the image at other places, so faint fibres may come or go.
        assert cl_dice(trace(np.ascontiguousarray(turn(pair[1]))), turn(mask)) > 0.95


def test_pixel_size(pair):
    mask, image = trace(pair[1]), pair[1].astype(float)
    size = 400 / 384
    fine = ndimage.zoom(image, 2, order=1, grid_mode=True, mode="nearest")
    wide = np.repeat(image, 2, axis=0)  # rows half as high
    assert cl_dice(trace(fine, size / 2)[::2, ::2], mask) > 0.93
    assert cl_dice(trace(wide, (size / 2, size))[::2], mask) > 0.93


def test_the_surroundings_of_a_mosaic_are_left_out(pair):
    image, size = pair[1], 400 / 384
    mosaic = np.zeros((600, 500), np.uint8)
    mosaic[100:484, 60:444] = image
    valid = np.zeros(mosaic.shape, bool)
    valid[100:484, 60:444] = True
    mask = trace(mosaic, size, valid=valid)
    assert not mask[~valid].any()
    assert cl_dice(mask[100:484, 60:444], trace(image)) > 0.95  # no line along the outline


def test_a_learned_segmenter_takes_the_place_of_the_filters(pair):
    truth = pair[0].mask
    rng = np.random.default_rng(0)
    seen = []

    def segmenter(image):
        seen.append(image.shape)
        specks = ndimage.gaussian_filter((rng.random(truth.shape) < 2e-4).astype(float), 1.5) * 12
        return np.clip(ndimage.gaussian_filter(truth.astype(float), 0.8) + specks, 0, 1)

    mask = trace(pair[1], segmenter=segmenter)
    raw = segmenter(pair[1]) >= 0.5
    assert seen[0] == (384, 384)
    assert dice(mask, truth) > 0.93 and cl_dice(mask, truth) > 0.97
    assert pieces(mask) < pieces(raw)
    with pytest.raises(InputError, match="segmenter returned 3 × 3"):
        trace(pair[1], segmenter=lambda image: np.zeros((3, 3)))


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="5 × 5 × 3"):
        trace(np.zeros((5, 5, 3)))
    with pytest.raises(InputError, match="not finite"):
        trace(np.full((50, 50), np.nan))
    with pytest.raises(InputError, match="pixel size"):
        trace(np.zeros((50, 50)), 0.0)
    with pytest.raises(InputError, match=r"0\.05 to 10 µm"):
        trace(np.zeros((50, 50)), 1040.0)
    with pytest.raises(InputError, match="valid area"):
        trace(np.zeros((50, 50)), 1.0, valid=np.ones((5, 5), bool))


@pytest.mark.parametrize("kind", ["own", "foreign"])
def test_accuracy_on_phantoms(kind):
    """A tenth of the experiment in docs/guides/tracing.md, on seeds that it does not use; the same limits."""
    rows = []
    for seed in range(900_000, 900_009):
        if kind == "own":
            nerve_mask = sample_mask(("Control", "T1NoDPN", "T1DPN")[seed % 3], seed)
            truth, image = nerve_mask.mask, phantom(nerve_mask, seed, model=ImageModel())
        else:
            plexus = foreign_phantom.spline_plexus(seed)
            truth, image = plexus.mask, foreign_phantom.foreign_image(plexus, seed)
        mask = trace(image)
        rows.append((dice(mask, truth), cl_dice(mask, truth), measure(mask).cnfl - measure(truth).cnfl))
    overlap, topology, bias = np.mean(rows, axis=0)
    assert overlap >= 0.82
    assert topology >= 0.94  # 0.95 over sixty; nine images have a standard error of .01
    assert abs(bias) <= 0.5


def test_a_bright_rim_is_no_nerve():
    """An edge 20 % brighter than the image, as generated images have it, adds nothing along the frame."""
    generator = np.random.default_rng(5)
    image = 60 + 6 * generator.standard_normal((256, 256))
    for k, gain in enumerate((1.2, 1.15, 1.1, 1.05)):
        ring = np.zeros((256, 256), bool)
        ring[[k, -1 - k]] = ring[:, [k, -1 - k]] = True
        image[ring] *= gain
    assert trace(image).sum() < 100
