"""The tracer's network: a small U-Net on 2 × 2 blocks of pixels, in plain torch.

Blocks instead of pixels make it ten times as fast as the same network at full resolution, at no cost in accuracy that
was seen: a nerve is three pixels wide. Sources: U-Net, Ronneberger 2015; blocks of pixels, Shi 2016 (pixel shuffle).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .choices import DETAILS

CHANNELS = (24, 48, 72, 96)
"""Channels of the levels, of which each has half the side of the one before."""

BLOCK = 2
"""Side in pixels of the blocks that are the network's own grid."""


class NerveNetwork(nn.Module):
    """Logits of nerve, one channel for each of `DETAILS`, from a standardised image (see `levels`).

    `normed` puts a batch norm after every convolution, for training; `training.tracer.folding` folds them away.
    """

    def __init__(self, channels: Sequence[int] = CHANNELS, normed: bool = False) -> None:
        super().__init__()
        self.channels = tuple(channels)
        sizes = [BLOCK * BLOCK, *self.channels]
        self.down = nn.ModuleList(_pair(a, b, normed) for a, b in pairwise(sizes))
        self.up = nn.ModuleList(_pair(a + b, a, normed) for a, b in pairwise(sizes[1:]))
        self.out = nn.Conv2d(self.channels[0], len(DETAILS) * BLOCK * BLOCK, 1)

    @property
    def multiple(self) -> int:
        """What the sides of an image must be a multiple of, in pixels."""
        return BLOCK * 2 ** (len(self.channels) - 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits float [n, 2, H, W] of images float [n, 1, H, W], whose sides are multiples of `multiple`."""
        x = F.pixel_unshuffle(images, BLOCK)  # [n, 4, H/2, W/2]
        passed = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            passed.append(x)
        for level in reversed(range(len(self.up))):
            x = torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), passed[level]], 1)
            x = self.up[level](x)
        return F.pixel_shuffle(self.out(x), BLOCK)


def _pair(before: int, after: int, normed: bool) -> nn.Sequential:
    """Two 3 × 3 convolutions with their ReLUs."""
    layers: list[nn.Module] = []
    for size in (before, after):
        layers.append(nn.Conv2d(size, after, 3, padding=1, bias=not normed))
        if normed:
            layers.append(nn.BatchNorm2d(after))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
