"""Optimiser, learning-rate schedule and the averaged copy of the trained parameters."""

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from training.config import TrainingConfig

log = logging.getLogger(__name__)

SMALLEST_IN_8_BITS = 4096
"""bitsandbytes keeps the state of smaller tensors in 32 bits."""


def build_optimiser(parameters: Mapping[str, Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay, its state in 8 bits where `adam8bit` is asked for and can run.

    Magnitudes do not decay: they start at the base's row norms, and on the way to 0 they would take the base along.
    bitsandbytes falls back to torch's AdamW, with one log line, where it is missing or cannot run here.
    """
    magnitudes = [one for name, one in parameters.items() if "lora_magnitude_vector" in name]
    factors = [one for name, one in parameters.items() if "lora_magnitude_vector" not in name]
    groups: list[dict[str, Any]] = [{"params": factors}, {"params": magnitudes, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    options: dict[str, Any] = {
        "lr": config.learning_rate,
        "betas": (config.beta1, config.beta2),
        "weight_decay": config.weight_decay,
    }
    if config.optimiser == "adam8bit":
        try:
            from bitsandbytes.optim import AdamW8bit

            _try_out(AdamW8bit, next(iter(parameters.values())).device)
            return AdamW8bit(groups, **options)
        except (ImportError, RuntimeError) as error:
            log.warning("8-bit Adam cannot run here (%s); using torch's AdamW.", str(error).strip().split("\n")[0])
    return torch.optim.AdamW(groups, **options)


def _try_out(kind: Callable[..., torch.optim.Optimizer], device: torch.device) -> None:
    """Make one step: a native library that does not fit is only missed there. Small tensors keep 32-bit states."""
    parameter = Parameter(torch.zeros(2 * SMALLEST_IN_8_BITS, device=device))
    parameter.grad = torch.ones_like(parameter)
    kind([parameter]).step()


def learning_rate_factor(step: int, config: TrainingConfig) -> float:
    """Factor on the peak learning rate at `step` (0-based): linear warm-up, then cosine.

    After the warm-up, ½(1 + cos(2π·cycles·progress)), never below 0; half a cycle ends at 0.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    span = max(1, config.steps - config.warmup_steps)
    progress = min(1.0, (step - config.warmup_steps) / span)
    return max(0.0, 0.5 * (1 + math.cos(2 * math.pi * config.cosine_cycles * progress)))


class Average:
    """Exponential moving average of named parameters, with a warm-up: decay min(d, (1 + t)/(10 + t))."""

    def __init__(self, values: dict[str, Tensor], decay: float, steps: int = 0) -> None:
        """`values` are copies of the parameters, moved in place; `steps` counts the updates made."""
        self.values, self.decay, self.steps = values, decay, steps

    @torch.no_grad()
    def update(self, parameters: Mapping[str, Tensor]) -> None:
        """Move the average towards the parameters of the same names."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in self.values.items():
            value.lerp_(parameters[name].detach(), 1 - decay)
