"""What the tracer's network is trained for."""

import torch
import torch.nn.functional as F
from torch import Tensor

NERVE_WEIGHT = 2.0
"""Weight of the pixels on nerves, which are a tenth of all."""

SMOOTH = 20.0
"""Pixels that are added to either side of Dice's fraction: a crop without nerves still has a gradient."""


def tracer_loss(logits: Tensor, nerve: Tensor, counts: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy plus 1 − Dice, a mean over details; all tensors [n, details, H, W].

    `nerve` is 1 on nerves, `counts` 0 where nobody can tell. The numbers are the Dice of each detail.
    """
    weight = logits.new_tensor(NERVE_WEIGHT)
    entropy = F.binary_cross_entropy_with_logits(logits, nerve, reduction="none", pos_weight=weight)
    entropy = (entropy * counts).sum((0, 2, 3)) / counts.sum((0, 2, 3)).clamp(min=1)
    probability, nerve = torch.sigmoid(logits) * counts, nerve * counts
    both = 2 * (probability * nerve).sum((2, 3)) + SMOOTH
    dice = (both / (probability.sum((2, 3)) + nerve.sum((2, 3)) + SMOOTH)).mean(0)
    loss = (entropy + 1 - dice).mean()
    return loss, {f"dice_{k}": float(value) for k, value in enumerate(dice.detach())}
