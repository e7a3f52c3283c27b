"""The HMSViT-like network: its shapes, its file, images of any size, and its three uses."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from wdlora.anatomy import trace
from wdlora.anatomy.tracing.segmenters import tracer_name
from wdlora.errors import InputError
from wdlora.evaluation.extractors import extractor
from wdlora.hmsvit.file import KEY, Facts, built_network, load_hmsvit, save_hmsvit
from wdlora.hmsvit.frames import tiles_of
from wdlora.hmsvit.network import DiagnosisNetwork
from wdlora.hmsvit.sizes import SIZES, check_side, size_named
from wdlora.weights.header import read_header

COHORTS = ("Control", "T1NoDPN", "T1DPN")
PIXEL = 400 / 384


def facts(task="segmentation", side=96, **changes) -> Facts:
    classes = COHORTS if task == "diagnosis" else ()
    return replace(Facts(task, SIZES["tiny"], side, PIXEL, classes, {"regime": "A"}), **changes)


def saved(path, one: Facts):
    """A file with random weights; returns its network."""
    torch.manual_seed(0)
    network = built_network(one).eval()
    save_hmsvit(path, network, one)
    return network


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (384, 384), dtype=np.uint8)


@pytest.mark.parametrize(("name", "millions"), [("tiny", 0.30), ("small", 1.43), ("paper", 22.4)])
def test_sizes_are_what_they_are_said_to_be(name, millions):
    """Parameters with the positions of the usual side: 96 px, and the paper's 384 px."""
    with torch.device("meta"):
        network = DiagnosisNetwork(SIZES[name], 384 if name == "paper" else 96, 3)
    assert sum(one.numel() for one in network.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)


def test_maps_of_the_encoder_lie_where_the_picture_is():
    """A tile's only bright quarter makes the largest change in the same quarter of every map: tokens are put back into
    their order in space, which the encoder leaves.
    """
    torch.manual_seed(1)
    encoder = built_network(facts("encoder", 64)).eval()
    dark, lit = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    lit[:, :, 32:, :32] = 2.0
    with torch.inference_mode():
        changes = [(a - b).abs().mean(1)[0] for a, b in zip(encoder(dark), encoder(lit), strict=True)]
    assert [tuple(one.shape) for one in changes] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    for change in changes[:3]:
        half = change.shape[0] // 2
        quarters = [change[:half, :half], change[:half, half:], change[half:, :half], change[half:, half:]]
        assert np.argmax([float(part.mean()) for part in quarters]) == 2


def test_a_file_gives_back_the_network(tmp_path):
    network = saved(tmp_path / "n.safetensors", facts("diagnosis"))
    found = load_hmsvit(tmp_path / "n.safetensors")
    assert found.facts == facts("diagnosis") and found.name.startswith("hmsvit-like-1 diagnosis (")
    tiles = torch.randn(2, 1, 96, 96)
    with torch.inference_mode():
        assert torch.equal(found.network(tiles), network(tiles))


@pytest.mark.parametrize("shape", [(384, 384), (500, 700), (60, 130)])
def test_images_of_any_size(tmp_path, shape):
    saved(tmp_path / "s.safetensors", facts())
    saved(tmp_path / "d.safetensors", facts("diagnosis"))
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    probability, grid = load_hmsvit(tmp_path / "s.safetensors").nerves(image, (PIXEL, PIXEL), None)
    assert probability.shape == shape == grid.shape and 0 <= probability.min() <= probability.max() <= 1
    cohorts = load_hmsvit(tmp_path / "d.safetensors").cohort_probabilities(image, PIXEL)
    assert cohorts.shape == (3,) and cohorts.sum() == pytest.approx(1)
    assert trace(image, PIXEL, segmenter=tmp_path / "s.safetensors").shape == shape


def test_tiles_cover_everything_with_a_quarter_in_common():
    """500 × 700 by 96: steps of at most 72, the first tile at one edge and the last at the other."""
    levels = np.arange(500 * 700, dtype=np.float32).reshape(500, 700)
    tiles = tiles_of(levels, 96)
    seen = np.isin(levels, tiles)
    assert seen.all() and tiles.shape == (7 * 10, 1, 96, 96)
    assert tiles[0, 0, 0, 0] == 0 and tiles[-1, 0, -1, -1] == levels[-1, -1]
    starts = sorted({int(tile[0, 0, 0]) % 700 for tile in tiles})
    assert max(np.diff(starts)) <= 72
    mirrored = tiles_of(np.array([[1.0, 2.0]], np.float32), 64)
    assert mirrored.shape == (1, 1, 64, 64) and mirrored[0, 0, 0, :4].tolist() == [1, 2, 2, 1]


