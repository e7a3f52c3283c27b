"""The Qwen-Image VAE for single pictures, in two dimensions: what trains in an hour on a CPU.

On one frame the causal 3-D convolutions of the Wan VAE see nothing but zeros before it, so only the last
temporal slice of each kernel acts and the temporal convolutions of its resamplers are never called. A planar
network with those slices is therefore the same function on pictures at a third of the cost. `to_wan` writes it
out as the real thing: ComfyUI's (Wan's) key layout, kernels padded with zeros in time, three equal channels.

The planar network takes and gives one grey channel in −1..1 and latents that are already normalised, that is
(z − mean)/std with Wan's mean and std; `to_wan` folds both into the outer convolutions. `standardise` chooses the
scale of each latent channel so that pictures, not the masks and textures that the VAE learned with, have unit variance.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wdlora.qwen.latents import CHANNELS, LATENT_MEAN, LATENT_STD

LOG_VARIANCE = -12.0
DIM_MULT = (1, 2, 4, 4)
RESIDUAL_BLOCKS = 2


class _ChannelNorm(torch.autograd.Function):
    """x / rms(x) · gamma with its gradient in closed form: a third of the passes over memory of autograd's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor) -> Tensor:
        inverse = torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-20)
        normal = x * inverse
        ctx.save_for_backward(normal, inverse, gamma)
        return normal * gamma

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        normal, inverse, gamma = ctx.saved_tensors
        weighted = grad * normal
        along = torch.einsum("bchw,c->bhw", weighted, gamma.flatten())[:, None] / normal.shape[1]
        into_x = torch.addcmul(grad * gamma, normal, along, value=-1).mul_(inverse)
        return into_x, weighted.sum((0, 2, 3))[:, None, None]


class ChannelNorm(nn.Module):
    """RMS norm over channels, Wan's `RMS_norm` without bias."""

    def __init__(self, channels: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return _ChannelNorm.apply(x, self.gamma)


class Residual(nn.Module):
    """Two normalised 3×3 convolutions beside a shortcut; the second starts at zero."""

    def __init__(self, width_in: int, width_out: int):
        super().__init__()
        self.residual = nn.Sequential(
            ChannelNorm(width_in),
            nn.SiLU(),
            nn.Conv2d(width_in, width_out, 3, padding=1),
            ChannelNorm(width_out),
            nn.SiLU(),
            nn.Identity(),
            nn.Conv2d(width_out, width_out, 3, padding=1),
        )
        _zero(self.residual[6])
        self.shortcut = nn.Conv2d(width_in, width_out, 1) if width_in != width_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) + self.shortcut(x)


