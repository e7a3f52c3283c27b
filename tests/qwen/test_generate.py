"""Mask in, image out."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from wdlora.cohorts import cohort
from wdlora.errors import InputError
from wdlora.qwen.encode import encode
from wdlora.qwen.files import ModelFiles
from wdlora.qwen.generate import generate, paint, prepare
from wdlora.qwen.latents import decode_latents, encode_image, pack, unpack
from wdlora.qwen.loading import load
from wdlora.qwen.sampling import Sampling

ONE_STEP = Sampling(steps=1, cfg=1.0)


@pytest.fixture(scope="module")
def model(files):
    return load(files.diffusers)


@pytest.fixture(scope="module")
def plus(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plus") / "model"
    shutil.copytree(files.diffusers, folder)
    (folder / "model_index.json").write_text('{"_class_name": "QwenImageEditPlusPipeline"}')
    return load(folder)


def test_equal_to_the_pipelines_own_loop(model, parts, mask):
    """diffusers' scheduler and transformer, driven by hand with the same noise levels: the same image."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    steps, shift, cfg = 3, 3.0, 2.0
    ours = generate(model, mask, "X", negative="Y", seed=11, sampling=Sampling(steps, cfg, shift, norm=None))

    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift)
    # diffusers shifts what it is given, so give it ComfyUI's unshifted levels: entries 1000, 667 and 334 of 1000
    scheduler.set_timesteps(sigmas=np.array([1.0, 0.667, 0.334]))
    texts = [encode(parts.text_encoder, parts.tokenizer, text, [mask], "edit").embeds for text in ("X", "Y")]
    control = pack(encode_image(parts.vae, mask))
    x = pack(torch.randn(1, 16, 1, 8, 12, generator=torch.Generator().manual_seed(11)))
    with torch.no_grad():
        for t in scheduler.timesteps:
            with_text, without = (
                parts.transformer(
                    torch.cat([x, control], 1),
                    text,
                    timestep=t.expand(1) / 1000,
                    img_shapes=[[(1, 4, 6), (1, 4, 6)]],
                    return_dict=False,
                )[0][:, :24]
                for text in texts
            )
            x = scheduler.step(without + cfg * (with_text - without), t, x, return_dict=False)[0]
        image = decode_latents(parts.vae, unpack(x, 8, 12))
    theirs = (image[0] * 255).to(torch.uint8).movedim(0, -1).numpy()
    difference = np.abs(ours[0].astype(int) - theirs.astype(int))
    assert difference.max() <= 1  # truncation to bytes of values that agree to 1e-5
    assert (difference > 0).mean() < 0.01


def test_any_size_comes_back_on_its_own_grid(model):
    mask = torch.zeros(50, 70, dtype=torch.bool)
    mask[20:24] = True
    image = generate(model, mask, "X", sampling=ONE_STEP)
    assert image.shape == (1, 50, 70, 3)
    assert image.dtype == np.uint8
    padded = torch.nn.functional.pad(mask, (0, 26, 0, 14))
    assert np.array_equal(generate(model, padded, "X", sampling=ONE_STEP)[:, :50, :70], image)


def test_seeds_decide(model, mask):
    first, again, other = (generate(model, mask, "X", seed=seed, sampling=Sampling(2, 1.0)) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_several_images_share_one_noise_generator(model, mask):
    prepared = prepare(model, mask, "X", negative=None)
    several = paint(model, prepared, 5, ONE_STEP, count=2)
    one = paint(model, prepared, 5, ONE_STEP)
    assert several.shape == (2, 3, 64, 96)
    assert torch.allclose(several[:1], one, atol=1e-5)  # fp32, other batch shape
    assert not torch.allclose(several[0], several[1], atol=1e-2)


def test_cohorts_bring_their_prompts(model, mask):
    group = cohort("T1DPN")
    by_name = generate(model, mask, cohort="T1DPN", sampling=Sampling(steps=1))
    by_text = generate(model, mask, group.prompt, negative=group.negative_prompt, sampling=Sampling(steps=1))
    assert np.array_equal(by_name, by_text)
    with pytest.raises(InputError, match="either a prompt"):
        generate(model, mask)
    with pytest.raises(InputError, match="T3"):
        generate(model, mask, cohort="T3")


def test_official_settings_are_the_default(model, mask):
    chosen = Sampling(steps=2, cfg=1.5, shift=2.0)
    other = replace(model, defaults=chosen)
    assert np.array_equal(generate(other, mask, "X"), generate(model, mask, "X", sampling=chosen))


def test_a_reference_changes_the_image(plus, model, mask):
    other = torch.rand(64, 96)
    with_it = generate(plus, mask, "X", reference=other, sampling=ONE_STEP)
    without = generate(plus, mask, "X", sampling=ONE_STEP)
    assert not np.array_equal(with_it, without)
    with pytest.raises(InputError, match="96×32 pixels but the mask is 96×64"):
        generate(plus, mask, "X", reference=other[:32])
    with pytest.raises(InputError, match="leave out the reference"):
        generate(model, mask, "X", reference=other)


def test_no_request_leaves_the_machine(files, mask, monkeypatch):
    import socket

    def refuse(*arguments, **options):
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    generate(load(files.diffusers), mask, "X", sampling=Sampling(steps=1))
    load(ModelFiles(None, files.transformer, files.text_encoder, files.vae, files.tokenizer))


def test_interruption_passes_through(model, mask):
    seen = []

    def stop(i, steps, denoised, x):
        seen.append((i, steps, tuple(denoised.shape)))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        paint(model, prepare(model, mask, "X", negative=None), 0, Sampling(4, 1.0), callback=stop)
    assert seen == [(0, 4, (1, 16, 1, 8, 12))]


def test_guidance_needs_a_negative(model, mask):
    with pytest.raises(InputError, match="negative prompt"):
        paint(model, prepare(model, mask, "X", negative=None), 0, Sampling(1, 2.0))
