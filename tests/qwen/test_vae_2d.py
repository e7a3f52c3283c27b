"""Single pictures through the video VAE in two dimensions: the same as in three."""

import copy

import torch

from wdlora.qwen.vae_2d import for_stills


def test_single_pictures_give_the_same_latents_and_pixels(parts):
    usual = parts.vae
    quick = for_stills(copy.deepcopy(usual))
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(2, 3, 1, 64, 96, generator=generator) * 2 - 1
    expected = usual.encode(picture).latent_dist.parameters
    # float32 additions in another order, over a few dozen layers
    torch.testing.assert_close(quick.encode(picture).latent_dist.parameters, expected, rtol=1e-4, atol=1e-4)
    latents = torch.randn(2, 16, 1, 8, 12, generator=generator)
    torch.testing.assert_close(quick.decode(latents).sample, usual.decode(latents).sample, rtol=1e-4, atol=1e-4)


def test_videos_come_out_the_same(parts):
    quick = for_stills(copy.deepcopy(parts.vae))
    video = torch.rand(1, 3, 5, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = parts.vae.encode(video).latent_dist.mode()
    assert expected.shape[2] == 2
    torch.testing.assert_close(quick.encode(video).latent_dist.mode(), expected, rtol=1e-4, atol=1e-4)


def test_weights_and_names_stay(parts):
    quick = for_stills(copy.deepcopy(parts.vae))
    assert list(quick.state_dict()) == list(parts.vae.state_dict())
