"""The tracer's training: labels, other instruments, courses, loss, folding, and a small run from phantoms to a file."""

import json

import numpy as np
import pytest
import torch
from scipy import ndimage

from training.miniature.runner import Budget
from training.tracer.batches import crops, learnable
from training.tracer.choosing import Judged, best_overlap, least_error
from training.tracer.courses import wound
from training.tracer.folding import folded
from training.tracer.frames import COVERED, DRAWN, Frames
from training.tracer.instruments import other_instrument
from training.tracer.labels import NERVE, NERVE_UNSURE, OUTSIDE, PEN, PEN_UNSURE, labelled
from training.tracer.objective import tracer_loss
from training.tracer.recipe import TracerRecipe, train_tracer
from wdlora.anatomy import sample_mask, trace
from wdlora.anatomy.tracing.learned import load_network
from wdlora.anatomy.tracing.network import NerveNetwork
from wdlora.evaluation.workers import Crew
from wdlora.files import sha256


def a_frame(seed=0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three nerves down a frame of grain: bright, faint, invisible, at columns 60, 190 and 320; the first two drawn."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_gamma(1.7, (384, 384)), 0.62)
    image = 70 * (1 + 0.1 * (noise - noise.mean()) / noise.std())
    visibility, marks = np.zeros((384, 384), np.float32), np.zeros((384, 384), np.uint8)
    for column, seen in ((60, 8.0), (190, 1.5), (320, 0.5)):
        image[:, column - 1 : column + 2] += 7 * seen
        visibility[:, column] = seen
    for column in (60, 190):
        marks[:, column - 2 : column + 3] = DRAWN
    return image.astype(np.float32), visibility, marks


def test_labels_of_what_is_visible_doubtful_and_invisible():
    _, visibility, marks = a_frame()
    marks[:20] |= COVERED
    label = labelled(visibility, marks)
    assert label[200, 59:62].tolist() == [NERVE | PEN] * 3 and label[200, 58] == label[200, 62] == PEN
    assert label[200, 190] == NERVE_UNSURE | PEN_UNSURE and not label[200, 186]
    assert not label[200, 310:330].any()
    assert label[5, 60] & PEN_UNSURE and not label[5, 60] & PEN  # an annotator did not see through the bar
    assert not labelled(np.zeros((9, 9), np.float32), np.zeros((9, 9), np.uint8)).any()


@pytest.mark.parametrize("seed", range(6))
def test_another_instrument_moves_everything_alike(seed):
    """The bright line of the picture lies on that of the visibility and of the pen; noise takes visibility."""
    image, visibility, marks = a_frame()
    image, visibility, marks = other_instrument(image, visibility, marks, np.random.default_rng(seed))
    assert image.shape == visibility.shape == marks.shape == (384, 384)
    assert np.isfinite(image).all() and image.min() >= 0
    columns = np.flatnonzero((visibility > 0.9 * visibility.max()).any(0) & (visibility.max() > 0))
    if len(columns):  # the brightest nerve that the part holds
        profile = ndimage.gaussian_filter1d(image.mean(0), 1.5)
        near = np.abs(np.arange(384) - columns.mean()) <= 12
        assert abs(np.flatnonzero(near)[profile[near].argmax()] - columns.mean()) <= 2
    assert visibility.max() <= 8 * 3.0 * 2.2 * 1.4 + 1e-3


def test_nerves_wind_without_leaving():
    nerves = sample_mask("Control", 3)
    moved = wound(nerves, np.random.default_rng(0))
    assert len(moved.centrelines) == len(nerves.centrelines) and moved.mask.shape == nerves.mask.shape
    assert 0.5 < moved.mask.sum() / nerves.mask.sum() < 1.6
    shifts = [np.abs(a.points - b.points).max() for a, b in zip(moved.centrelines, nerves.centrelines, strict=True)]
    assert max(shifts) > 2
    again = wound(nerves, np.random.default_rng(0))
    assert np.array_equal(again.mask, moved.mask)


def test_crops_carry_what_counts():
    image, visibility, marks = a_frame()
    frames = Frames(
        *(np.stack([part] * 3) for part in (image.astype(np.uint8), (visibility * 20).astype(np.uint8), marks))
    )
    data = learnable(frames, 0)
    assert len(data.labels) >= 3 and np.isfinite(data.levels.astype(np.float32)).all()
    levels, nerve, counts = crops(data, np.random.default_rng(0))
    assert levels.shape == (8, 1, 160, 160) and nerve.shape == counts.shape == (8, 2, 160, 160)
    assert set(torch.unique(nerve).tolist()) == {0.0, 1.0} == set(torch.unique(counts).tolist())
    assert levels[nerve[:, 1:] > 0].mean() > 2 * levels[nerve[:, 1:] == 0].abs().mean()
    assert not (OUTSIDE & (NERVE | PEN))


def test_loss_by_hand():
    """One nerve pixel of four, logits 0: entropy (2 + 3) ln 2 / 4, Dice (1 + 20) / (2 + 1 + 20). Certain ones: 0."""
    nerve, counts = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    nerve[..., 0, 0] = 1
    loss, numbers = tracer_loss(torch.zeros(1, 1, 2, 2), nerve, counts)
    assert numbers["dice_0"] == pytest.approx(21 / 23)
    assert float(loss) == pytest.approx(5 * np.log(2) / 4 + 2 / 23)
    assert float(tracer_loss(40 * (nerve - 0.5), nerve, counts)[0]) == pytest.approx(0, abs=1e-6)
    counts[..., 0, 0] = 0  # nobody can tell: what is said there costs nothing
    wrong = torch.full((1, 1, 2, 2), -40.0)
    assert float(tracer_loss(wrong, nerve, counts)[0]) == pytest.approx(0, abs=1e-6)


def test_folded_norms_change_nothing():
    torch.manual_seed(0)
    network = NerveNetwork((6, 8, 10), normed=True)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            layer.weight.data.normal_(1, 0.3)
            layer.bias.data.normal_()
    images = torch.randn(2, 1, 32, 48)
    plain = folded(network)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in plain.modules())
    assert torch.allclose(plain(images), network.eval()(images), atol=1e-4)


