"""Peers: losses by hand, twenty steps to a file, resuming to the bit, and pictures of masks of any size."""

import dataclasses
import importlib.util
import json
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.training.downstream_sets import PIXEL, images, write
from training.__main__ import main
from training.clock import WALL, Clock
from training.downstream.images import read_real, read_synthetic
from training.held_out import held_out
from training.peers import course
from training.peers.adversary import Adversary, Remade, advance_both, kl_loss, pixel_loss
from training.peers.data import PeerBatch, as_levels, draw_crops, read_peer_data, signed
from training.peers.judging import JudgedCrop, following
from training.peers.lesson import Peer, PeerLesson
from training.peers.recipe import PEERS, load_recipe
from wdlora.cohorts import COHORTS
from wdlora.dataset.folder import read_folder
from wdlora.dataset.split import read_split, write_split
from wdlora.errors import InputError
from wdlora.study import shipped_study, write_study

needs_monai = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("monai", "einops")),
    reason='the peers need the extra "peers": monai and einops',
)

TINY = {
    "spade": ["channels=8,8", "hidden=8", "style=4", "discriminator_channels=8"],
    "maisi": ["channels=8,32", "encoder_channels=8,8", "encoder_steps=8", "sampler_steps=3"],
    "maisi after": ["channels=8,32", "encoder_channels=8,8", "encoder_steps=3", "control=after", "control_steps=6"],
}
TINY["maisi after"] += ["timesteps=5", "sampler=ddpm", "sampler_steps=5"]
STEPS = {"spade": 20, "maisi": 12, "maisi after": 4}
SHORT = ["size=64", "batch=2", "save_every=8", "log_every=5", "sample_every=0", "ema_decay=0.9"]


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    return write(tmp_path_factory.mktemp("clinic") / "data", images(0, 5, each=1))


def train(peer, clinic, out, *changes):
    settings = [*SHORT, f"steps={STEPS[peer]}", *TINY[peer], *changes]
    return main(["peers", "train", peer.split()[0], "--data", str(clinic), "--out", str(out), "--set", *settings])


@pytest.fixture(scope="module", params=sorted(PEERS))
def trained(request, clinic, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param) / "run"
    assert train(request.param, clinic, out) == 0
    return request.param, out


@needs_monai
@pytest.mark.parametrize(("size", "layers"), [(64, 4), (16, 2), (12, 2)])
def test_the_deepest_discriminators_that_a_recipe_may_have_compute(size, layers):
    pictures = torch.zeros(1, 1, size, size)
    Adversary(1, layers, 1, 1, size)(pictures)
    with pytest.raises((ValueError, AssertionError)):
        Adversary(1, layers + 1, 1, 1, size)(pictures)


def test_levels_and_signed_numbers_are_one_to_one():
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (signed(every)[0, 0], signed(every)[-1, -1]) == (-1, 1)
    np.testing.assert_array_equal(as_levels(torch.from_numpy(signed(every))), every)
    np.testing.assert_array_equal(as_levels(torch.tensor([[-3.0, 3.0]])), [[0, 255]])


def test_losses_by_hand():
    made, real = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    real[..., 0] = -1  # a row of four: −1 1 1 1, then 0 1, then 0.5
    assert float(pixel_loss(made, real)) == pytest.approx((1 + 0.5 + 0.5) / 3)
    # KL of N(2, e) from N(0, 1) is (e + 4 − 1 − 1) / 2
    assert float(kl_loss(torch.tensor([2.0]), torch.tensor([1.0]))) == pytest.approx((np.e + 2) / 2)


class TwoAnswers(Adversary):
    """Answers by a picture's mean, twice, with the picture as the only features."""

    def __init__(self):
        torch.nn.Module.__init__(self)

    def forward(self, pictures, labels=None):
        mean = pictures.mean((1, 2, 3), keepdim=True)
        return [mean, 2 * mean], [[pictures], [pictures]]


