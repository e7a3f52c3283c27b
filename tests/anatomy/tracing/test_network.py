"""The network's grey levels, tiles, pixels and file; what it traces is tested with the file that ships."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from wdlora.anatomy import trace
from wdlora.anatomy.overlap import cl_dice, line_overlap
from wdlora.anatomy.tracing.learned import KEY, LearnedTracer, Rules, load_network, save_network
from wdlora.anatomy.tracing.levels import in_grains
from wdlora.anatomy.tracing.network import NerveNetwork
from wdlora.anatomy.tracing.pixel_grid import pixel_grid
from wdlora.anatomy.tracing.ridges import Cleaning, Evidence
from wdlora.anatomy.tracing.segmenters import tracer_name
from wdlora.anatomy.tracing.tiles import tiled
from wdlora.errors import InputError
from wdlora.files import write_tensors

RULES = {name: Rules(Evidence(0.5, 2.0, 0.7, 0.04), Cleaning()) for name in ("annotated", "visible")}


def threshold_network(annotated: float, visible: float) -> NerveNetwork:
    """Two levels; each detail's logit is 4 · (the pixel's level − its threshold), where the level is positive."""
    network = NerveNetwork((4, 4))
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.zero_()
        for k in range(4):
            network.down[0][0].weight[k, k, 1, 1] = 1
            network.down[0][2].weight[k, k, 1, 1] = 1
            network.up[0][0].weight[k, 4 + k, 1, 1] = 1  # what was passed by, after the four from below
            network.up[0][2].weight[k, k, 1, 1] = 1
            for detail, at in enumerate((annotated, visible)):
                network.out.weight[4 * detail + k, k, 0, 0] = 4
                network.out.bias[4 * detail + k] = -4 * at
    return network.eval()


@pytest.fixture
def thresholds(tmp_path):
    path = tmp_path / "net.safetensors"
    save_network(path, threshold_network(6.0, 2.2), "thresholds", 1.0, RULES)
    return path


def grain(shape=(256, 256), seed=0) -> np.ndarray:
    """Speckle as frames have it: mean 80, SD 10, correlated over a pixel."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_gamma(1.7, shape), 0.62)
    return 80 + 10 * (noise - noise.mean()) / noise.std()


def test_levels_are_grains_over_the_surroundings():
    """Grain of SD 1 about 0 whatever gain, offset and type; the SD within a fifth, the sums of single precision."""
    image = grain()
    found = in_grains(image, 1.04)
    assert found.std() == pytest.approx(1, abs=0.2) and abs(np.median(found)) < 0.3
    assert np.allclose(in_grains(7 * image + 300, 1.04), found, atol=1e-3)
    shaded = image * np.linspace(0.5, 1.5, 256)
    assert in_grains(shaded, 1.04)[:, 20:-20].std() == pytest.approx(1, abs=0.25)
    assert not in_grains(np.full((64, 64), 9), 1.0).any()


def test_levels_are_those_of_any_resolution():
    image = grain()
    image[100:103] += 60
    once = in_grains(image, 1.0)
    fine = np.asarray(Image.fromarray(image.astype(np.float32)).resize((512, 512), Image.Resampling.BICUBIC))
    twice = in_grains(fine, 0.5)
    assert twice[202, 40:-40].mean() == pytest.approx(once[101, 20:-20].mean(), rel=0.1)


def test_what_is_no_image_leaves_levels_alone():
    image, valid = grain(), np.ones((256, 256), bool)
    valid[:, :100] = False
    black = np.where(valid, image, 0)
    found = in_grains(black, 1.0, valid)
    assert not found[~valid].any()
    assert np.abs(found[:, 100:103].mean(0)).max() < 0.5  # no edge where it begins
    assert np.abs(in_grains(black, 1.0)[:, 100:103].mean(0)).max() > 2  # as there is without knowing


@pytest.mark.parametrize("shape", [(1, 1), (16, 40), (512, 512), (513, 100), (700, 1300), (1500, 30)])
def test_tiles_cover_an_image_once(shape):
    image = np.random.default_rng(0).random(shape, np.float32)
    asked = []

    def answer(part):
        asked.append(part.shape)
        return np.stack([part, -part])

    assert np.array_equal(tiled(answer, image, 2, 16), np.stack([image, -image]))
    assert all(side % 16 == 0 and side <= 512 for part in asked for side in part)
    assert np.array_equal(tiled(answer, image, 2, 16, fixed=(64, 96))[0], image)
    assert asked[-1] == (64, 96)


def test_tiles_know_their_surroundings():
    """A filter that reaches 24 px gives the same in tiles as at once."""
    image = np.random.default_rng(0).random((900, 800), np.float32)

    def answer(part):
        return ndimage.uniform_filter(part, 49, mode="reflect")[None]

    assert np.allclose(tiled(answer, image, 1, 16)[0], answer(image)[0], atol=1e-5)


def test_tiles_without_image_are_not_asked():
    image, valid = np.ones((1024, 1024), np.float32), np.zeros((1024, 1024), bool)
    valid[:100, :100] = True
    asked = []
    tiled(lambda part: asked.append(1) or part[None], image, 1, 16, valid)
    assert len(asked) == 1