def test_levels_are_chosen_by_overlap_and_by_length():
    """Two nerves of probability .8 and .45, of which the truth holds one or both."""
    probability = np.zeros((200, 200), np.float32)
    probability[:, 59:62], probability[:, 139:142] = 0.8, 0.45
    one, both = np.zeros((200, 200), bool), np.zeros((200, 200), bool)
    one[:, 59:62] = both[:, 59:62] = both[:, 139:142] = True
    for choose in (best_overlap, least_error):
        assert 0.45 <= choose("visible", [Judged(probability, one)]) < 0.8
        assert choose("annotated", [Judged(probability, both)]) < 0.45


def test_errors_that_cancel_over_images_are_errors_all_the_same():
    """A low level draws a nerve too many in one image and misses one in the other: no bias, and twice the error."""
    first, second = np.zeros((200, 200), np.float32), np.zeros((200, 200), np.float32)
    first[:, 59:62], first[:, 139:142], second[:, 59:62] = 0.8, 0.45, 0.8
    one, both = np.zeros((200, 200), bool), np.zeros((200, 200), bool)
    one[:, 59:62] = both[:, 59:62] = both[:, 139:142] = True
    assert 0.45 <= least_error("annotated", [Judged(first, one), Judged(second, both)]) < 0.8


def test_a_small_run_writes_a_tracer(tmp_path):
    """From phantoms to a file with its figures; a second call finds the work done and writes the same."""
    budget = Budget(steps=2, warmup_steps=1, evaluate_every=100)
    recipe = TracerRecipe(frames=2, held_out=1, usual=1, judged=1, name="small", channels=(4, 6), budget=budget)
    path = train_tracer(tmp_path / "out", tmp_path / "work", recipe, Crew())
    tracer = load_network(path)
    assert tracer.name == "small" and set(tracer.rules) == {"annotated", "visible"}
    said = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert said["trained_on"] == "phantom 2" and said["levels_chosen_on"] == dict.fromkeys(tracer.rules, "phantom 2")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["sha256"] == sha256(path) and metrics["bytes"] == path.stat().st_size
    assert set(metrics["figures"]["network"]) == set(metrics["figures"]["lines"])
    assert trace(a_frame()[0], segmenter=path).shape == (384, 384)
    before = path.read_bytes()
    train_tracer(tmp_path / "out", tmp_path / "work", recipe, Crew())
    assert path.read_bytes() == before