def test_the_hinge_loss_and_feature_matching_by_hand():
    real, made = torch.full((1, 1, 2, 2), 0.5), torch.full((1, 1, 2, 2), -0.25)
    # real: 1 − .5 and 1 − 1; made: 1 − .25 and 1 − .5
    assert float(TwoAnswers().own_loss(real, made)) == pytest.approx(0.5 + 0 + 0.75 + 0.5)
    fooling, features = TwoAnswers().losses_of(real, made)
    assert (float(fooling), float(features)) == pytest.approx(((0.25 + 0.5) / 2, 0.75))


class Scaled(TwoAnswers):
    """One answer, the picture's mean times a number that learns."""

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, pictures, labels=None):
        return [self.factor * pictures.mean((1, 2, 3), keepdim=True)], [[pictures]]


def test_a_step_of_both_by_hand():
    """Real 0.5, made −0.2, gradient descent at 0.1; the discriminator's step is the first."""
    adversary, level, mean = Scaled(), torch.nn.Parameter(torch.tensor(-0.2)), torch.nn.Parameter(torch.tensor(2.0))
    optimiser = torch.optim.SGD([*adversary.parameters(), level, mean], lr=0.1)
    real = torch.full((1, 1, 4, 4), 0.5)
    remade = Remade(real, level.expand(1, 1, 4, 4), mean, torch.tensor(0.0))
    weights = {"fooling": 1.0, "features": 10.0, "pixels": 3.0, "kl": 0.5}
    numbers = advance_both(adversary, remade, weights, optimiser)
    # hinge: 1 − .5 and 1 − .2; its slope by the factor is −.5 − .2
    assert numbers["discriminator"] == pytest.approx(0.5 + 0.8) and adversary.factor.item() == pytest.approx(1.07)
    assert numbers["fooling"] == pytest.approx(1.07 * 0.2) and numbers["pixels"] == pytest.approx(0.7)
    assert numbers["kl"] == pytest.approx(2) and numbers["loss"] == pytest.approx(0.214 + 7 + 2.1 + 1)
    assert level.item() == pytest.approx(-0.2 + 0.1 * (1.07 + 10 + 3))
    assert mean.item() == pytest.approx(2 - 0.1 * 0.5 * 2)


def test_crops_follow_from_the_step_and_keep_image_and_mask_together(clinic):
    recipe = load_recipe("spade", "small", {"size": 64, "batch": 6})
    data = read_peer_data(clinic, recipe)
    batch = draw_crops(data.learned, data.cohorts, recipe, 3)
    again, next_one = (draw_crops(data.learned, data.cohorts, recipe, step) for step in (3, 4))
    assert torch.equal(batch.images, again.images) and not torch.equal(batch.images, next_one.images)
    assert batch.images.shape == batch.masks.shape == (6, 1, 64, 64)
    nerve, rest = (batch.images[batch.masks == value].mean() for value in (1, 0))
    assert float(nerve - rest) == pytest.approx(70 / 127.5, abs=0.05)  # as the pictures are drawn
    assert {data.cohorts[number] for number in batch.cohorts.tolist()} <= set(COHORTS)


def test_nobody_who_is_held_out_is_learned_from(clinic):
    data = read_peer_data(clinic, load_recipe("spade", "small", {"size": 64}))
    learned, held = ({image.patient for image in side} for side in (data.learned, data.held))
    assert not learned & held and {data.parts[one] for one in learned} == {"train"}
    assert len(held) == 3 and {image.cohort for image in data.held} == set(COHORTS)


