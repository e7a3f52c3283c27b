"""Discriminators on patches and the losses that come of them, for both peers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCALES = 3
"""Resolutions at which pixels are compared, each half the last."""

Answers = tuple[list[Tensor], list[list[Tensor]]]
"""Of several discriminators: their answers, and the features of their layers."""


class Adversary(nn.Module):
    """Patch discriminators of growing depth on pictures with their labels (Wang et al. 2018, arXiv 1711.11585)."""

    def __init__(self, count: int, layers: int, channels: int, inputs: int, size: int) -> None:
        """`inputs` channels of pictures whose smallest side is `size`."""
        super().__init__()
        from monai.networks.nets import MultiScalePatchDiscriminator

        self.patches: Any = MultiScalePatchDiscriminator(
            count, layers, 2, channels, inputs, norm="INSTANCE", minimum_size_im=size
        )

    def forward(self, pictures: Tensor, labels: Tensor | None = None) -> Answers:
        """What the discriminators say of pictures [n, 1, H, W] with labels [n, c, H, W]."""
        return self.patches(pictures if labels is None else torch.cat([labels, pictures], 1))

    def own_loss(self, real: Tensor, made: Tensor, labels: Tensor | None = None) -> Tensor:
        """The hinge loss of the discriminators: real ones above 1, made ones below −1."""
        on_real, on_made = self(real, labels)[0], self(made.detach(), labels)[0]
        return sum_of([F.relu(1 - one).mean() for one in on_real] + [F.relu(1 + one).mean() for one in on_made])

    def losses_of(self, real: Tensor, made: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The generator's two: that its pictures are taken for real, and that their features are those of the real
        ones (feature matching, mean absolute difference of every layer).
        """
        with torch.no_grad():
            wanted = self(real, labels)[1]
        answers, features = self(made, labels)
        fooling = sum_of([-one.mean() for one in answers]) / len(answers)
        pairs = [pair for some, other in zip(features, wanted, strict=True) for pair in zip(some, other, strict=True)]
        return fooling, sum_of([(one - other).abs().mean() for one, other in pairs]) / len(pairs)


@dataclass(frozen=True)
class Remade:
    """Images [n, 1, H, W] and what a generator made of them again, through a code that is N(`mean`, `log_variance`).

    `labels` [n, c, H, W] are shown to the discriminators beside both.
    """

    real: Tensor
    made: Tensor
    mean: Tensor
    log_variance: Tensor
    labels: Tensor | None = None


def advance_both(
    adversary: Adversary, remade: Remade, weights: Mapping[str, float], optimiser: torch.optim.Optimizer
) -> dict[str, float]:
    """A step of the discriminators, then one of the generator, whose parameters have no gradient before.

    The generator's loss is the sum of "fooling", "features", "pixels" and "kl" times their `weights`, in the order of
    `weights`, which decides its last bit. Returns the numbers for the log.
    """
    real, made, labels = remade.real, remade.made, remade.labels
    optimiser.zero_grad(set_to_none=True)
    judged = adversary.own_loss(real, made, labels)
    judged.backward()
    optimiser.step()  # the generator has no gradient yet and stays
    fooling, features = adversary.losses_of(real, made, labels)
    pixels, kl = pixel_loss(made, real), kl_loss(remade.mean, remade.log_variance)
    losses = {"fooling": fooling, "features": features, "pixels": pixels, "kl": kl}
    loss = reduce(torch.add, [weight * losses[name] for name, weight in weights.items()])
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    for parameter in adversary.parameters():
        parameter.grad = None
    optimiser.step()
    parts = {"loss": loss, "discriminator": judged, "fooling": fooling, "pixels": pixels, "kl": kl}
    return {name: value.item() for name, value in parts.items()}


def pixel_loss(made: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference [n, 1, H, W], at `SCALES` resolutions."""
    losses = []
    for scale in range(SCALES):
        if scale:
            made, real = F.avg_pool2d(made, 2), F.avg_pool2d(real, 2)
        losses.append((made - real).abs().mean())
    return sum_of(losses) / SCALES


def kl_loss(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Divergence of N(mean, variance) from N(0, 1), the mean over all numbers."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).mean()


def sum_of(losses: Sequence[Tensor]) -> Tensor:
    """Their sum."""
    return torch.stack(list(losses)).sum()