def test_places_on_another_grid():
    """A grid of 1 µm over 100 × 60 pixels of 0.5 × 2 µm: place (10, 20) is the middle of rows 20, 21, column 10."""
    grid = pixel_grid((100, 60), (0.5, 2.0), 1.0)
    assert grid.shape == (50, 120)
    rows, columns = grid.to_image(np.array([10]), np.array([20]))
    assert rows[0] == 20.5 and columns[0] == pytest.approx(9.75)
    assert pixel_grid((384, 384), (1.04, 1.04), 400 / 384).shape == (384, 384)
    field = np.add.outer(np.arange(50.0), np.zeros(120))
    assert grid.on_image(field)[40:60, 30] == pytest.approx((np.arange(40, 60) - 0.5) / 2, abs=0.01)


def test_a_file_gives_back_its_network(tmp_path):
    torch.manual_seed(0)
    network = NerveNetwork((8, 12, 16)).eval()
    path = tmp_path / "net.safetensors"
    save_network(path, network, "mine", 1.25, RULES)
    tracer = load_network(path)
    assert (tracer.name, tracer.pixel_size_um, dict(tracer.rules)) == ("mine", 1.25, RULES)
    image = grain((64, 96))
    expected = torch.sigmoid(network(torch.from_numpy(in_grains(image, 1.25))[None, None]))[0].detach().numpy()
    assert np.allclose(tracer.probabilities(image), expected, atol=1e-5)


def test_the_network_keeps_places():
    """Each pixel of the answer is that of the image: with thresholds for weights it is a threshold of the levels."""
    tracer = LearnedTracer("t", 1.0, RULES, threshold_network(3.0, 1.5), "")
    image = grain((120, 72))
    levels = in_grains(image, 1.0)
    for detail, at in zip(tracer.probabilities(image), (3.0, 1.5), strict=True):
        assert np.allclose(detail, 1 / (1 + np.exp(-4 * (np.maximum(levels, 0) - at))), atol=1e-5)


def test_details_of_a_line(thresholds):
    """A faint line is visible and not annotated, a strong one both. At any size, pixel size and tiling."""
    for shape, pixel in (((256, 256), 1.0), ((700, 300), 1.0), ((512, 512), 0.5)):
        rows, columns = np.mgrid[: shape[0], : shape[1]] * pixel
        image = 80.0 + np.random.default_rng(1).normal(0, 3 / pixel, shape)
        faint, strong = (np.abs(columns - at) <= 1.5 for at in (60, 150))
        image[faint], image[strong] = 90, 160
        for detail, truth in (("visible", faint | strong), ("annotated", strong)):
            found = trace(image, pixel, segmenter=thresholds, detail=detail)
            assert line_overlap(found, truth, 3 / pixel).cl_dice > 0.95, (shape, detail)
    assert rows.shape == (512, 512)


def test_names_of_tracers(thresholds):
    assert tracer_name("lines") == "lines-2"
    assert tracer_name(thresholds, "visible").startswith("thresholds (") and tracer_name(thresholds).endswith(
        "annotated"
    )
    assert tracer_name(np.sin) == "function sin"


def test_a_mirror_is_traced_as_a_mirror(thresholds):
    image = grain((256, 300), 4)
    image[60:63] += 80
    image[:, 200:203] += 80
    mask = trace(image, 1.0, segmenter=thresholds, detail="visible")
    assert (
        mask.any() and cl_dice(trace(image[:, ::-1], 1.0, segmenter=thresholds, detail="visible"), mask[:, ::-1]) > 0.97
    )


def test_bad_choices():
    for choice in ("frangi", "net.pth", 3, None):
        with pytest.raises(InputError, match="there is no segmenter"):
            trace(grain(), segmenter=choice)
    with pytest.raises(InputError, match="does not exist"):
        trace(grain(), segmenter="absent.safetensors")
    with pytest.raises(InputError, match="there is no detail 'fine'"):
        trace(grain(), detail="fine")


def test_bad_files(tmp_path, thresholds):
    bad = tmp_path / "bad.safetensors"
    tensors = dict(threshold_network(1, 1).state_dict())
    said = load_network(thresholds)
    facts = {"format": 1, "name": "x", "channels": [4, 4], "pixel_size_um": 1.0, "rules": {}}
    for content, metadata, message in (
        (tensors, None, "not a network of this tracer"),
        (tensors, {KEY: "{"}, "does not say what its network is"),
        (tensors, {KEY: json.dumps(facts)}, "does not say what its network is"),
        (tensors, {KEY: json.dumps(facts | {"format": 9})}, "format 9"),
    ):
        write_tensors(bad, content, metadata)
        with pytest.raises(InputError, match=message):
            load_network(bad)
    save_network(bad, NerveNetwork((4, 4, 4)), "x", 1.0, said.rules)
    whole = bad.read_bytes()
    bad.write_bytes(whole[:-8])
    with pytest.raises(InputError, match="truncated"):
        load_network(bad)
    broken = threshold_network(1, 1)
    with torch.no_grad():
        broken.out.bias[0] = float("nan")
    save_network(bad, broken, "x", 1.0, said.rules)
    with pytest.raises(InputError, match="not finite"):
        load_network(bad)
    odd = threshold_network(1, 1)
    odd.channels = (4, 5)
    save_network(bad, odd, "x", 1.0, said.rules)
    with pytest.raises(InputError, match="other tensors"):
        load_network(bad)