def test_the_split_that_is_named_goes_before_that_of_the_folder_and_the_column_must_agree(tmp_path):
    """Four patients a cohort: split.csv holds out the first of each, the named table the second."""
    data = write(tmp_path / "data", images(0, 4, each=1))
    recipe = load_recipe("spade", "small", {"size": 64})
    patients = sorted({record.patient for record in read_folder(data)})

    def table(path, place):
        return write_split(path, {one: "test" if n % 4 == place else "train" for n, one in enumerate(patients)})

    def held(split=None):
        return {image.patient for image in read_peer_data(data, recipe, split).held}

    table(data / "split.csv", 0)
    table(tmp_path / "named.csv", 1)
    assert held() == set(patients[0::4]) and held(tmp_path / "named.csv") == set(patients[1::4])
    lines = (data / "dataset.csv").read_text(encoding="utf-8").splitlines()
    column = ["split", *("test" if f"{patients[1]}," in line else "" for line in lines[1:])]
    stated = "\n".join(f"{line},{cell}" for line, cell in zip(lines, column, strict=True)) + "\n"
    (data / "dataset.csv").write_text(stated, encoding="utf-8")
    assert patients[1] in held(tmp_path / "named.csv")
    with pytest.raises(
        InputError, match=f"the patient {patients[1]} is in test by dataset.csv and in train by .*split"
    ):
        held()
    (data / "split.csv").unlink()
    assert patients[1] in held()  # the others are drawn


def test_following_tells_a_painter_of_the_mask_from_one_of_nothing(tmp_path):
    crops = []
    for column in (20, 70):
        mask = np.zeros((96, 96), bool)
        mask[:, column - 1 : column + 2] = True
        crops.append(JudgedCrop("Control", np.zeros((96, 96), np.uint8), mask))

    def obedient(mask, cohort, seed):
        grain = np.random.default_rng(seed).normal(0, 6, mask.shape)
        return np.clip(60 + 120 * mask + grain, 0, 255).astype(np.uint8)

    found = following(crops, obedient, PIXEL, tmp_path / "sheet.png")
    assert found["traced_dice"] > 0.6 and found["wrong_dice"] == 0 and found["traced_pictures"] == 2
    always = following(crops, lambda mask, *rest: obedient(crops[0].mask, *rest), PIXEL, tmp_path / "sheet.png")
    assert always["traced_dice"] == pytest.approx(always["wrong_dice"], abs=0.1)
    assert (tmp_path / "sheet.png").is_file() and following([], obedient, PIXEL, tmp_path / "no.png") == {}
    alone = following(crops[:1], obedient, PIXEL, tmp_path / "sheet.png")
    assert alone["traced_pictures"] == 1 and "wrong_dice" not in alone  # there is no other mask


class OneNumber(Peer):
    """Learns the mean of its pictures."""

    painting = ("level",)

    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros(()))

    def lessons(self):
        def advance(batch, optimiser):
            optimiser.zero_grad()
            loss = (self.level - batch.images.mean()) ** 2
            loss.backward()
            optimiser.step()
            return {"loss": loss.item()}

        return [PeerLesson("all", 6, [([self.level], 1e-2)], advance)]

    def begin(self, lesson, batches):
        pass

    def paint(self, mask, cohort, generator):
        return self.level.expand(mask.shape)


class OnTheWall(Clock):
    """The clock of another kind of device."""

    def __init__(self, device):
        super().__init__(device)
        self.name = WALL

    def __call__(self):
        return time.monotonic()


def stopped_after(answers):
    """A wish to stop that comes once it was asked for `answers` times: before each lesson, and after each step."""
    asked = []

    class Impatient(course.StopRequest):
        def __bool__(self):
            asked.append(True)
            return len(asked) > answers

    return Impatient


@pytest.mark.parametrize(("first", "known"), [(Clock, True), (OnTheWall, False), (None, False)])
def test_the_time_of_a_training_that_another_clock_counted_is_not_known(first, known, tmp_path, monkeypatch):
    """Nor where a checkpoint of an earlier version names no clock; its training goes on all the same."""

    def run(out):
        out.mkdir(exist_ok=True)
        batch = PeerBatch(torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), torch.tensor([0]))
        recipe = load_recipe("spade", "small", {"size": 64, "ema_decay": 0.0, "sample_every": 0})
        peer = OneNumber()
        found = course.PeerCourse(
            peer, recipe, lambda step: batch, out, torch.device("cpu"), "one", lambda step: {}
        ).run()
        return *found, peer.level.item()

    keep = course.save_checkpoint

    def of_earlier_versions(folder, step, values, optimiser, facts, **options):
        return keep(folder, step, values, optimiser, {k: v for k, v in facts.items() if k != "clock"}, **options)

    for answers in (2, 3):  # the second call uses the clock of the first, the third one its own
        with monkeypatch.context() as patch:
            patch.setattr(course, "StopRequest", stopped_after(answers))
            if first is None:
                patch.setattr(course, "save_checkpoint", of_earlier_versions)
            else:
                patch.setattr(course, "Clock", first)
            finished, seconds, _ = run(tmp_path / "run")
        assert not finished and (seconds is not None) == (first is not None or answers == 2)
    finished, seconds, level = run(tmp_path / "run")
    assert finished and (seconds is not None) == known
    assert level > 0 and level == run(tmp_path / "whole")[2]


