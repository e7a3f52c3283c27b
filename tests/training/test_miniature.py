"""The recipe of the miniature: its parts against closed forms and the real classes, and a few steps of the whole."""

import copy
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from training.miniature import images, prompts
from training.miniature.mmdit import Bucket, MMDiTStage, Samples, build_transformer, velocity_loss
from training.miniature.planar import PlanarVAE, _ChannelNorm, to_wan
from training.miniature.recipe import Recipe, run
from training.miniature.runner import Budget, progress_of, restore, train
from training.miniature.text import TextStage
from training.miniature.vae import LinesLoss, VAEStage, blocks, fit_principal, unblocks
from wdlora.cohorts import COHORTS
from wdlora.errors import InputError
from wdlora.qwen.latents import latent_statistics
from wdlora.qwen.sampling import Sampling

ROOT = Path(__file__).resolve().parents[2]


def test_pictures_follow_their_seed_and_their_look_leaves_the_lines_alone():
    first, again, other = (images.picture(seed, 64, 96) for seed in (5, 5, 6))
    assert np.array_equal(first.image, again.image) and first.look == again.look
    assert not np.array_equal(first.mask, other.mask)
    changed = images.picture(5, 64, 96, dict.fromkeys(images.ATTRIBUTES, 0))
    assert np.array_equal(first.mask, changed.mask) and not np.array_equal(first.image, changed.image)
    assert first.image.shape == (64, 96) and first.image.min() >= 0 and first.image.max() <= 1


@pytest.mark.parametrize("attribute", images.ATTRIBUTES)
def test_an_attribute_moves_its_statistic(attribute):
    from training.miniature.measure import statistic

    middle = {name: min(1, len(levels) - 2) for name, levels in images.ATTRIBUTES.items()}
    moved = []
    for seed in range(12):
        low, high = (
            images.picture(seed, 128, 128, middle | {attribute: level})
            for level in (0, len(images.ATTRIBUTES[attribute]) - 1)
        )
        moved.append(statistic(attribute, high.image, high.mask) - statistic(attribute, low.image, low.mask))
    defined = [change for change in moved if np.isfinite(change)]
    assert len(defined) >= 10 and np.mean(defined) > 2 * np.std(defined) / np.sqrt(len(defined))


def test_a_prompt_says_the_levels_it_reports_and_never_a_cohort_prompt():
    rng = np.random.default_rng(0)
    sentences = {part.strip() for cohort in COHORTS.values() for part in cohort.prompt.lower().split(":")}
    for _ in range(200):
        look = images.sample_look(rng)
        text, levels = prompts.describe(look, rng)
        for name, level in levels.items():
            assert level == look[name]
            assert any(phrase.lower() in text.lower() for phrase in prompts.PHRASES[name][level])
        assert not any(sentence and sentence in text.lower() for sentence in sentences)


def test_blocks_and_principal_components():
    x = torch.rand(2, 16, 24, generator=torch.Generator().manual_seed(0))
    assert torch.equal(unblocks(blocks(x)), x)
    # Pictures made of 16 patterns are coded without loss, and the code is white.
    generator = torch.Generator().manual_seed(1)
    patterns = torch.randn(16, 64, generator=generator)
    pictures = unblocks(torch.randn(40, 4, 4, 16, generator=generator) @ patterns)
    principal = fit_principal(pictures)
    code = principal.encode(pictures)
    assert torch.allclose(principal.decode(code), pictures, atol=1e-4)  # float32 of a covariance in float64
    covariance = torch.cov(code.permute(1, 0, 2, 3).reshape(16, -1))
    assert torch.allclose(covariance, torch.eye(16), atol=1e-3)


def test_the_vae_stands_beside_a_linear_codec_that_never_saw_the_phantoms_and_one_fitted_on_them():
    from training.miniature.vae_limit import vae_limit
    from wdlora.qwen.miniature_files import load_miniature

    small = VAEStage(pictures=12, textures=4, side=64, principal_crops=60)
    report = vae_limit(load_miniature(), 1, small, 256)
    assert report["count"] == len(COHORTS)
    assert set(report["phantoms"]) == {"original", *report["masks"]}
    for kind in ("phantoms", "masks"):
        found = report[kind]
        # No linear codec of 16 numbers a block comes nearer to these pictures than the one fitted on them.
        assert found["pca16_fitted_here"]["psnr"] > found["pca16"]["psnr"] > 17
        for one, other in (("vae", "pca16"), ("vae", "pca16_fitted_here"), ("half_resolution", "pca16")):
            for key in ("dice", "dice_to_original", "cnfl_absolute_shift"):
                difference = found[one][key] - found[other][key]
                assert found[f"{one}_minus_{other}"][key] == pytest.approx(difference, abs=1e-12)
    # A mask is its own truth; the VAE carries it past the 34 dB that were asked of it, no linear codec does.
    masks = report["masks"]
    assert masks["vae"]["dice"] == masks["vae"]["dice_to_original"] > 0.999
    assert masks["vae"]["psnr"] > 34 > masks["pca16_fitted_here"]["psnr"]


