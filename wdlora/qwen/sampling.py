"""Sampling: rectified-flow ordinary differential equations on ComfyUI's schedules.

The functions know tensors and one callable, `denoise(x, sigma) -> denoised`, where `x` is [B, 16, 1, h, w],
`sigma` is float32 [B] and the result is the model's estimate of the clean latents. So the same ten lines
serve diffusers here, the embedded host's KSampler, and tests with a closed form.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from ..errors import InputError

Denoise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Callback = Callable[[int, int, torch.Tensor, torch.Tensor], None]


@dataclass(frozen=True)
class Sampling:
    """How a picture is sampled; the defaults are the official workflow's of the first Qwen-Image-Edit.

    `steps` of the `simple` schedule; `cfg`: guidance scale, 1 is none; `shift` of ModelSamplingAuraFlow; `norm`:
    strength of CFGNorm, None for plain guidance; `sampler`: one of `SAMPLERS`.
    """

    steps: int = 20
    cfg: float = 2.5
    shift: float = 3.0
    norm: float | None = 1.0
    sampler: str = "euler"

    def guided_by(self, cfg: float) -> "Sampling":
        """The same at another guidance scale; at 1 nothing is guided, so nothing is kept from growing either."""
        return replace(self, cfg=cfg, norm=None if cfg == 1 else self.norm)


OFFICIAL = {
    "edit": Sampling(steps=20, cfg=2.5, shift=3.0),
    "2509": Sampling(steps=20, cfg=4.0, shift=3.0),
    "2511": Sampling(steps=40, cfg=4.0, shift=3.1),
}
"""The official ComfyUI workflow of each model."""


def auraflow_table(shift: float, count: int = 1000) -> torch.Tensor:
    """The model's noise levels, ascending, float32 [count], under ComfyUI's ModelSamplingAuraFlow.

    σ(t) = shift·t / (1 + (shift − 1)·t) at t = 1/count … 1 (the shift of Esser et al. 2024, Eq. 23).
    """
    if not (math.isfinite(shift) and shift > 0):
        raise InputError(f"the shift must be a positive number, not {shift:g}")
    t = torch.arange(1, count + 1, 1) / count
    return t if shift == 1.0 else shift * t / (1 + (shift - 1) * t)


def flux_table(shift: float = 1.15, count: int = 10000) -> torch.Tensor:
    """The noise levels of Qwen-Image in ComfyUI where no ModelSamplingAuraFlow node changes them.

    σ(t) = e^shift / (e^shift + 1/t − 1) at t = 1/count … 1.
    """
    t = torch.arange(1, count + 1, 1) / count
    return math.exp(shift) / (math.exp(shift) + (1 / t - 1))


def simple_schedule(table: torch.Tensor, steps: int, denoise: float = 1.0) -> torch.Tensor:
    """ComfyUI's `simple` scheduler: `steps` + 1 descending noise levels from `table`, the last one 0.

    Below 1, `denoise` skips the first part of a schedule of int(steps / denoise) steps, as KSampler does.
    """
    if steps < 1:
        raise InputError(f"sampling needs at least one step, not {steps}")
    if not 0 < denoise <= 1:
        raise InputError(f"denoise must lie above 0 and not above 1, but is {denoise:g}")
    total = steps if denoise > 0.9999 else int(steps / denoise)
    stride = len(table) / total
    levels = [float(table[-(1 + int(i * stride))]) for i in range(total)] + [0.0]
    return torch.tensor(levels, dtype=torch.float32)[-(steps + 1) :]


def sigmas(steps: int, shift: float, denoise: float = 1.0) -> torch.Tensor:
    """The schedule of the official workflows: `simple` after ModelSamplingAuraFlow(shift)."""
    return simple_schedule(auraflow_table(shift), steps, denoise)


def initial_noise(shape: tuple[int, ...] | torch.Size, seed: int) -> torch.Tensor:
    """Gaussian noise float32 of the latents' shape, drawn on the CPU as ComfyUI's KSampler draws it.

    One generator for the whole batch; the global generator is left alone.
    """
    if not 0 <= seed < 2**64:
        raise InputError(f"the seed must lie between 0 and 2^64 − 1, but is {seed}")
    generator = torch.Generator(device="cpu").manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")


def noised(noise: torch.Tensor, sigma: torch.Tensor, latents: torch.Tensor | None = None) -> torch.Tensor:
    """Start of the path: σ·noise + (1 − σ)·latents (empty latents are zero)."""
    start = sigma * noise
    return start if latents is None else start + (1.0 - sigma) * latents


def guided(positive: Denoise, negative: Denoise | None, cfg: float, norm: float | None = None) -> Denoise:
    """Classifier-free guidance (Ho & Salimans 2022) on the clean estimates, as ComfyUI computes it.

    At cfg 1 the negative is not evaluated. With `norm` (CFGNorm's strength, 1.0 in the official workflows)
    each latent pixel of the guided estimate is scaled down to the conditional one's norm over channels, never
    up.
    """

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        with_prompt = positive(x, sigma)
        if negative is None or math.isclose(cfg, 1.0):
            result = with_prompt
        else:
            without = negative(x, sigma)
            result = without + (with_prompt - without) * cfg
        if norm is None:
            return result
        wanted = torch.linalg.vector_norm(with_prompt, dim=1, keepdim=True)
        present = torch.linalg.vector_norm(result, dim=1, keepdim=True)
        return result * (wanted / (present + 1e-8)).clamp(0.0, 1.0) * norm

    return denoise


def euler(denoise: Denoise, x: torch.Tensor, sigmas: torch.Tensor, callback: Callback | None = None) -> torch.Tensor:
    """Euler's method (Karras et al. 2022, Algorithm 2 without churn)."""
    for i in range(len(sigmas) - 1):
        slope = _slope(denoise, x, sigmas, i, callback)
        x = x + slope * (sigmas[i + 1] - sigmas[i])
    return x


def heun(denoise: Denoise, x: torch.Tensor, sigmas: torch.Tensor, callback: Callback | None = None) -> torch.Tensor:
    """Heun's method (Karras et al. 2022, Algorithm 2): two evaluations a step, one in the last."""
    for i in range(len(sigmas) - 1):
        slope = _slope(denoise, x, sigmas, i, callback)
        step = sigmas[i + 1] - sigmas[i]
        if sigmas[i + 1] > 0:
            slope = (slope + _slope(denoise, x + slope * step, sigmas, i + 1)) / 2
        x = x + slope * step
    return x


def _slope(
    denoise: Denoise, x: torch.Tensor, sigmas: torch.Tensor, i: int, callback: Callback | None = None
) -> torch.Tensor:
    """dx/dσ = (x − denoised)/σ at the noise level i; the callback sees the estimate."""
    denoised = denoise(x, sigmas[i].expand(x.shape[0]))
    slope = (x - denoised) / sigmas[i]
    if callback is not None:
        callback(i, len(sigmas) - 1, denoised, x)
    return slope


SAMPLERS = {"euler": euler, "heun": heun}


def sample(
    denoise: Denoise,
    noise: torch.Tensor,
    sigmas: torch.Tensor,
    callback: Callback | None = None,
    *,
    latents: torch.Tensor | None = None,
    sampler: str = "euler",
) -> torch.Tensor:
    """Walk from noise to clean latents.

    `noise`: float32 [B, 16, 1, h, w]; `sigmas`: descending noise levels [steps + 1]; `latents`: what is
    noised first when the schedule starts below 1. `callback(i, steps, denoised, x)` is called before each
    step is taken, for progress, previews, and interruption: what it raises ends the sampling.
    """
    if sampler not in SAMPLERS:
        raise InputError(f"the sampler {sampler!r} is not known: use one of {', '.join(SAMPLERS)}")
    sigmas = sigmas.to(noise.device)
    x = noised(noise, sigmas[0], latents)
    x = SAMPLERS[sampler](denoise, x, sigmas, callback)
    return x / (1.0 - sigmas[-1])