@needs_monai
def test_card_and_command_say_that_the_time_is_not_known(clinic, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(course, "StopRequest", stopped_after(5))
        patch.setattr(course, "Clock", OnTheWall)
        assert train("spade", clinic, tmp_path / "run") == 130
    assert train("spade", clinic, tmp_path / "run") == 0
    told = "its time is not known, because part of it may have run on another kind of device"
    assert f"Trained; {told}: " in capsys.readouterr().out
    assert f"- Training: {told}\n" in (tmp_path / "run" / "README.md").read_text(encoding="utf-8")


@needs_monai
def test_twenty_steps_leave_a_peer_with_its_account(trained, clinic):
    peer, out = trained
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert steps[-1]["step"] >= 20 and all(np.isfinite(line["loss"]) for line in steps)
    assert all({"loss", "step_loss", "lesson", "seconds_a_step"} <= line.keys() for line in steps)
    assert lines[-1]["traced_pictures"] == 3 and (out / "sheets").is_dir()
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "not a medical device" in card and "34.15" in card if peer == "spade" else "99.34" in card
    assert set(read_split(out / "split.csv").values()) == {"train", "test"}


@needs_monai
def test_a_training_that_was_stopped_ends_as_the_uninterrupted_one(trained, clinic, tmp_path, monkeypatch):
    """Stopped between two checkpoints, so that the last one is that of the stop."""
    peer, whole = trained
    with monkeypatch.context() as patch:
        patch.setattr(course, "StopRequest", stopped_after(13))
        assert train(peer, clinic, tmp_path / "run") == 130
    assert not (tmp_path / "run" / "peer.safetensors").exists()
    (left,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert left.name in ("step-000012", "step-000013")  # asked before each lesson, and after each step
    assert train(peer, clinic, tmp_path / "run") == 0
    one, other = (load_file(folder / "peer.safetensors") for folder in (whole, tmp_path / "run"))
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@needs_monai
def test_a_controlnet_that_learns_after_the_u_net_goes_on_where_it_was_stopped_and_paints(
    clinic, tmp_path, monkeypatch
):
    """MAISI's own order and sampler. Stopped at the second of its six steps, the ninth of thirteen."""
    assert train("maisi after", clinic, tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(course, "StopRequest", stopped_after(11))
        assert train("maisi after", clinic, tmp_path / "run") == 130
    assert [place.name for place in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000009"]
    assert train("maisi after", clinic, tmp_path / "run") == 0
    one, other = (load_file(tmp_path / name / "peer.safetensors") for name in ("whole", "run"))
    assert one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(line["lesson"] for line in lines if "loss" in line)) == [
        *("autoencoder", "diffusion", "control")
    ]
    from training.peers.file import load_peer

    peer, mask = load_peer(tmp_path / "run"), np.eye(64, dtype=bool)
    first, again, another = (peer.paint(mask, "Control", seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != another).any()


@needs_monai
@pytest.mark.parametrize("control", ["together", "after"])
def test_a_controlnet_changes_what_is_predicted_only_once_it_has_learned(control):
    """It begins at zero; `after` leaves the U-Net as it was."""
    from training.peers.maisi import Maisi

    steps = {"control": control, "control_steps": 2 if control == "after" else 0}
    settings = {"size": 64, "channels": (8, 32), "encoder_channels": (8, 8), "encoder_steps": 1, "sampler_steps": 3}
    peer = Maisi(load_recipe("maisi", "small", settings | steps), 2)
    images, masks = torch.rand(2, 1, 64, 64), (torch.rand(2, 1, 64, 64) < 0.2).float()
    batch = PeerBatch(images, masks, torch.tensor([0, 1]))
    noisy, levels = torch.randn(2, 4, 32, 32), torch.tensor([10, 900])
    *_, last = peer.lessons()
    assert [one.name for one in peer.lessons()][1:] == (
        ["diffusion"] if control == "together" else ["diffusion", "control"]
    )
    torch.nn.init.normal_(peer.unet.out[2].conv.weight)  # which begins at zero, too
    free = peer.predicted(noisy, levels, batch.cohorts, None)
    assert torch.equal(peer.predicted(noisy, levels, batch.cohorts, masks), free)
    before = {name: value.clone() for name, value in peer.unet.state_dict().items()}
    optimiser = torch.optim.Adam([{"params": some, "lr": 1e-2} for some, _ in last.groups])
    for _ in range(2):
        last.advance(batch, optimiser)
    kept = all(torch.equal(value, before[name]) for name, value in peer.unet.state_dict().items())
    assert kept == (control == "after")
    under, other = (peer.predicted(noisy, levels, batch.cohorts, one) for one in (masks, 1 - masks))
    assert not torch.allclose(under, other, atol=1e-6)


@needs_monai
@pytest.mark.parametrize("steps", [4, 1000])
def test_a_sampling_knows_the_noise_it_meets(steps):
    """With the true noise of one image DDIM ends at the image, whatever the number of its steps."""
    from training.peers import maisi

    recipe = load_recipe("maisi", "small", {"sampler_steps": steps})
    scheduler = maisi._scheduler(recipe)
    levels = maisi.sampled_levels(scheduler, recipe)
    assert levels == {4: [999, 749, 499, 249], 1000: list(range(999, -1, -1))}[steps]
    clean, noise = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    latent = scheduler.add_noise(clean, noise, torch.tensor([999]))
    for level, lower in zip(levels, [*levels[1:], None], strict=True):
        latent, _ = scheduler.step(noise, level, latent)
        if lower is not None:  # what comes out lies at the level that the next step takes it for
            expected = scheduler.add_noise(clean, noise, torch.tensor([lower]))
            torch.testing.assert_close(latent, expected, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(latent, clean, atol=5e-2, rtol=5e-2)


@needs_monai
def test_a_finished_training_is_not_made_again_and_another_one_is_refused(trained, clinic, capsys):
    peer, out = trained
    before = (out / "peer.safetensors").read_bytes()
    assert train(peer, clinic, out) == 0
    assert (out / "peer.safetensors").read_bytes() == before
    assert train(peer, clinic, out, "seed=1") == 2
    assert "another recipe or other data: name another --out" in capsys.readouterr().err


@needs_monai
def test_painted_masks_are_a_data_set_that_downstream_takes(trained, clinic, tmp_path, capsys):
    _, out = trained
    painted = tmp_path / "painted"
    command = ["peers", "paint", str(out), "--masks", str(clinic), "--part", "train", "--out", str(painted), "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 12
    real = read_real(clinic, out / "split.csv")
    held = {patient for patient, part in real.parts.items() if part == "test"}
    found = read_synthetic(painted, real)
    assert found.learned is not None and not found.learned & held
    assert {image.patient for image in found.images} == found.learned
    masks = {one.patient: one.mask for one in real.images}
    for image in found.images:
        np.testing.assert_array_equal(image.mask, masks[image.patient])
    first = {file.name: file.read_bytes() for file in (painted / "images").iterdir()}
    assert main(command) == 0  # nothing is painted twice
    assert {file.name: file.read_bytes() for file in (painted / "images").iterdir()} == first
    assert main([*command[:-1], "--seed", "1"]) == 2
    assert "another model or other settings" in capsys.readouterr().err


@needs_monai
@pytest.mark.parametrize("shape", [(50, 64), (150, 101)])
def test_masks_of_any_size_are_painted_and_the_seed_decides(trained, shape, tmp_path):
    from training.peers.file import load_peer

    peer = load_peer(trained[1])
    mask = np.random.default_rng(0).random(shape) < 0.1
    pictures = [peer.paint(mask, "T1DPN", seed) for seed in (1, 1, 2)]
    assert pictures[0].shape == shape and pictures[0].dtype == np.uint8
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0] != pictures[2]).any()
    with pytest.raises(InputError, match="not trained on Sjögren"):
        peer.paint(mask, "Sjögren", 1)


@needs_monai
def test_a_folder_of_masks_needs_a_cohort_and_the_right_pixels(trained, clinic, tmp_path, capsys, caplog):
    _, out = trained

    def paint(masks, *options):
        status = main(["peers", "paint", str(out), "--masks", str(masks), "--out", str(tmp_path / "p"), *options])
        return status, capsys.readouterr().err

    assert "give --cohort NAME" in paint(clinic / "masks")[1]
    assert "leave out --cohort" in paint(clinic, "--cohort", "Control")[1]
    assert paint(clinic / "masks", "--cohort", "control")[0] == 0
    assert "The pixel size of 15 of 15 masks" in caplog.text
    assert {(one.cohort, one.pixel_size_um) for one in read_folder(tmp_path / "p")} == {("Control", None)}
    (tmp_path / "empty").mkdir()
    assert "holds no masks" in paint(tmp_path / "empty", "--cohort", "Control")[1]
    other = write(tmp_path / "other", images(500, 1, each=1))
    table = other / "dataset.csv"
    table.write_text(table.read_text().replace("1.04167", "0.5"))
    assert "pixels of 0.5 µm" in paint(other)[1]
    for file in (other / "masks").iterdir():
        file.unlink()
    assert "holds no masks" in paint(other)[1]


def test_without_monai_one_sentence_says_so(clinic, tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "monai" else find(name))
    assert main(["peers", "train", "spade", "--data", str(clinic), "--out", str(tmp_path / "run")]) == 2
    assert "the peers need monai" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_is_told_in_a_sentence(clinic, tmp_path, capsys):
    out = ["--out", str(tmp_path / "run"), "--device", "gpu"]
    assert main(["peers", "train", "spade", "--data", str(clinic), *out]) == 2
    assert "there is no device 'gpu'" in capsys.readouterr().err
    assert main(["peers", "paint", str(tmp_path), "--masks", str(clinic), *out]) == 2
    assert "there is no device 'gpu'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_pixel_size_that_the_study_alone_tells_counts(tmp_path):
    data = write(tmp_path / "data", images(0, 4, each=1))
    table = data / "dataset.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("1.04167", ""), encoding="utf-8")
    recipe = load_recipe("spade", "small", {"size": 64})
    with pytest.raises(InputError, match="has no pixel_size_um of 12 of 12 images"):
        read_peer_data(data, recipe)
    write_study(data / "study.toml", dataclasses.replace(shipped_study(), pixel_size_um=0.8))
    assert read_peer_data(data, recipe).pixel_size_um == read_real(data).pixel_size_um == 0.8
    assert read_peer_data(data, recipe, pixel_size_um=0.9).pixel_size_um == 0.9  # what is said aloud goes first
    write_split(tmp_path / "split.csv", {read_folder(data)[0].patient: "train"})  # whoever is in no part is new
    limits = {"size": None, "most": None, "pixel_size_um": None, "first_seed": 0}
    assert held_out(data, tmp_path / "split.csv", **limits).pixel_size_um == 0.8


def test_a_folder_without_a_peer_is_told(tmp_path, capsys):
    assert main(["peers", "paint", str(tmp_path), "--masks", str(tmp_path), "--out", str(tmp_path / "p")]) == 2
    assert "holds no trained peer" in capsys.readouterr().err
