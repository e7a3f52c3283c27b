"""The objective against values worked out by hand."""

import dataclasses
import math

import pytest
import torch

from training.config import TrainingConfig
from training.objective import flow_loss, interpolate, noise_levels, token_weights


def test_token_weights_of_a_single_pixel_and_a_full_block():
    mask = torch.zeros(1, 32, 48)
    mask[0, 3, 5] = 1  # 1/64 of the first 8×8 block, in token (0, 0)
    mask[0, 16:24, 24:32] = 1  # one whole block of token (1, 1)
    weights = token_weights(mask, 2.0, 1.0).view(2, 3)
    expected = torch.tensor([[1 + 1 / 64, 1, 1], [1, 2, 1]])
    assert torch.equal(weights, expected)


def test_the_loss_is_the_weighted_mean_without_renormalisation():
    latents, noise = torch.zeros(1, 2, 4), torch.ones(1, 2, 4)
    prediction = torch.tensor([[[3.0] * 4, [1.0] * 4]])  # errors 2 and 0
    loss = flow_loss(prediction, latents, noise, torch.tensor([[2.0, 1.0]]))
    assert loss.item() == pytest.approx((2 * 4 + 0) / 2)


def test_interpolation_ends_at_data_and_noise():
    z, n = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    assert torch.equal(interpolate(z, n, torch.zeros(2)), z)
    assert torch.equal(interpolate(z, n, torch.ones(2)), n)


def levels(**changes):
    config = dataclasses.replace(TrainingConfig(), **changes)
    return noise_levels(200_000, config, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("normal", [-1.0, 0.0, 1.0])
def test_densities_have_their_closed_form_quantiles(normal):
    """Quantiles in closed form; the sampling error of one of 2·10⁵ draws is below .003."""
    share = 0.5 * (1 + math.erf(normal / math.sqrt(2)))
    assert levels().quantile(share).item() == pytest.approx(share, abs=0.005)
    for mean, std in ((0.5, 1.0), (-0.3, 0.5), (0.0, 2.0)):
        drawn = levels(timesteps="logit_normal", timestep_mean=mean, timestep_std=std)
        plain = 1 / (1 + math.exp(-(mean + std * normal)))
        assert drawn.quantile(share).item() == pytest.approx(plain, abs=0.005)
        shifted = levels(timesteps="shifted", timestep_mean=mean, timestep_std=std, timestep_shift=3.0)
        assert shifted.quantile(share).item() == pytest.approx(3 * plain / (1 + 2 * plain), abs=0.005)