def test_half_resolution_keeps_a_quarter_of_the_numbers():
    from training.miniature.vae_limit import _half_resolution

    # Every second pixel tells all of what half of the frequencies hold, and nothing of the rest.
    phase = (torch.arange(64) + 0.5) * torch.pi / 64
    waves = [torch.cos(k * phase).expand(64, 64) / 2 + 0.5 for k in (5, 31, 32, 50)]
    kept = _half_resolution(torch.stack([*waves, waves[1].T]))
    assert torch.allclose(kept[:2], torch.stack(waves[:2]), atol=1e-5)
    assert torch.allclose(kept[4], waves[1].T, atol=1e-5)
    assert torch.allclose(kept[2:4], torch.full((2, 64, 64), 0.5), atol=1e-5)


def test_the_lines_loss_is_a_squared_error_where_its_weight_is_flat():
    x, y = torch.rand(3, 32, 32), torch.rand(3, 32, 32)
    flat = LinesLoss(32, least=1.0, cutoff=1e-6)
    error = (y - x) - (y - x).mean((1, 2), keepdim=True)  # the narrow band adds its weight at frequency 0 alone
    assert torch.isclose(flat(torch.zeros_like(x), error), error.pow(2).mean(), rtol=1e-5)
    yy = torch.arange(32.0)
    coarse, fine = (torch.cos(2 * torch.pi * k * yy / 32).expand(1, 32, 32) for k in (2, 14))
    loss = LinesLoss(32)
    assert loss(torch.zeros_like(coarse), coarse) > 3 * loss(torch.zeros_like(fine), fine)


def test_the_norm_has_the_right_gradient():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 3, 3, dtype=torch.double, generator=generator, requires_grad=True)
    gamma = torch.randn(5, 1, 1, dtype=torch.double, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(_ChannelNorm.apply, (x, gamma))


def test_the_planar_vae_is_the_real_one_on_single_pictures():
    from diffusers import AutoencoderKLQwenImage
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    torch.manual_seed(0)
    planar = PlanarVAE(8).eval().requires_grad_(False)
    for parameter in planar.parameters():  # nothing may hide behind the zeros of the initialisation
        parameter += 0.05 * torch.randn_like(parameter)
    x = torch.rand(2, 64, 96) * 2 - 1
    planar.standardise(x)
    real = AutoencoderKLQwenImage(base_dim=8).eval().requires_grad_(False)
    real.load_state_dict(convert_wan_vae_to_diffusers(to_wan(planar)))
    mean, std = (values[:, :, 0] for values in latent_statistics())
    z = planar.encode(x)
    assert torch.allclose(z.mean((0, 2, 3)), torch.zeros(16), atol=1e-4)
    assert torch.allclose(z.std((0, 2, 3)), torch.ones(16), atol=1e-4)
    posterior = real.encode(x[:, None, None].repeat(1, 3, 1, 1, 1)).latent_dist
    assert torch.allclose(posterior.mode()[:, :, 0], z * std + mean, atol=1e-3)  # float32 in another order
    assert posterior.std.max() < 0.01
    again = real.decode((z * std + mean)[:, :, None]).sample[:, :, 0]
    assert torch.allclose(again, planar.decode(z)[:, None].clamp(-1, 1).repeat(1, 3, 1, 1), atol=1e-4)


def test_a_grating_of_the_side_of_a_cell_is_lost_in_the_vae_as_the_docs_say():
    from wdlora.qwen.latents import decode_latents, encode_image
    from wdlora.qwen.miniature_files import load_miniature

    vae = load_miniature().vae
    rows = torch.arange(384.0)
    for period, low, high in ((8, 0, 1e-4), (9, 0.15, 0.3)):
        grating = (0.5 + 0.3 * torch.cos(2 * torch.pi * rows / period)).expand(384, 384)
        again = decode_latents(vae, encode_image(vae, grating))[0].mean(0)
        assert low <= again[160:224, 160:224].std() < high  # far from the border, which the network does see


def test_the_transformer_starts_as_zero_velocity():
    stage = MMDiTStage(layers=1, heads=2)
    transformer = build_transformer(stage, 128, seed=0)
    generator = torch.Generator().manual_seed(0)
    samples = Samples(
        torch.randn(2, 16, 8, 12, generator=generator),
        torch.randn(2, 16, 8, 12, generator=generator),
        torch.randn(10, 128, generator=generator),
        torch.tensor([0, 5]),
        torch.tensor([5, 5]),
        torch.zeros(2, 8, 12, dtype=torch.bool),
    )
    samples.touched[:, :4] = True  # half of the cells
    noise = torch.randn(2, 16, 1, 8, 12, generator=generator)
    sigma = torch.tensor([0.3, 0.8])
    squared = (noise[:, :, 0] - samples.latents).pow(2)
    assert torch.isclose(velocity_loss(transformer, samples, [0, 1], noise, sigma), squared.mean(), rtol=1e-5)
    weighted = velocity_loss(transformer, samples, [0, 1], noise, sigma, foreground_weight=3.0)
    assert torch.isclose(weighted, 0.75 * squared[:, :, :4].mean() + 0.25 * squared[:, :, 4:].mean(), rtol=1e-5)


class _Line(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 1)


def _fit(folder, module, steps, stop=None):
    def loss_at(step, progress):
        if step == stop:
            raise KeyboardInterrupt
        x = torch.randn(4, 3)
        return (module.second(module.first(x)) - x.sum(1, keepdim=True)).pow(2).mean(), {}

    budget = Budget(steps=steps, warmup_steps=2, checkpoint_minutes=0, evaluate_every=5)
    return train(folder, module, loss_at, budget, seed=1, early={"first": 0.5}), budget


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path):
    straight, _ = _fit(tmp_path / "a", _Line(), 20)
    with pytest.raises(KeyboardInterrupt):
        _fit(tmp_path / "b", _Line(), 20, stop=9)
    resumed, budget = _fit(tmp_path / "b", _Line(), 20)
    assert progress_of(tmp_path / "b", budget) == 1
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    restored = restore(tmp_path / "b", _Line(), {"first": 0.5})
    assert all(torch.equal(v, resumed.state_dict()[k]) for k, v in restored.state_dict().items())


