"""SPADE as a VAE-GAN: an encoder that reads an image's style, a decoder whose norms read the mask, discriminators."""

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
from training.peers.recipe import SpadeRecipe

SHARED = 0.25
"""Share of a tile that its neighbour shows as well, at least."""


class Spade(Peer):
    """MONAI's SPADENet with discriminators. Labels are nerve, background and a plane a cohort.

    The published losses are perceptual and KL. The perceptual one needs weights that are fetched from the network, so
    feature matching and pixels stand in its place: a departure.
    """

    painting = ("generator.decoder.",)

    def __init__(self, recipe: SpadeRecipe, cohorts: int) -> None:
        check_monai()
        super().__init__()
        from monai.networks.nets import SPADENet

        self.recipe, self.cohorts = recipe, cohorts
        side, labels = recipe.size, 2 + cohorts
        self.generator: Any = SPADENet(
            spatial_dims=2,
            in_channels=1,
            out_channels=1,
            label_nc=labels,
            input_shape=[side, side],
            channels=list(recipe.channels),  # a list of its own: the network turns it round
            z_dim=recipe.style,
            spade_intermediate_channels=recipe.hidden,
            last_act="tanh",
        )
        self.adversary = Adversary(
            recipe.discriminators, recipe.discriminator_layers, recipe.discriminator_channels, 1 + labels, side
        )

    def lessons(self) -> list[PeerLesson]:
        """One: generator and discriminators step by step in turn."""
        groups = [
            (list(self.generator.parameters()), self.recipe.learning_rate),
            (list(self.adversary.parameters()), self.recipe.discriminator_rate),
        ]
        return [PeerLesson("gan", self.recipe.steps, groups, self.advance)]

    def begin(self, lesson: str, batches: Callable[[int], PeerBatch]) -> None:
        """Nothing."""

    def labels(self, masks: Tensor, cohorts: Tensor) -> Tensor:
        """Masks [n, 1, H, W] and cohorts [n] as planes [n, 2 + cohorts, H, W]."""
        planes = F.one_hot(cohorts, self.cohorts).to(masks)[:, :, None, None].expand(-1, -1, *masks.shape[2:])
        return torch.cat([masks, 1 - masks, planes], 1)

    def advance(self, batch: PeerBatch, optimiser: torch.optim.Optimizer) -> dict[str, float]:
        """A step of the discriminators, then one of the generator."""
        recipe, labels = self.recipe, self.labels(batch.masks, batch.cohorts)
        made, mean, log_variance = self.generator(labels, batch.images)
        weights = {
            "fooling": recipe.adversarial_weight,
            "features": recipe.feature_weight,
            "pixels": recipe.pixel_weight,
            "kl": recipe.kl_weight,
        }
        remade = Remade(batch.images, made, mean, log_variance, labels)
        return advance_both(self.adversary, remade, weights, optimiser)

    @torch.no_grad()
    def paint(self, mask: NDArray[np.bool_], cohort: int, generator: torch.Generator) -> Tensor:
        """A picture under a style drawn from N(0, 1). Masks larger than the crops of the training are covered with
        overlapping tiles of one style, which fade into one another; smaller ones are continued by their mirror image.
        """
        side = self.recipe.size
        device = next(self.generator.parameters()).device
        style = torch.randn(1, self.recipe.style, generator=generator).to(device)
        height, width = mask.shape
        whole = np.pad(mask, [(0, max(side - length, 0)) for length in mask.shape], mode="symmetric")
        total, weights = torch.zeros(whole.shape), torch.zeros(whole.shape)
        fade = _fade(side)
        for row in _starts(whole.shape[0], side):
            for column in _starts(whole.shape[1], side):
                part = np.ascontiguousarray(whole[row : row + side, column : column + side], np.float32)
                labels = self.labels(torch.from_numpy(part)[None, None].to(device), torch.tensor([cohort]).to(device))
                made = self.generator.decode(labels, style)[0, 0].cpu()
                total[row : row + side, column : column + side] += fade * made
                weights[row : row + side, column : column + side] += fade
        return (total / weights)[:height, :width]


def _fade(side: int) -> Tensor:
    """Weights [side, side] that fall towards the edges of a tile and are nowhere 0."""
    reach = max(1, int(side * SHARED))
    ramp = torch.minimum((torch.arange(side) + 0.5) / reach, torch.tensor(1.0))
    line = torch.minimum(ramp, ramp.flip(0))
    return line[:, None] * line[None]


def _starts(length: int, side: int) -> list[int]:
    """The first rows of tiles that cover a length, each neighbour sharing a quarter or more."""
    count = 1 + -(-(length - side) // int(side * (1 - SHARED)))
    return [round(number * (length - side) / max(count - 1, 1)) for number in range(count)]
