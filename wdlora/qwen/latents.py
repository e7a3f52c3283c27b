"""Latents: pictures through the VAE and back, and the transformer's packing.

A mask, a reference, a target and the output share one pixel grid here: nothing is rescaled, and a size that
the model cannot take is refused. Latents are [B, 16, 1, h, w] with h = height / 8, normalised by the VAE's
mean and standard deviation (`latent_statistics`); packed they are [B, (h/2)·(w/2), 64].
"""

from collections.abc import Sequence
from typing import Any

import torch

from ..errors import InputError
from .memory import execution_device
from .pixels import GRID, as_picture

SCALE = 8  # pixels a side of a latent cell
CHANNELS = 16

LATENT_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
LATENT_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip
"""What was published with the VAE of Wan 2.1 (Wan Team 2025), which is Qwen-Image's."""


def latent_shape(height: int, width: int, batch: int = 1) -> tuple[int, int, int, int, int]:
    """Shape of the latents of a picture; both sides must be multiples of 32 pixels."""
    check_size(height, width)
    return batch, CHANNELS, 1, height // SCALE, width // SCALE


def check_size(height: int, width: int) -> None:
    """Raise InputError unless both sides are positive multiples of 32 pixels."""
    if height < GRID or width < GRID or height % GRID or width % GRID:
        raise InputError(
            f"a picture of {width}×{height} pixels does not fit the model's grid: both sides must be "
            f"multiples of {GRID} (pixels.pad_to_grid adds the missing rows and columns)"
        )


@torch.no_grad()
def encode_image(vae: Any, picture: Any) -> torch.Tensor:
    """Encode pictures to normalised latents, float32 [B, 16, 1, H/8, W/8], without sampling noise.

    `vae`: AutoencoderKLQwenImage; `picture`: what `pixels.as_picture` takes, sides multiples of 32.
    z = (mode of the posterior − mean) / std.
    """
    image = as_picture(picture)
    check_size(*image.shape[-2:])
    pixels = (image * 2 - 1).unsqueeze(2).to(execution_device(vae), next(vae.parameters()).dtype)
    latents = vae.encode(pixels).latent_dist.mode().float()
    mean, std = (one.to(latents.device) for one in latent_statistics(vae))
    return (latents - mean) / std


@torch.no_grad()
def decode_latents(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Decode normalised latents [B, 16, 1, h, w] to pictures, float32 [B, 3, 8·h, 8·w] in [0, 1]."""
    mean, std = (one.to(latents.device) for one in latent_statistics(vae))
    values = (latents.float() * std + mean).to(execution_device(vae), next(vae.parameters()).dtype)
    pixels = vae.decode(values, return_dict=False)[0][:, :, 0].float()
    return ((pixels + 1) / 2).clamp(0, 1)


def latent_statistics(vae: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the latents' channels, each float32 [1, 16, 1, 1, 1] on the CPU.

    As a VAE's configuration states them; without one, those published for Qwen-Image's.
    """
    mean = LATENT_MEAN if vae is None else vae.config.latents_mean
    std = LATENT_STD if vae is None else vae.config.latents_std
    return torch.tensor(mean).view(1, -1, 1, 1, 1), torch.tensor(std).view(1, -1, 1, 1, 1)


def check_batch(latents: int, given: int, name: str) -> None:
    """Raise InputError unless a batch of latents is one or more times the batch of the conditioning called `name`.

    Then each round of latents begins again at the first of the conditioning; otherwise some masks would be painted more
    often than others, or not at all.
    """
    if latents % given:
        raise InputError(
            f"the latents are a batch of {latents}, but the {name} conditioning is one of {given}: link the LATENT of "
            "the same CCM Conditioning, or repeat it a whole number of times"
        )


def pack(latents: torch.Tensor) -> torch.Tensor:
    """Latents [B, C, 1, h, w] as tokens [B, (h/2)·(w/2), 4·C], each a 2×2 square of cells."""
    batch, channels, _, height, width = latents.shape
    squares = latents.reshape(batch, channels, height // 2, 2, width // 2, 2)  # B, C, row, y, column, x
    tokens = squares.permute(0, 2, 4, 1, 3, 5)  # B, row, column, C, y, x
    return tokens.reshape(batch, height * width // 4, channels * 4)


def unpack(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Undo `pack` for latents of `height` × `width` cells."""
    batch, _, width_of_token = tokens.shape
    channels = width_of_token // 4
    squares = tokens.reshape(batch, height // 2, width // 2, channels, 2, 2)  # B, row, column, C, y, x
    cells = squares.permute(0, 3, 1, 4, 2, 5)  # B, C, row, y, column, x
    return cells.reshape(batch, channels, 1, height, width)


def image_shapes(latents: Sequence[torch.Tensor], batch: int) -> list[list[tuple[int, int, int]]]:
    """The transformer's `img_shapes`: for each sample the (frames, rows, columns) in tokens of each latent.

    The first is the target, the others are references. diffusers reads only the first sample's entry, so a
    batch holds one size only.
    """
    sizes = [(1, latent.shape[-2] // 2, latent.shape[-1] // 2) for latent in latents]
    return [sizes] * batch


def check_registered(target: Sequence[int], references: Sequence[torch.Tensor]) -> None:
    """Raise InputError unless every reference latent has the target's rows and columns.

    Positions are centred, so a reference of another size would be misaligned with the output.
    """
    for reference in references:
        if tuple(reference.shape[-2:]) != tuple(target[-2:]):
            raise InputError(
                f"a reference of {reference.shape[-1] * SCALE}×{reference.shape[-2] * SCALE} pixels does not "
                f"lie on the output's grid of {target[-1] * SCALE}×{target[-2] * SCALE}: give both one size"
            )