def test_an_early_child_rests(tmp_path):
    seen = {}
    module = _Line()

    def loss_at(step, progress):
        seen[step] = copy.deepcopy(module.first.state_dict())
        return module.second(module.first(torch.randn(4, 3))).pow(2).mean(), {}

    train(tmp_path, module, loss_at, Budget(steps=10, warmup_steps=1), seed=1, early={"first": 0.5})
    assert not torch.equal(seen[0]["weight"], seen[5]["weight"])
    assert torch.equal(seen[6]["weight"], seen[9]["weight"])


def tiny_recipe() -> Recipe:
    budget = Budget(steps=2, evaluate_every=2)
    return Recipe(
        vae=VAEStage(
            base_dim=8,
            pictures=4,
            textures=4,
            side=64,
            batch=4,
            principal_crops=40,
            standard_pictures=2,
            budget=budget,
            polish=budget,
        ),
        text=TextStage(vocabulary=300, corpus=50, layers=1, vision_depth=1, batch=2, sizes=((64, 64),), budget=budget),
        mmdit=MMDiTStage(layers=1, heads=2, buckets=(Bucket(64, 64, 4, 2, 1.0),), held_out=2, budget=budget),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("miniature")
    stages = ("vae", "text", "mmdit", "export")
    return folder, run(folder / "work", folder / "out", tiny_recipe(), stages)


def test_a_few_steps_of_the_recipe_give_a_complete_model(trained):
    from wdlora.qwen.generate import generate
    from wdlora.qwen.miniature_files import load_miniature
    from wdlora.qwen.tokenizer import load_tokenizer

    _, files = trained
    model = load_miniature(files.folder)
    assert model.transformer.config.joint_attention_dim == model.text_encoder.config.text_config.hidden_size == 128
    tokenizer = load_tokenizer(files.tokenizer)
    assert tokenizer.decode(tokenizer("naïve µm")["input_ids"]) == "naïve µm"
    image = generate(model, np.eye(64, dtype=bool), "low contrast", sampling=Sampling(1))
    assert image.shape == (1, 64, 64, 3)
    recipe = json.loads(files.recipe.read_text())
    assert recipe["recipe"]["seed"] == tiny_recipe().seed and recipe["spent"]["vae"]["steps"] == 2


def test_the_exported_vae_gives_the_latents_that_were_trained_on(trained):
    from training.miniature.recipe import _vae
    from wdlora.qwen.latents import encode_image
    from wdlora.qwen.miniature_files import load_miniature

    folder, files = trained
    x = torch.from_numpy(images.picture(1, 64, 64).image)
    shipped = encode_image(load_miniature(files.folder).vae, x)[:, :, 0]
    with torch.no_grad():
        planar = _vae(folder / "work", tiny_recipe()).encode(x[None] * 2 - 1)
    assert torch.allclose(shipped, planar, atol=0.02)  # the affine of the latents is rounded to float16


def test_a_finished_recipe_is_not_run_again_and_another_one_is_refused(trained):
    folder, files = trained
    before = files.transformer.read_bytes()
    run(folder / "work", folder / "out", tiny_recipe(), ("vae", "text", "mmdit", "export"))
    assert files.transformer.read_bytes() == before
    with pytest.raises(InputError, match="another recipe"):
        run(folder / "work", folder / "out", dataclasses.replace(tiny_recipe(), seed=1), ("vae",))


def test_a_stage_that_is_not_ready_is_named(tmp_path):
    with pytest.raises(InputError, match="vae"):
        run(tmp_path / "work", tmp_path / "out", tiny_recipe(), ("mmdit",))


def test_the_command_also_starts_by_file_in_an_isolated_python():
    started = subprocess.run(
        [sys.executable, "-I", str(ROOT / "training" / "__main__.py"), "miniature", "--out", "x", "--pace", "0"],
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert started.returncode == 2
    assert "--pace 0 is not between 0 and 100" in started.stderr
