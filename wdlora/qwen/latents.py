"""Latents: pictures through the VAE and back, and the transformer's packing.

A mask, a reference, a target and the output share one pixel grid here: nothing is rescaled, and a size that
the model cannot take is refused. Latents are [B, 16, 1, h, w] with h = height / 8, normalised by the VAE's
published mean and standard deviation (that of Wan 2.1); packed they are [B, (h/2)·(w/2), 64].
"""

from collections.abc import Sequence
from typing import Any

import torch

from ..errors import InputError
from .memory import execution_device
from .pixels import GRID, as_image

SCALE = 8  # pixels a side of a latent cell
CHANNELS = 16


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

    `vae`: AutoencoderKLQwenImage; `picture`: what `pixels.as_image` takes, sides multiples of 32.
    z = (mode of the posterior − mean) / std.
    """
    image = as_image(picture)
    check_size(*image.shape[-2:])
    pixels = (image * 2 - 1).unsqueeze(2).to(execution_device(vae), next(vae.parameters()).dtype)
    latents = vae.encode(pixels).latent_dist.mode().float()
    mean, std = _statistics(vae, latents)
    return (latents - mean) / std


@torch.no_grad()
def decode_latents(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Decode normalised latents [B, 16, 1, h, w] to pictures, float32 [B, 3, 8·h, 8·w] in [0, 1]."""
    mean, std = _statistics(vae, latents)
    values = (latents.float() * std + mean).to(execution_device(vae), next(vae.parameters()).dtype)
    pixels = vae.decode(values, return_dict=False)[0][:, :, 0].float()
    return ((pixels + 1) / 2).clamp(0, 1)


def _statistics(vae: Any, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = torch.tensor(vae.config.latents_mean, device=like.device).view(1, -1, 1, 1, 1)
    std = torch.tensor(vae.config.latents_std, device=like.device).view(1, -1, 1, 1, 1)
    return mean, std


def pack(latents: torch.Tensor) -> torch.Tensor:
    """Latents [B, C, 1, h, w] as tokens [B, (h/2)·(w/2), 4·C], each a 2×2 square of cells."""
    batch, channels, _, height, width = latents.shape
    squares = latents.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return squares.permute(0, 2, 4, 1, 3, 5).reshape(batch, height * width // 4, channels * 4)


def unpack(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Undo `pack` for latents of `height` × `width` cells."""
    batch, _, width_of_token = tokens.shape
    channels = width_of_token // 4
    squares = tokens.reshape(batch, height // 2, width // 2, channels, 2, 2)
    return squares.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, 1, height, width)


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