class Attention(nn.Module):
    """Single-head self-attention over all positions; its projection starts at zero."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.to_qkv = nn.Conv2d(channels, channels * 3, 1)
        self.proj = nn.Conv2d(channels, channels, 1)
        _zero(self.proj)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.to_qkv(self.norm(x)).reshape(batch, 1, channels * 3, -1).transpose(2, 3)
        mixed = F.scaled_dot_product_attention(*qkv.contiguous().chunk(3, dim=-1))
        return x + self.proj(mixed[:, 0].transpose(1, 2).reshape(batch, channels, height, width))


class Resample(nn.Module):
    """Halve (3×3, stride 2, padded right and below) or double (nearest, 3×3) the sides."""

    def __init__(self, channels: int, *, up: bool):
        super().__init__()
        first: nn.Module = nn.Upsample(scale_factor=2.0, mode="nearest-exact") if up else nn.ZeroPad2d((0, 1, 0, 1))
        conv = nn.Conv2d(channels, channels // 2, 3, padding=1) if up else nn.Conv2d(channels, channels, 3, stride=2)
        self.resample = nn.Sequential(first, conv)

    def forward(self, x: Tensor) -> Tensor:
        return self.resample(x)


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def _residuals(width_in: int, width_out: int, count: int) -> list[nn.Module]:
    return [Residual(width_in if block == 0 else width_out, width_out) for block in range(count)]


def _middle(channels: int) -> nn.Sequential:
    return nn.Sequential(Residual(channels, channels), Attention(channels), Residual(channels, channels))


class PlanarEncoder(nn.Module):
    """Grey picture (B, 1, H, W) in −1..1 → (B, 16, H/8, W/8)."""

    def __init__(self, base_dim: int):
        super().__init__()
        widths = [base_dim * m for m in (1, *DIM_MULT)]
        self.conv1 = nn.Conv2d(1, widths[0], 3, padding=1)
        layers: list[nn.Module] = []
        for level, (width_in, width_out) in enumerate(pairwise(widths)):
            layers += _residuals(width_in, width_out, RESIDUAL_BLOCKS)
            if level < len(DIM_MULT) - 1:
                layers.append(Resample(width_out, up=False))
        self.downsamples = nn.Sequential(*layers)
        self.middle = _middle(widths[-1])
        self.head = nn.Sequential(ChannelNorm(widths[-1]), nn.SiLU(), nn.Conv2d(widths[-1], CHANNELS, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(self.downsamples(self.conv1(x))))


class PlanarDecoder(nn.Module):
    """Normalised latents (B, 16, h, w) → grey picture (B, 1, 8h, 8w) in −1..1."""

    def __init__(self, base_dim: int):
        super().__init__()
        widths = [base_dim * m for m in (DIM_MULT[-1], *DIM_MULT[::-1])]
        self.conv1 = nn.Conv2d(CHANNELS, widths[0], 3, padding=1)
        self.middle = _middle(widths[0])
        layers: list[nn.Module] = []
        for level, (width_in, width_out) in enumerate(pairwise(widths)):
            width_in = width_in if level == 0 else width_in // 2
            layers += _residuals(width_in, width_out, RESIDUAL_BLOCKS + 1)
            if level < len(DIM_MULT) - 1:
                layers.append(Resample(width_out, up=True))
        self.upsamples = nn.Sequential(*layers)
        self.head = nn.Sequential(ChannelNorm(widths[-1]), nn.SiLU(), nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        return self.head(self.upsamples(self.middle(self.conv1(z))))


class PlanarVAE(nn.Module):
    """Encoder and decoder; sides must be multiples of 8."""

    shift: Tensor
    scale: Tensor

    def __init__(self, base_dim: int):
        super().__init__()
        self.base_dim = base_dim
        self.encoder = PlanarEncoder(base_dim)
        self.decoder = PlanarDecoder(base_dim)
        self.register_buffer("shift", torch.zeros(CHANNELS, 1, 1), persistent=False)
        self.register_buffer("scale", torch.ones(CHANNELS, 1, 1), persistent=False)

    def encode(self, x: Tensor) -> Tensor:
        """(B, H, W) in −1..1 → normalised latents (B, 16, H/8, W/8)."""
        return (self.encoder(x[:, None].contiguous(memory_format=torch.channels_last)) - self.shift) / self.scale

    def decode(self, z: Tensor) -> Tensor:
        """Normalised latents → (B, H, W), not clamped."""
        return self.decoder((z * self.scale + self.shift).contiguous(memory_format=torch.channels_last))[:, 0]

    @torch.no_grad()
    def standardise(self, pictures: Tensor) -> None:
        """Give the latents of these pictures (B, H, W) zero mean and unit variance in every channel."""
        raw = torch.cat([self.encode(one[None]) for one in pictures]) * self.scale + self.shift
        self.shift = raw.mean((0, 2, 3), keepdim=True)[0]
        self.scale = raw.std((0, 2, 3), keepdim=True)[0]


def to_wan(vae: PlanarVAE) -> dict[str, Tensor]:
    """The planar network as a Wan VAE in ComfyUI's key layout (float32, `decoder.…`, `encoder.…`, `conv1`, `conv2`).

    The posterior's log variance, which a plain autoencoder lacks, is constant.
    """
    state: dict[str, Tensor] = {}
    for key, value in vae.state_dict().items():
        value = value.detach().float().clone(memory_format=torch.contiguous_format)
        spatial = "resample" in key or "to_qkv" in key or "proj" in key
        if key.endswith("gamma"):
            value = value if ".middle.1." in key else value[..., None]
        elif key.endswith("weight") and not spatial:
            kernel = value.new_zeros(*value.shape[:2], value.shape[-1], *value.shape[-2:])
            kernel[:, :, -1] = value
            value = kernel
        state[key] = value

    weight, bias = state["encoder.head.2.weight"], state["encoder.head.2.bias"]
    state["encoder.head.2.weight"] = torch.cat([weight, torch.zeros_like(weight)])
    state["encoder.head.2.bias"] = torch.cat([bias, torch.zeros_like(bias)])
    state["encoder.conv1.weight"] = state["encoder.conv1.weight"].repeat(1, 3, 1, 1, 1) / 3
    state["decoder.head.2.weight"] = state["decoder.head.2.weight"].repeat(3, 1, 1, 1, 1)
    state["decoder.head.2.bias"] = state["decoder.head.2.bias"].repeat(3)
    mean, std = torch.tensor(LATENT_MEAN), torch.tensor(LATENT_STD)
    shift, scale = vae.shift.flatten(), vae.scale.flatten()
    state["conv1.weight"] = torch.diag(torch.cat([std / scale, torch.ones_like(std)]))[:, :, None, None, None]
    state["conv1.bias"] = torch.cat([mean - shift * std / scale, torch.full_like(mean, LOG_VARIANCE)])
    state["conv2.weight"] = torch.diag(scale / std)[:, :, None, None, None]
    state["conv2.bias"] = shift - scale * mean / std

    # Wan's resamplers but the encoder's first and the decoder's last also know time (temperal_downsample
    # False, True, True); on single pictures those convolutions are never called.
    for side, layers, up in (
        ("encoder.downsamples", vae.encoder.downsamples, False),
        ("decoder.upsamples", vae.decoder.upsamples, True),
    ):
        places = [index for index, layer in enumerate(layers) if isinstance(layer, Resample)]
        for index in places[:-1] if up else places[1:]:
            width = layers[index].resample[1].in_channels  # type: ignore[union-attr, index]
            out = width * 2 if up else width
            state[f"{side}.{index}.time_conv.weight"] = torch.zeros(out, width, 3, 1, 1)
            state[f"{side}.{index}.time_conv.bias"] = torch.zeros(out)
    return state
