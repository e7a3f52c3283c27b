"""The transformer as a function of noisy latents: one forward for training and for sampling."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from .encode import Conditioning
from .latents import check_registered, image_shapes, pack, unpack
from .sampling import Denoise


def velocity(
    transformer: Any,
    x: torch.Tensor,
    sigma: torch.Tensor,
    conditioning: Conditioning,
    references: Sequence[torch.Tensor],
) -> torch.Tensor:
    """The transformer's estimate of noise − latents at a point of the path.

    `x`: noisy latents [B, 16, 1, h, w]; `sigma`: [B] in [0, 1]; `references`: normalised latents of the mask
    and of an optional reference image, each [B or 1, 16, 1, h, w] on the target's grid. Returns float32 in
    the shape of `x`. Differentiable; computes in the type of the transformer.
    """
    check_registered(x.shape, references)
    batch = x.shape[0]
    dtype = transformer_dtype(transformer)
    parts = [x, *(reference.expand(batch, -1, -1, -1, -1) for reference in references)]
    tokens = [pack(part.to(x.device, dtype)) for part in parts]
    conditioning = conditioning.repeat(batch).to(x.device, dtype)
    sigma = sigma.to(x.device, torch.float32)
    with exact_timesteps(transformer, sigma):
        output = transformer(
            hidden_states=torch.cat(tokens, dim=1),
            timestep=sigma,
            encoder_hidden_states=conditioning.embeds,
            encoder_hidden_states_mask=conditioning.mask,
            img_shapes=image_shapes(parts, batch),
            return_dict=False,
        )[0]
    return unpack(output[:, : tokens[0].shape[1]].float(), *x.shape[-2:])


def denoiser(transformer: Any, conditioning: Conditioning, references: Sequence[torch.Tensor]) -> Denoise:
    """Wrap a transformer for `sampling.sample`: latents ≈ x − σ·velocity (Lipman et al. 2023)."""

    @torch.no_grad()
    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return x - sigma.view(-1, 1, 1, 1, 1) * velocity(transformer, x, sigma, conditioning, references)

    return denoise


def transformer_dtype(transformer: Any) -> torch.dtype:
    """The type in which a transformer computes: that of its normalisation, which is never quantised."""
    for name, parameter in transformer.named_parameters():
        if name.endswith("txt_norm.weight"):
            return parameter.dtype
    return next(transformer.parameters()).dtype


@contextmanager
def exact_timesteps(transformer: Any, sigma: torch.Tensor) -> Iterator[None]:
    """Let the transformer embed σ in float32, as ComfyUI does.

    diffusers first rounds the timestep, and then the frequencies, to the compute type: in bfloat16 σ = .9 is
    off by up to 2 radians at the highest frequency, so that what was trained is not what is painted.
    """
    projection = next(
        module for name, module in transformer.named_modules() if name.endswith("time_text_embed.time_proj")
    )

    def replace(_module: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        (rounded,) = arguments
        exact = torch.cat([sigma, torch.zeros_like(sigma)]) if rounded.shape[0] == 2 * sigma.shape[0] else sigma
        return (exact,)

    handle = projection.register_forward_pre_hook(replace)
    try:
        yield
    finally:
        handle.remove()
