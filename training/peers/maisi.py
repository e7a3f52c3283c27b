"""MAISI-2D: an autoencoder, a diffusion U-Net on its latents, and a ControlNet that reads the mask."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.peers.adversary import Adversary, Remade, advance_both
from training.peers.data import PeerBatch
from training.peers.lesson import Peer, PeerLesson, check_monai
from training.peers.recipe import ENCODER_PATCHES, MaisiRecipe

GROUPS = 8
"""Of the group norms."""

HEAD = 32
"""Channels of a head of attention."""

BETAS = {"schedule": "scaled_linear_beta", "beta_start": 0.0015, "beta_end": 0.0195}
"""The noise of MAISI's own configuration."""

SCALED_BY = 4
"""The latents' deviation is taken over so many batches."""


class Maisi(Peer):
    """MONAI's AutoencoderKL, DiffusionModelUNetMaisi and ControlNetMaisi in two dimensions; cohorts are classes.

    MAISI's own autoencoder is for volumes alone, and its perceptual loss needs weights that are fetched from the
    network: the general autoencoder and feature matching stand in their place, a departure. Latents are divided by
    their deviation, as in MAISI.
    """

    painting = ("autoencoder.decoder.", "autoencoder.post_quant_conv.", "unet.", "control.", "deviation")
    deviation: Tensor

    def __init__(self, recipe: MaisiRecipe, cohorts: int) -> None:
        check_monai()
        super().__init__()
        self.recipe = recipe
        self.autoencoder = _autoencoder(recipe)
        self.adversary = Adversary(*ENCODER_PATCHES, max(8, recipe.encoder_channels[0]), 1, recipe.size)
        self.unet, self.control = _diffusion(recipe, cohorts)
        self.register_buffer("deviation", torch.ones(()))

    def lessons(self) -> list[PeerLesson]:
        """The autoencoder; the U-Net, with or without the ControlNet; the ControlNet on the frozen U-Net."""
        recipe = self.recipe
        first = [
            (list(self.autoencoder.parameters()), recipe.encoder_rate),
            (list(self.adversary.parameters()), recipe.encoder_rate),
        ]
        unet, control = list(self.unet.parameters()), list(self.control.parameters())
        found = [PeerLesson("autoencoder", recipe.encoder_steps, first, self.reconstruct)]
        if recipe.control == "together":
            return [
                *found,
                PeerLesson("diffusion", recipe.steps, [(unet + control, recipe.learning_rate)], self.denoise),
            ]
        found.append(PeerLesson("diffusion", recipe.steps, [(unet, recipe.learning_rate)], self.denoise_freely))
        return [*found, PeerLesson("control", recipe.control_steps, [(control, recipe.learning_rate)], self.denoise)]

    @torch.no_grad()
    def begin(self, lesson: str, batches: Callable[[int], PeerBatch]) -> None:
        """Measure the latents' deviation before the diffusion; the ControlNet begins as the U-Net that is frozen."""
        if lesson == "diffusion":
            device = self.deviation.device
            latents = [self.autoencoder.encode(batches(step).images.to(device))[0] for step in range(SCALED_BY)]
            self.deviation.copy_(torch.cat(latents).std())
        if lesson == "control":
            self.control.load_state_dict(self.unet.state_dict(), strict=False)

    def reconstruct(self, batch: PeerBatch, optimiser: torch.optim.Optimizer) -> dict[str, float]:
        """A step of the discriminator, then one of the autoencoder."""
        recipe = self.recipe
        made, mean, deviation = self.autoencoder(batch.images)
        weights = {
            "pixels": 1.0,
            "fooling": recipe.adversarial_weight,
            "features": recipe.feature_weight,
            "kl": recipe.kl_weight,
        }
        return advance_both(self.adversary, Remade(batch.images, made, mean, 2 * deviation.log()), weights, optimiser)

    def denoise(self, batch: PeerBatch, optimiser: torch.optim.Optimizer) -> dict[str, float]:
        """A step on the noise of the latents, under the mask."""
        return self._step(batch, optimiser, batch.masks)

    def denoise_freely(self, batch: PeerBatch, optimiser: torch.optim.Optimizer) -> dict[str, float]:
        """A step on the noise of the latents, without a mask."""
        return self._step(batch, optimiser, None)

    def _step(self, batch: PeerBatch, optimiser: torch.optim.Optimizer, masks: Tensor | None) -> dict[str, float]:
        """Mean squared error of the predicted noise (DDPM, Ho et al. 2020)."""
        with torch.no_grad():
            clean = self.autoencoder.encode(batch.images)[0] / self.deviation
            levels = torch.randint(0, self.recipe.timesteps, (len(clean),)).to(clean.device)
            noise = torch.randn(clean.shape).to(clean.device)
            noisy = _scheduler(self.recipe).add_noise(clean, noise, levels)
        loss = F.mse_loss(self.predicted(noisy, levels, batch.cohorts, masks), noise)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return {"loss": loss.item()}

    def predicted(self, noisy: Tensor, levels: Tensor, cohorts: Tensor, masks: Tensor | None) -> Tensor:
        """The noise in latents [n, c, h, w] at `levels` [n], under masks [n, 1, H, W] or none."""
        if masks is None:
            return self.unet(noisy, levels, class_labels=cohorts)
        down, middle = self.control(noisy, levels, 2 * masks - 1, class_labels=cohorts)
        return self.unet(
            noisy,
            levels,
            class_labels=cohorts,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        )

    @torch.no_grad()
    def paint(self, mask: NDArray[np.bool_], cohort: int, generator: torch.Generator) -> Tensor:
        """A picture, painted as a whole; beyond its edges the mask is continued by its mirror image."""
        recipe, device, (height, width) = self.recipe, self.deviation.device, mask.shape
        beyond = [(0, -length % recipe.multiple) for length in mask.shape]
        whole = torch.from_numpy(np.pad(mask, beyond, mode="symmetric").astype(np.float32))[None, None].to(device)
        labels = torch.tensor([cohort], device=device)
        shape = (1, recipe.latent, whole.shape[2] // recipe.shrink, whole.shape[3] // recipe.shrink)
        latent = torch.randn(shape, generator=generator).to(device)
        scheduler = _scheduler(recipe)
        for level in sampled_levels(scheduler, recipe):
            noise = self.predicted(latent, torch.tensor([level], device=device), labels, whole)
            latent, _ = scheduler.step(noise, level, latent, generator=generator)
        return self.autoencoder.decode(latent * self.deviation)[0, 0, :height, :width].cpu()


def sampled_levels(scheduler: Any, recipe: MaisiRecipe) -> list[int]:
    """The noise levels of a sampling, evenly spaced from the last one down.

    MONAI's own list for DDIM spaces them by (T − 1)/(n − 1), while a step goes T // n down: its steps miss one another.
    """
    scheduler.set_timesteps(recipe.sampler_steps)
    return [
        recipe.timesteps - 1 - number * (recipe.timesteps // recipe.sampler_steps)
        for number in range(recipe.sampler_steps)
    ]


def _scheduler(recipe: MaisiRecipe) -> Any:
    """The noise schedule, as the recipe samples."""
    from monai.networks.schedulers import DDIMScheduler, DDPMScheduler

    kind = DDPMScheduler if recipe.sampler == "ddpm" else DDIMScheduler
    return kind(num_train_timesteps=recipe.timesteps, clip_sample=False, **BETAS)


def _autoencoder(recipe: MaisiRecipe) -> Any:
    from monai.networks.nets import AutoencoderKL

    levels = len(recipe.encoder_channels)
    return AutoencoderKL(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        num_res_blocks=(1,) * levels,
        channels=recipe.encoder_channels,
        attention_levels=(False,) * levels,
        latent_channels=recipe.latent,
        norm_num_groups=GROUPS,
        with_encoder_nonlocal_attn=False,
        with_decoder_nonlocal_attn=False,
    )


def _diffusion(recipe: MaisiRecipe, cohorts: int) -> tuple[Any, Any]:
    """U-Net and ControlNet of the same shape; attention on the coarsest levels."""
    from monai.apps.generation.maisi.networks.controlnet_maisi import ControlNetMaisi
    from monai.apps.generation.maisi.networks.diffusion_model_unet_maisi import DiffusionModelUNetMaisi

    levels = len(recipe.channels)
    shared: dict[str, Any] = {
        "spatial_dims": 2,
        "in_channels": recipe.latent,
        "num_res_blocks": (recipe.blocks,) * levels,
        "num_channels": recipe.channels,
        "attention_levels": tuple(level >= levels - recipe.attention for level in range(levels)),
        "norm_num_groups": GROUPS,
        "num_head_channels": HEAD,
        "num_class_embeds": cohorts,
    }
    halved = tuple(recipe.encoder_channels[0] * 2**level for level in range(len(recipe.encoder_channels)))
    control = ControlNetMaisi(
        conditioning_embedding_in_channels=1,
        conditioning_embedding_num_channels=halved,  # each but the last halves the mask once
        use_checkpointing=False,
        **shared,
    )

    class Unet(DiffusionModelUNetMaisi):
        """Adds the ControlNet's part to copies: in place it would change what the gradient of the U-Net needs."""

        def _apply_down_blocks(self, h: Tensor, emb: Tensor, context: Any, down_block_additional_residuals: Any) -> Any:
            h, kept = super()._apply_down_blocks(h, emb, context, None)
            if down_block_additional_residuals is not None:
                kept = [one + other for one, other in zip(kept, down_block_additional_residuals, strict=True)]
            return h, kept

    return Unet(out_channels=recipe.latent, **shared), control
