"""Latents and packing against diffusers' own."""

import copy
import inspect

import pytest
import torch
from diffusers import AutoencoderKLQwenImage

from wdlora.errors import InputError
from wdlora.qwen import latents as rooms


def test_packing_equals_the_pipelines():
    from diffusers import QwenImageEditPipeline

    z = torch.randn(2, 16, 1, 4, 6)
    packed = rooms.pack(z)
    assert torch.equal(packed, QwenImageEditPipeline._pack_latents(z, 2, 16, 4, 6))
    assert torch.equal(rooms.unpack(packed, 4, 6), z)
    assert torch.equal(QwenImageEditPipeline._unpack_latents(packed, 32, 48, 8), z)


def test_a_token_is_a_square_of_cells():
    z = torch.arange(16.0).reshape(1, 1, 1, 4, 4)
    assert rooms.pack(z)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_encoding_equals_the_pipelines(parts, mask):
    from diffusers import QwenImageEditPipeline

    z = rooms.encode_image(parts.vae, mask)
    assert z.shape == rooms.latent_shape(64, 96) == (1, 16, 1, 8, 12)
    pixels = mask.float().mul(2).sub(1).expand(1, 3, 1, 64, 96)  # black is −1, white is 1

    class Pipe:
        vae, latent_channels = parts.vae, 16

    theirs = QwenImageEditPipeline._encode_vae_image(Pipe(), pixels, torch.Generator())
    assert torch.allclose(z, theirs, atol=1e-6)  # fp32


def test_decoding_undoes_the_normalisation(parts):
    z = torch.randn(2, 16, 1, 8, 8)
    mean = torch.tensor(parts.vae.config.latents_mean).view(1, 16, 1, 1, 1)
    std = torch.tensor(parts.vae.config.latents_std).view(1, 16, 1, 1, 1)
    with torch.no_grad():
        pixels = parts.vae.decode(z * std + mean).sample[:, :, 0]
    image = rooms.decode_latents(parts.vae, z)
    assert image.shape == (2, 3, 64, 64)
    assert torch.allclose(image, (pixels / 2 + 0.5).clamp(0, 1), atol=1e-6)  # fp32


def test_the_published_statistics_are_diffusers_defaults():
    defaults = inspect.signature(AutoencoderKLQwenImage.__init__).parameters
    assert list(rooms.LATENT_MEAN) == list(defaults["latents_mean"].default)
    assert list(rooms.LATENT_STD) == list(defaults["latents_std"].default)
    mean, std = rooms.latent_statistics()
    assert mean.shape == std.shape == (1, 16, 1, 1, 1)
    assert (float(mean[0, 0]), float(std[0, 15])) == pytest.approx((-0.7571, 1.9160))


def test_statistics_are_those_that_a_vae_states(parts):
    scaled = copy.deepcopy(parts.vae)
    scaled.register_to_config(latents_std=[2 * one for one in scaled.config.latents_std])
    assert torch.equal(rooms.latent_statistics(scaled)[1], 2 * rooms.latent_statistics()[1])


def test_image_shapes_count_tokens():
    z = torch.zeros(1, 16, 1, 8, 12)
    assert rooms.image_shapes([z, z], 2) == [[(1, 4, 6), (1, 4, 6)]] * 2


@pytest.mark.parametrize("size", [(0, 32), (48, 64), (64, 40), (16, 16)])
def test_sizes_off_the_grid_are_refused(size, parts):
    with pytest.raises(InputError, match="multiples of 32"):
        rooms.latent_shape(*size)
    if min(size) > 0:
        with pytest.raises(InputError, match="multiples of 32"):
            rooms.encode_image(parts.vae, torch.zeros(size))


def test_references_must_lie_on_the_targets_grid():
    z = torch.zeros(1, 16, 1, 8, 8)
    rooms.check_registered(z.shape, [z])
    with pytest.raises(InputError, match="128×64"):
        rooms.check_registered(z.shape, [z, torch.zeros(1, 16, 1, 8, 16)])
