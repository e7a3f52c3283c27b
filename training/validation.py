"""The validation loss: the flow-matching loss of held-out views, at fixed noise and fixed noise levels."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from training.cache import Cache
from training.config import TrainingConfig
from training.objective import flow_loss, interpolate, token_weights
from training.prepare import EncodedView, load_batch
from wdlora.qwen.denoiser import transformer_dtype, velocity
from wdlora.qwen.latents import pack
from wdlora.qwen.sampling import initial_noise

Item = TypeVar("Item")

LEVELS = (0.15, 0.4, 0.65, 0.9)
"""Noise levels at which the loss is taken."""

VIEWS = 48
"""The loss is taken on so many views at most, evenly taken."""


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """`count` of the items, or all where there are fewer, at equal distances."""
    count = min(count, len(items))
    return [items[number * len(items) // count] for number in range(count)]


def fixed_noise(shape: torch.Size, number: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Noise [4, 16, 1, h, w] of the picture `number` with latents [1, 16, 1, h, w], and the `LEVELS` [4].

    The same at every call: what two models or prompts lose on it can be compared.
    """
    seeds = range(1000 * number, 1000 * number + len(LEVELS))
    noise = torch.cat([initial_noise(shape, seed) for seed in seeds]).to(device)
    return noise, torch.tensor(LEVELS, device=device)


@torch.no_grad()
def validation_loss(
    transformer: Any,
    views: list[EncodedView],
    cache: Cache,
    config: TrainingConfig,
    device: torch.device | str = "cpu",
    watch: Callable[[], None] = lambda: None,
) -> float:
    """Mean weighted loss at `LEVELS`, on at least one view and at most `VIEWS`.

    `watch` is called before every view and may raise to end it.
    """
    losses = []
    for number, view in enumerate(evenly(views, VIEWS)):
        watch()
        batch = load_batch(cache, [view], ["plain"]).to(torch.device(device), transformer_dtype(transformer))
        noise, sigma = fixed_noise(batch.target.shape, number, device)
        clean = batch.target.expand_as(noise)
        x = interpolate(clean, noise, sigma)
        prediction = velocity(transformer, x, sigma, batch.conditioning, batch.references)
        weights = token_weights(batch.nerves, config.foreground_weight, config.background_weight)
        losses.append(flow_loss(pack(prediction), pack(clean), pack(noise), weights.expand(len(sigma), -1)).item())
    return float(np.mean(losses))
