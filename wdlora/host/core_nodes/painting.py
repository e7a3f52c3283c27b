"""Latents painted under two CONDITIONINGs along a schedule: what both of ComfyUI's KSamplers do."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from ..engine import HostModel
from ..pack import engine_module
from ..preview import Previewer

if TYPE_CHECKING:
    from torch import Tensor

_KNOWN_CONDITIONS = {
    "attention_mask",
    "pooled_output",
    "reference_latents",
    "reference_latents_method",
    "registered",  # which asks for what this host does always
}


@dataclass(frozen=True)
class Painting:
    """What is painted, and how. seed: of the noise, None for none (what is given is noisy already)."""

    model: HostModel
    positive: list
    negative: list
    latent_image: dict[str, Any]
    cfg: float
    sampler: str
    seed: int | None

    @property
    def unchanged(self) -> dict[str, Any]:
        """The LATENT where no step is taken."""
        return {**self.latent_image, "samples": latents_of(self.latent_image)}

    def schedule(self, steps: int, denoise: float = 1.0) -> "Tensor":
        """Noise levels [steps + 1] of the model's `simple` schedule, the last one 0."""
        from ...qwen.sampling import auraflow_table, flux_table, simple_schedule

        shift = self.model.shift
        return simple_schedule(flux_table() if shift is None else auraflow_table(shift), steps, denoise)

    def along(self, schedule: "Tensor") -> dict[str, Any]:
        """The LATENT at the end of a schedule. Raises InputError for what this host cannot do."""
        import torch

        from ...qwen.latents import latent_statistics
        from ...qwen.sampling import guided, initial_noise, sample

        latents = latents_of(self.latent_image)
        engine = engine_module().current()
        progress = engine.progress(len(schedule) - 1)
        previewer = Previewer(engine) if progress.watched else None
        transformer = engine.transformer_of(self.model)
        mean, std = latent_statistics()
        start = None if torch.count_nonzero(latents) == 0 else ((latents.float() - mean) / std).to(engine.device)
        noise = torch.zeros(latents.shape) if self.seed is None else initial_noise(latents.shape, self.seed)
        denoiser = guided(
            denoiser_of(transformer, self.positive, "positive", len(latents)),
            None
            if math.isclose(self.cfg, 1)  # then it is neither evaluated nor looked at, as in ComfyUI
            else denoiser_of(transformer, self.negative, "negative", len(latents)),
            self.cfg,
            self.model.cfg_norm,
        )

        def tell(step: int, total: int, estimate: Any, _: Any) -> None:
            progress.update(step + 1, total, previewer and previewer(estimate.cpu() * std + mean))

        def paint() -> Any:
            return sample(denoiser, noise.to(engine.device), schedule, tell, latents=start, sampler=self.sampler)

        painted = engine.work(transformer, paint)
        return {**self.latent_image, "samples": painted.float().cpu() * std + mean}


def part_of_schedule(levels: "Tensor", first: int, last: int, leave_noise: bool) -> "Tensor | None":
    """The noise levels of the steps `first` … `last`, or None where there is no step to take.

    Unless `leave_noise`, the last step goes all the way to 0.
    """
    if last < len(levels) - 1:
        levels = levels[: last + 1].clone()
        if not leave_noise:
            levels[-1] = 0
    return levels[first:] if first < len(levels) - 1 else None


def latents_of(latent_image: dict[str, Any]) -> Any:
    """The latents [B, 16, 1, h, w] of a LATENT. Raises InputError for what this host cannot do with one."""
    strange = sorted({"noise_mask", "batch_index"} & set(latent_image))
    if strange:
        raise InputError(f"the embedded host's KSampler does not offer latents with {', '.join(strange)}")
    samples = latent_image["samples"]
    cells = samples if samples.ndim == 5 else samples.unsqueeze(2)
    if cells.ndim != 5 or cells.shape[1] != 16 or cells.shape[2] != 1:
        raise InputError(
            f"latents of shape {list(samples.shape)} are not those of Qwen-Image, [B, 16, 1, h, w]: link the LATENT "
            "of CCM Conditioning"
        )
    return cells


def denoiser_of(transformer: Any, conditioning: list, name: str, batch: int) -> Any:
    """The transformer under one CONDITIONING. Raises InputError for what this host cannot do with one.

    A conditioning of fewer pictures than the latents' `batch` begins again at its first, as in ComfyUI.
    """
    from ...qwen.denoiser import denoiser
    from ...qwen.encode import Conditioning
    from ...qwen.latents import check_batch, latent_statistics

    if len(conditioning) != 1:
        raise InputError(f"the {name} conditioning has {len(conditioning)} parts; the embedded host takes one")
    embeds, extra = conditioning[0]
    strange = sorted(key for key, value in extra.items() if key not in _KNOWN_CONDITIONS and value is not None)
    if strange:
        raise InputError(f"the embedded host's KSampler does not offer conditioning with {', '.join(strange)}")
    method = extra.get("reference_latents_method")
    own = "index_timestep_zero" if transformer.config.zero_cond_t else "index"
    if method not in (None, own):
        raise InputError(f"this model sees references by {own!r}, but the {name} conditioning asks for {method!r}")
    mean, std = latent_statistics()
    references = [(latent.float() - mean) / std for latent in extra.get("reference_latents") or []]
    attention = extra.get("attention_mask")
    for part in (embeds, attention, *references):
        if part is not None:
            check_batch(batch, len(part), name)
    embeds, attention, *references = (
        part if part is None or len(part) in (1, batch) else part.repeat(batch // len(part), *[1] * (part.ndim - 1))
        for part in (embeds, attention, *references)
    )
    return denoiser(transformer, Conditioning(embeds, attention), references)
