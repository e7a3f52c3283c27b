"""The shipped miniature: its files are whole, small and what they say, and it does its work on a CPU."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from wdlora.anatomy import phantom, sample_mask, trace
from wdlora.anatomy.overlap import dice
from wdlora.errors import InputError
from wdlora.files import sha256
from wdlora.qwen.generate import generate
from wdlora.qwen.latents import decode_latents, encode_image
from wdlora.qwen.miniature_files import (
    FOLDER,
    SPECIAL_TOKENS,
    load_miniature,
    miniature_files,
)
from wdlora.qwen.sampling import Sampling
from wdlora.qwen.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def model():
    return load_miniature()


def cross(height: int, width: int) -> np.ndarray:
    """A mask with two lines 5 px wide."""
    mask = np.zeros((height, width), bool)
    mask[height // 3 : height // 3 + 5] = True
    mask[:, width // 2 : width // 2 + 5] = True
    return mask


def test_every_file_has_the_hash_that_the_metrics_state_and_all_are_small():
    found = {
        path.relative_to(FOLDER).as_posix(): sha256(path)
        for path in FOLDER.rglob("*")
        if path.is_file() and path.name != "metrics.json"
    }
    assert found == json.loads(miniature_files().metrics.read_text())["sha256"]
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 25 * 10**6


def test_the_files_are_in_comfyuis_layouts():
    files = miniature_files()
    expected = {
        files.transformer: "transformer_blocks.0.attn.add_q_proj.weight",
        files.text_encoder: "model.layers.0.self_attn.q_proj.weight",
        files.vae: "decoder.middle.0.residual.0.gamma",
    }
    for path, name in expected.items():
        with safe_open(path, "pt") as file:
            assert name in set(file.keys())
            assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"F16"}  # noqa: SIM118
    with safe_open(files.text_encoder, "pt") as file:
        assert "visual.patch_embed.proj.weight" in set(file.keys())


def test_its_shapes_keep_to_what_comfyui_hard_codes(model):
    text = model.text_encoder.config.text_config
    vision = model.text_encoder.config.vision_config
    assert text.hidden_size % 128 == 0 and text.hidden_size // text.num_attention_heads == 128
    assert text.rope_parameters["mrope_section"] == [16, 24, 24]
    assert (vision.patch_size, vision.spatial_merge_size, vision.window_size) == (14, 2, 112)
    assert list(vision.fullatt_block_indexes) == [7, 15, 23, 31]
    assert list(model.vae.config.dim_mult) == [1, 2, 4, 4] and model.vae.config.num_res_blocks == 2
    assert model.vae.config.z_dim == 16
    assert not model.transformer.config.zero_cond_t


def test_the_tokenizer_keeps_every_text_and_its_own_control_tokens():
    tokenizer = load_tokenizer(miniature_files().tokenizer)
    for text in ("µm² naïve 神経 🙂\ttab", "low contrast, beaded fibres"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    ids = [tokenizer(token)["input_ids"] for token in SPECIAL_TOKENS]
    assert all(len(one) == 1 for one in ids) and len({one[0] for one in ids}) == len(SPECIAL_TOKENS)
    assert max(one[0] for one in ids) < len(tokenizer) < 2000


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (224, 128), (70, 100)])
def test_it_paints_at_any_size(model, size):
    image = generate(model, cross(*size), "high contrast, dark background", sampling=Sampling(2))
    assert image.shape == (1, *size, 3)
    assert image.std() > 0 and np.array_equal(image[..., 0], image[..., 1])


def test_it_paints_at_384_pixels(model):
    mask = cross(384, 384)
    text = "high contrast, dark background, sharp, clean image"
    image = generate(model, mask, text, sampling=Sampling(6, 1.0))[0, ..., 0]
    assert image[mask].mean() > image[~mask].mean() + 20


def test_the_same_seed_paints_the_same_picture(model):
    pictures = [generate(model, cross(64, 64), "smooth lines", seed=seed, sampling=Sampling(2)) for seed in (1, 1, 2)]
    assert np.array_equal(pictures[0], pictures[1]) and not np.array_equal(pictures[0], pictures[2])


def test_it_follows_the_mask_and_the_word_contrast(model):
    mask, rest = cross(128, 128), "dark background, smooth lines."
    pictures = {
        word: [
            generate(model, mask, f"{word} contrast, {rest}", seed=seed, sampling=Sampling(10))[0, ..., 0]
            for seed in range(3)
        ]
        for word in ("high", "low")
    }
    contrast = {
        word: [float(np.median(one[mask])) - float(np.median(one[~mask])) for one in drawn]
        for word, drawn in pictures.items()
    }
    assert min(contrast["high"]) > max(contrast["low"])
    assert np.mean([dice(trace(one, segmenter="lines"), mask) for one in pictures["high"]]) > 0.75


def test_its_vae_keeps_masks_and_nerves(model):
    drawn = sample_mask("Control", 41)
    mask = torch.from_numpy(drawn.mask).float()
    again = decode_latents(model.vae, encode_image(model.vae, mask))[0, 0]
    assert -10 * torch.log10((again - mask).pow(2).mean()) >= 34  # dB
    assert dice(again.numpy() > 0.5, drawn.mask) > 0.99
    image = phantom(drawn, 41, version=1)
    rebuilt = decode_latents(model.vae, encode_image(model.vae, image))[0, 0]
    traced = trace((rebuilt.numpy() * 255).round().astype(np.uint8), segmenter="lines")
    assert abs(dice(traced, drawn.mask) - dice(trace(image, segmenter="lines"), drawn.mask)) < 0.05


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"qwen_image_edit_miniature\.safetensors"):
        miniature_files(tmp_path)
