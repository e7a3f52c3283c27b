"""The network in torch: transformers' Hiera as the encoder, a head for diagnosis, a decoder for segmentation.

Hiera (Ryali et al. 2023, arXiv 2306.00989) is the nearest published kin of HMSViT (2506.19474): pooling between four
stages, attention within blocks in the first two and over the whole image in the last two, absolute positions, and
pre-training on masked blocks. Its `HieraBackbone` works at the size it was built for alone, so images come as tiles of
that side (see `frames`).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .sizes import STRIDE, NetworkSize, check_side

MASK_RATIO = 0.6
"""Share of the blocks that are hidden in pre-training: Hiera's, since HMSViT's is not published."""

FINE = 8
"""Channels of the segmentation decoder at full resolution."""


def hiera_config(size: NetworkSize, side: int) -> Any:
    """transformers' configuration of Hiera for grey tiles of `side` pixels. Raises InputError without transformers."""
    try:
        from transformers import HieraConfig
    except ImportError:
        raise InputError(
            "an HMSViT-like network needs transformers 4.50 or newer: python -m pip install transformers"
        ) from None
    return HieraConfig(
        embed_dim=size.width,
        image_size=[check_side(side)] * 2,
        patch_size=[7, 7],
        patch_stride=[STRIDE] * 2,
        patch_padding=[3, 3],
        num_channels=1,
        depths=list(size.depths),
        num_heads=list(size.heads),
        masked_unit_size=[8, 8],
        mask_ratio=MASK_RATIO,
        decoder_hidden_size=size.decoder,
        decoder_depth=1,
        decoder_num_heads=4,
        normalize_pixel_loss=True,
    )


class HmsvitEncoder(nn.Module):
    """Maps of four stages from tiles of one side; `norm` is over the channels of the last."""

    def __init__(self, size: NetworkSize, side: int) -> None:
        super().__init__()
        config = hiera_config(size, side)
        from transformers import HieraModel

        self.hiera = HieraModel(config, add_pooling_layer=False)
        self.norm = nn.LayerNorm(size.widths[-1])

    def forward(self, tiles: Tensor) -> list[Tensor]:
        """Tiles float [n, 1, S, S] → maps [n, width · 2^k, S/4/2^k, S/4/2^k], k = 0 … 3."""
        found = self.hiera(tiles, output_hidden_states=True, return_dict=True).reshaped_hidden_states
        return [stage.permute(0, 3, 1, 2) for stage in found[1:]]  # the first is the embedding

    def pooled(self, tiles: Tensor) -> Tensor:
        """One vector a tile: the mean of the last stage's normalised places, float [n, 8 · width]."""
        return self.norm(self(tiles)[-1].flatten(2).transpose(1, 2)).mean(1)


class DiagnosisNetwork(nn.Module):
    """Logits of cohorts."""

    def __init__(self, size: NetworkSize, side: int, classes: int) -> None:
        super().__init__()
        self.encoder = HmsvitEncoder(size, side)
        self.head = nn.Linear(size.widths[-1], classes)

    def forward(self, tiles: Tensor) -> Tensor:
        """Tiles float [n, 1, S, S] → logits [n, classes]."""
        return self.head(self.encoder.pooled(tiles))


class SegmentationNetwork(nn.Module):
    """Logits of nerve."""

    def __init__(self, size: NetworkSize, side: int) -> None:
        super().__init__()
        self.encoder = HmsvitEncoder(size, side)
        self.decoder = MultiScaleDecoder(size)

    def forward(self, tiles: Tensor) -> Tensor:
        """Tiles float [n, 1, S, S] → logits [n, 1, S, S]."""
        return self.decoder(self.encoder(tiles), tiles)


class MultiScaleDecoder(nn.Module):
    """A feature pyramid over the four stages (Lin et al. 2017), joined by the tile itself at full resolution: a nerve
    is three pixels wide, and the finest stage sees every fourth pixel.
    """

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        self.enter = nn.ModuleList(nn.Conv2d(width, size.decoder, 1) for width in size.widths)
        self.smooth = nn.ModuleList(nn.Conv2d(size.decoder, size.decoder, 3, padding=1) for _ in size.widths)
        self.rise = nn.Conv2d(size.decoder, FINE * STRIDE * STRIDE, 1)
        self.fine = nn.Sequential(
            nn.Conv2d(1, FINE, 3, padding=1), nn.GELU(), nn.Conv2d(FINE, FINE, 3, padding=1), nn.GELU()
        )
        self.out = nn.Sequential(nn.Conv2d(2 * FINE, 2 * FINE, 3, padding=1), nn.GELU(), nn.Conv2d(2 * FINE, 1, 1))

    def forward(self, maps: list[Tensor], tiles: Tensor) -> Tensor:
        """Maps of the stages and the tiles [n, 1, S, S] → logits [n, 1, S, S]."""
        x = self.enter[-1](maps[-1])
        for level in (2, 1, 0):
            x = F.gelu(self.smooth[level + 1](x))
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear") + self.enter[level](maps[level])
        coarse = F.pixel_shuffle(self.rise(F.gelu(self.smooth[0](x))), STRIDE)  # [n, FINE, S, S]
        return self.out(torch.cat([coarse, self.fine(tiles)], 1))


Network = DiagnosisNetwork | SegmentationNetwork | HmsvitEncoder
"""What a file holds, by its task."""
