"""The training objective: rectified flow on latents, weighted by the nerve mask.

Shapes: B images, N = (H/16)·(W/16) tokens of C = 64 values (2×2 packed latents of 16 channels).
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from training.config import TrainingConfig
from training.prepare import Batch
from wdlora.qwen.denoiser import velocity
from wdlora.qwen.latents import pack


def token_weights(mask: Tensor, foreground: float, background: float) -> Tensor:
    """Loss weight of every token, from masks of shape [B, H, W] with values 0 to 1; returns [B, N].

    The paper's trainer averages the mask over the VAE's 8×8 blocks, takes the largest of each 2×2 pack and
    mixes the two weights by it, without renormalising. A one-pixel line through a block hence counts 1/8.
    """
    share = F.max_pool2d(F.avg_pool2d(mask.float()[:, None], 8), 2).flatten(1)
    return share * foreground + (1 - share) * background


def noise_levels(count: int, config: TrainingConfig, generator: torch.Generator) -> Tensor:
    """Draw σ in (0, 1) from the configured density; float32 [count].

    `logit_normal` and `shifted` are the densities of Esser et al. 2024 (section 3.1, Eq. 19; and the
    resolution shift, Eq. 23, with the factor given directly).
    """
    if config.timesteps == "uniform":
        return torch.rand(count, generator=generator)
    normal = torch.randn(count, generator=generator) * config.timestep_std + config.timestep_mean
    sigma = torch.sigmoid(normal)
    if config.timesteps == "shifted":
        shift = config.timestep_shift
        sigma = shift * sigma / (1 + (shift - 1) * sigma)
    return sigma


def interpolate(latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """x_σ = (1 − σ)·z + σ·n for latents of any shape [B, …] and σ [B]."""
    level = sigma.to(latents.dtype).view(-1, *[1] * (latents.ndim - 1))
    return (1 - level) * latents + level * noise


def flow_loss(prediction: Tensor, latents: Tensor, noise: Tensor, weights: Tensor) -> Tensor:
    """Mean of w·(v̂ − (n − z))² over tokens [B, N, C] with weights [B, N], in float32."""
    error = prediction.float() - (noise.float() - latents.float())
    return (error.square() * weights.float()[..., None]).mean()


def batch_loss(transformer: Any, batch: Batch, config: TrainingConfig, generator: torch.Generator) -> Tensor:
    """The objective of one batch, with noise and noise levels drawn from `generator` on the CPU."""
    device = batch.target.device
    sigma = noise_levels(len(batch.target), config, generator).to(device)
    noise = torch.randn(batch.target.shape, generator=generator).to(device)
    x = interpolate(batch.target, noise, sigma)
    prediction = velocity(transformer, x, sigma, batch.conditioning, batch.references)
    weights = token_weights(batch.nerves, config.foreground_weight, config.background_weight)
    return flow_loss(pack(prediction), pack(batch.target), pack(noise), weights)