def test_one_tile_is_the_network_itself(tmp_path, picture):
    """Without tiling or resizing, probabilities are the softmax of the network's own logits."""
    from wdlora.anatomy.tracing.levels import in_grains

    network = saved(tmp_path / "d.safetensors", facts("diagnosis"))
    part = picture[:96, :96]
    with torch.inference_mode():
        logits = network(torch.from_numpy(in_grains(part, PIXEL))[None, None])[0].double().numpy()
    expected = np.exp(logits) / np.exp(logits).sum()
    found = load_hmsvit(tmp_path / "d.safetensors").cohort_probabilities(part, PIXEL)
    assert found == pytest.approx(expected, abs=1e-6)


def test_gain_and_offset_change_nothing(tmp_path, picture):
    saved(tmp_path / "d.safetensors", facts("diagnosis"))
    network, half = load_hmsvit(tmp_path / "d.safetensors"), picture[:128, :128].astype(np.float32)
    one, other = (network.cohort_probabilities(image, PIXEL) for image in (half, 3 * half + 40))
    assert one == pytest.approx(other, abs=1e-4)


def test_the_encoder_is_an_extractor(tmp_path, picture):
    saved(tmp_path / "s.safetensors", facts())
    found = extractor(f"hmsvit:{tmp_path / 's.safetensors'}")
    assert re.fullmatch(r"hmsvit \(weights [0-9a-f]{8}\)", found.name) and not found.standardise
    assert found.features(picture).shape == (128,) and found.features(picture).dtype == np.float64
    with pytest.raises(InputError, match="give a network of"):
        extractor("hmsvit:nowhere.safetensors")


def test_a_tracer_names_the_network(tmp_path):
    saved(tmp_path / "s.safetensors", facts())
    assert re.fullmatch(r"hmsvit-like-1 segmentation \([0-9a-f]{8}\)", tracer_name(tmp_path / "s.safetensors"))


def test_another_task_is_refused(tmp_path, picture):
    saved(tmp_path / "d.safetensors", facts("diagnosis"))
    with pytest.raises(InputError, match="trained for diagnosis, not to segment nerves"):
        trace(picture, segmenter=tmp_path / "d.safetensors")
    saved(tmp_path / "s.safetensors", facts())
    with pytest.raises(InputError, match="trained for segmentation, not for diagnosis"):
        load_hmsvit(tmp_path / "s.safetensors").cohort_probabilities(picture, PIXEL)


def rewritten(path, out, **changes):
    """A file whose stored facts are changed."""
    from safetensors.torch import load_file, save_file

    stored = json.loads(read_header(path)[1][KEY]) | changes
    save_file(load_file(path), out, {KEY: json.dumps(stored)})
    return out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"task": "sorting"}, "does not say what its network is"),
        ({"side": 100}, "multiple of 32"),
        ({"classes": ["Control"]}, "does not say what its network is"),
        ({"pixel_size_um": "x"}, "does not say what its network is"),
        ({"size": {"width": 4096, "depths": [9] * 4, "heads": [1] * 4, "decoder": 8}}, "damaged"),
        ({"size": {"width": 32, "depths": [1, 1, 2, 1], "heads": [1, 2, 4, 8], "decoder": 32}}, "other tensors"),
    ],
)
def test_damaged_files_are_refused_in_a_sentence(tmp_path, changes, message):
    saved(tmp_path / "d.safetensors", facts("diagnosis"))
    with pytest.raises(InputError, match=message):
        load_hmsvit(rewritten(tmp_path / "d.safetensors", tmp_path / "bad.safetensors", **changes))


def test_foreign_and_missing_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_hmsvit(tmp_path / "nowhere.safetensors")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="not an HMSViT-like network"):
        load_hmsvit(tmp_path / "other.safetensors")
    network = built_network(facts())
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    save_hmsvit(tmp_path / "nan.safetensors", network, facts())
    with pytest.raises(InputError, match="not finite"):
        load_hmsvit(tmp_path / "nan.safetensors")


def test_sides_and_sizes_are_checked():
    assert check_side(384) == 384
    for side in (32, 100, 2048):
        with pytest.raises(InputError, match="multiple of 32"):
            check_side(side)
    with pytest.raises(InputError, match="tiny, small, base, paper"):
        size_named("huge")
