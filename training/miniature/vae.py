"""The stage `vae`: a planar Qwen-Image VAE, started from a principal component analysis.

A small VAE trained as a plain autoencoder sticks at the mean. Here the encoder first learns to give the 16
whitened principal components of every 8×8 block while the decoder learns to invert them; then both are free and
learn together; at last the encoder rests, so that the next stages can start on its latents, and the decoder
goes on alone, on pictures and masks only.

The loss is a squared error weighted by spatial frequency: most weight lies on wavelengths of lines a few pixels
wide, little on single-pixel grain, which no 16 numbers for 64 pixels can carry anyway. A last round of the decoder
alone gives grain next to none.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.miniature import images
from training.miniature.planar import PlanarVAE
from training.miniature.runner import Budget, progress_of, restore, train
from wdlora.qwen.latents import CHANNELS

BLOCK = 8


@dataclass(frozen=True)
class VAEStage:
    """Shape, data and budget of the stage."""

    base_dim: int = 16
    pictures: int = 2000
    textures: int = 700
    side: int = 160
    standard_pictures: int = 96
    crop: int = 64
    principal_crops: int = 4000
    batch: int = 8
    warm_fraction: float = 0.15
    encoder_fraction: float = 0.5
    latent_noise: float = 0.03
    anchor: float = 0.02
    polish_floor: float = 0.05
    budget: Budget = field(default_factory=lambda: Budget(steps=14000, minutes=70, learning_rate=1.5e-3))
    polish: Budget = field(
        default_factory=lambda: Budget(steps=3000, minutes=11, learning_rate=6e-4, average_decay=0.995)
    )


@dataclass(frozen=True)
class Principal:
    """Whitened principal components of 8×8 blocks: the warm start and the yardstick."""

    mean: Tensor
    axes: Tensor
    scale: Tensor

    def encode(self, x: Tensor) -> Tensor:
        """(B, H, W) → (B, 16, H/8, W/8), each component of unit variance over the data it was fitted on."""
        return (((blocks(x) - self.mean) @ self.axes.T) / self.scale).permute(0, 3, 1, 2)

    def decode(self, z: Tensor) -> Tensor:
        """The linear reconstruction (B, H, W)."""
        return unblocks((z.permute(0, 2, 3, 1) * self.scale) @ self.axes + self.mean)


def blocks(x: Tensor) -> Tensor:
    """(B, H, W) → (B, H/8, W/8, 64)."""
    b, h, w = x.shape
    return x.reshape(b, h // BLOCK, BLOCK, w // BLOCK, BLOCK).transpose(2, 3).reshape(b, h // BLOCK, w // BLOCK, -1)


def unblocks(x: Tensor) -> Tensor:
    """The inverse of `blocks`."""
    b, h, w, _ = x.shape
    return x.reshape(b, h, w, BLOCK, BLOCK).transpose(2, 3).reshape(b, h * BLOCK, w * BLOCK)


def fit_principal(x: Tensor, components: int = CHANNELS) -> Principal:
    """Principal components of the 8×8 blocks of pictures (B, H, W)."""
    rows = blocks(x).reshape(-1, BLOCK * BLOCK).double()
    mean = rows.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((rows - mean).T))
    return Principal(
        mean.float(),
        vectors.T.flip(0)[:components].float().contiguous(),
        values.flip(0)[:components].clamp_min(1e-8).sqrt().float(),
    )


class LinesLoss:
    """Squared error weighted by spatial frequency, on crops of one side.

    The weight is `least` everywhere plus 1 on wavelengths above about 5 px, falling off as a Gaussian in
    frequency; by Parseval its sum over the spectrum is the weighted squared error in pixels. That equals the
    squared error of the responses of a bank of oriented line filters summed over their orientations.
    """

    def __init__(self, side: int, least: float = 0.25, cutoff: float = 0.2):
        fy = torch.fft.fftfreq(side)[:, None]
        fx = torch.fft.rfftfreq(side)[None]
        self.weight = least + torch.exp(-(fy**2 + fx**2) / (2 * (cutoff / 1.2) ** 2))
        self.double = torch.where((fx == 0) | (fx == 0.5), 1.0, 2.0)
        self.pixels = side * side

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(y - x, norm="ortho")
        power = spectrum.real**2 + spectrum.imag**2
        return (power * self.weight * self.double).sum((-1, -2)).mean() / self.pixels


class CropPool:
    """Pictures, their masks and textures in memory (uint8); batches are random crops of them."""

    def __init__(self, stage: VAEStage, seed: int):
        side = stage.side
        drawn = [images.picture(seed * 1_000_003 + k, side, side) for k in range(stage.pictures)]
        self.pictures = _bytes(np.stack([one.image for one in drawn]))
        self.masks = _bytes(np.stack([one.mask for one in drawn]))
        self.textures = _bytes(
            np.stack([images.texture(seed * 1_000_003 + k, side, side) for k in range(stage.textures)])
        )

    def batch(self, rng: np.random.Generator, count: int, side: int, *, textures: bool = True) -> Tensor:
        """(count, side, side) in −1..1: half pictures, a quarter masks, a quarter textures (else pictures too)."""
        sources = (self.pictures, self.masks, self.pictures, self.textures if textures else self.pictures)
        crops = []
        for k in range(count):
            source = sources[k % len(sources)]
            y, x = rng.integers(0, source.shape[-1] - side + 1, 2)
            crops.append(source[rng.integers(len(source)), y : y + side, x : x + side])
        return torch.from_numpy(np.stack(crops)).float() / 127.5 - 1


def _bytes(pictures: np.ndarray) -> np.ndarray:
    return np.round(pictures.astype(np.float32) * 255).astype(np.uint8)


def psnr(x: Tensor, y: Tensor) -> float:
    """Mean over pictures of the peak signal-to-noise ratio in dB, for values in −1..1."""
    return float((-10 * torch.log10(((y.clamp(-1, 1) - x) / 2).pow(2).mean((-1, -2)))).mean())


def early(stage: VAEStage) -> dict[str, float]:
    """The part of the VAE that rests before the end, and when."""
    return {"encoder": stage.encoder_fraction}


def train_vae(folder: Path, stage: VAEStage, seed: int) -> PlanarVAE:
    """Run the stage in `folder` (resumable) and return the averaged VAE."""
    pool = CropPool(stage, seed)
    held_out = CropPool(VAEStage(pictures=8, textures=8, side=128), seed + 1)
    principal = fit_principal(pool.batch(np.random.default_rng(seed), stage.principal_crops, stage.crop))
    torch.manual_seed(seed)
    vae: PlanarVAE = PlanarVAE(stage.base_dim).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    distance = LinesLoss(stage.crop)

    def loss_at(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        resting = progress >= stage.encoder_fraction
        x = pool.batch(np.random.default_rng([seed, step]), stage.batch, stage.crop, textures=not resting)
        target = principal.encode(x)
        with torch.set_grad_enabled(not resting):
            z = vae.encode(x)
        regression = (z - target).pow(2).mean()
        if progress < stage.warm_fraction:
            inverse = distance(x, vae.decode(target + stage.latent_noise * torch.randn_like(target)))
            return 0.1 * regression + inverse, {"regression": regression.item(), "inverse": inverse.item()}
        joint = distance(x, vae.decode(z + stage.latent_noise * torch.randn_like(z)))
        moments = z.mean((0, 2, 3)).pow(2).mean() + (z.pow(2).mean((0, 2, 3)) - 1).pow(2).mean()
        pull = stage.anchor * (0.1 * regression + 0.1 * moments)
        return joint + 0.05 * pull, {"joint": joint.item(), "drift": regression.item()}

    def evaluate(average: Any) -> str:
        with torch.no_grad():
            words = []
            for name in ("pictures", "masks", "textures"):
                x = torch.from_numpy(getattr(held_out, name)).float() / 127.5 - 1
                linear = principal.decode(principal.encode(x))
                z = average.encode(x)
                words.append(f"{name} {psnr(x, average.decode(z)):.2f} pca {psnr(x, linear):.2f} std {z.std():.2f}")
        return ", ".join(words)

    vae = train(folder, vae, loss_at, stage.budget, seed=seed, evaluate=evaluate, early=early(stage))
    decoder = vae.decoder.requires_grad_(True)
    focused = LinesLoss(stage.crop, stage.polish_floor)

    def polish_at(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        x = pool.batch(np.random.default_rng([seed, 4, step]), stage.batch, stage.crop, textures=False)
        with torch.no_grad():
            z = vae.encode(x)
        return focused(x, vae.decode(z + 0.3 * stage.latent_noise * torch.randn_like(z))), {}

    vae.decoder = train(folder / "polish", decoder, polish_at, stage.polish, seed=seed)
    return vae


def restore_vae(folder: Path, stage: VAEStage) -> PlanarVAE:
    """The VAE as far as it has been trained in `folder`."""
    vae: PlanarVAE = restore(folder, PlanarVAE(stage.base_dim), early(stage))  # type: ignore[assignment]
    if progress_of(folder / "polish", stage.polish):
        restore(folder / "polish", vae.decoder)
    return vae
