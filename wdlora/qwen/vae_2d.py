"""The video VAE on single pictures: the same numbers at a fraction of the cost.

Qwen-Image's VAE is Wan's, made for video: its causal 3-D convolutions pad time with zeros in front. On one frame two
of three slices of every kernel multiply those zeros, so the last slice as a 2-D convolution gives the same result.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F


def for_stills(vae: Any) -> Any:
    """Let an AutoencoderKLQwenImage compute single frames in two dimensions; returns the same module.

    Videos go the usual way. Weights, names and results stay (up to the order of float additions).
    """
    original, still = _classes()
    for module in vae.modules():
        if type(module) is original:
            module.__class__ = still
    return vae


@cache
def _classes() -> tuple[type, type]:
    from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageCausalConv3d

    class StillConv3d(QwenImageCausalConv3d):
        """A causal convolution that knows when there is nothing before the first frame."""

        def forward(self, x: torch.Tensor, cache_x: torch.Tensor | None = None) -> torch.Tensor:
            right, _, below, _, before, _ = self._padding
            alone = x.shape[2] == 1 and cache_x is None and before == self.kernel_size[0] - 1
            if not alone:
                return super().forward(x, cache_x)
            plane = x[:, :, 0].contiguous(memory_format=torch.channels_last)
            kernel = self.weight[:, :, -1]
            return F.conv2d(plane, kernel, self.bias, self.stride[1:], (below, right)).unsqueeze(2)

    return QwenImageCausalConv3d, StillConv3d
