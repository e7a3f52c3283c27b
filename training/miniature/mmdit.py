"""The stage `mmdit`: the diffusion transformer, by flow matching in the VAE's latents.

One forward with the fine-tune and with sampling (`wdlora.qwen.denoiser.velocity`): noisy latents, the mask's
latents beside them on the same grid, the states of the frozen text encoder, σ as the time. An eighth of the
prompts is empty, so that classifier-free guidance has something to subtract.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from training.miniature import images, prompts
from training.miniature.planar import PlanarVAE
from training.miniature.runner import Budget, train
from training.miniature.text import VARIANT
from training.objective import interpolate
from wdlora.qwen.denoiser import velocity
from wdlora.qwen.encode import Conditioning, encode
from wdlora.qwen.latents import CHANNELS
from wdlora.sealed import BrokenSeal, read_sealed_tensors, write_sealed_tensors


@dataclass(frozen=True)
class Bucket:
    """Pictures of one size: how many are drawn and how many make a batch."""

    height: int
    width: int
    pictures: int
    batch: int
    share: float


@dataclass(frozen=True)
class MMDiTStage:
    """Shape, data and budget of the stage.

    `share` of a bucket is the fraction of steps on it; σ is logit-normal (Esser et al. 2024) with `sigma_mean`
    and `sigma_sd`; `foreground_weight` is the loss weight of latent cells that the mask touches, 1 elsewhere.
    """

    layers: int = 4
    heads: int = 5
    head_dim: int = 32
    axes_dims_rope: tuple[int, int, int] = (4, 14, 14)
    local_heads: float = 0.5
    buckets: tuple[Bucket, ...] = (
        Bucket(64, 64, 1800, 16, 0.18),
        Bucket(96, 96, 1200, 12, 0.2),
        Bucket(128, 128, 1200, 8, 0.36),
        Bucket(64, 128, 500, 12, 0.08),
        Bucket(128, 96, 500, 10, 0.08),
        Bucket(192, 192, 200, 4, 0.07),
        Bucket(256, 256, 60, 2, 0.03),
    )
    empty_prompts: float = 0.12
    held_out: int = 48
    sigma_mean: float = 0.4
    sigma_sd: float = 1.0
    foreground_weight: float = 3.0
    budget: Budget = field(
        default_factory=lambda: Budget(
            steps=22500, minutes=82, learning_rate=1.8e-3, average_decay=0.995, evaluate_every=250
        )
    )


@dataclass(frozen=True)
class Samples:
    """Cached pictures of one bucket; `touched` says which latent cells their masks reach, bool [n, H/8, W/8]."""

    latents: Tensor
    references: Tensor
    embeds: Tensor
    starts: Tensor
    lengths: Tensor
    touched: Tensor

    def conditioning(self, index: list[int]) -> Conditioning:
        """The states of these samples, which must be of one length."""
        rows = [self.embeds[self.starts[i] : self.starts[i] + self.lengths[i]] for i in index]
        return Conditioning(torch.stack(rows).float())


def build_transformer(stage: MMDiTStage, joint_dim: int, seed: int) -> Any:
    """A `QwenImageTransformer2DModel` that starts as the identity (adaLN-zero), half its heads local.

    The biases of a local head's queries and keys lie on the two fastest rotary pairs of rows and columns, so
    that a token attends to its own place, in its own picture and in the mask, before it has learned anything.
    """
    from diffusers import QwenImageTransformer2DModel

    torch.manual_seed(seed)
    model = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=4 * CHANNELS,
        out_channels=CHANNELS,
        num_layers=stage.layers,
        attention_head_dim=stage.head_dim,
        num_attention_heads=stage.heads,
        joint_attention_dim=joint_dim,
        axes_dims_rope=stage.axes_dims_rope,
    )
    frames, rows, _ = stage.axes_dims_rope
    pairs = [frames, frames + 2, frames + rows, frames + rows + 2]
    local = round(stage.heads * stage.local_heads)
    for block in model.transformer_blocks:
        for modulation in (block.img_mod[1], block.txt_mod[1]):
            nn.init.zeros_(modulation.weight)
            nn.init.zeros_(modulation.bias)
        for linear in (block.attn.to_q, block.attn.to_k):
            with torch.no_grad():
                linear.bias.view(stage.heads, stage.head_dim)[:local, pairs] = 3.0
    for linear in (model.norm_out.linear, model.proj_out):
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    return model


@dataclass(frozen=True)
class Drawn:
    """Pictures and masks (uint8) of one bucket and the states of their prompts."""

    pictures: Tensor
    masks: Tensor
    embeds: Tensor
    starts: Tensor
    lengths: Tensor


@torch.no_grad()
def draw_bucket(
    bucket: Bucket, text_encoder: Any, tokenizer: Any, empty: float, seed: int, name: str = "drawing"
) -> Drawn:
    """Draw the bucket's pictures and prompts, and encode each prompt with its mask."""
    rng = np.random.default_rng([seed, bucket.height, bucket.width])
    pictures, masks, rows = [], [], []
    for _ in tqdm(range(bucket.pictures), desc=name, disable=None, leave=False):
        one = images.picture(int(rng.integers(2**40)), bucket.height, bucket.width)
        text = "" if rng.random() < empty else prompts.describe(one.look, rng)[0]
        rows.append(encode(text_encoder, tokenizer, text, [one.mask], VARIANT).embeds[0].half())
        pictures.append(torch.from_numpy(np.round(one.image * 255).astype(np.uint8)))
        masks.append(torch.from_numpy(one.mask.astype(np.uint8)))
    lengths = torch.tensor([len(row) for row in rows])
    starts = torch.cumsum(lengths, 0) - lengths
    return Drawn(torch.stack(pictures), torch.stack(masks), torch.cat(rows), starts, lengths)


@torch.no_grad()
def to_samples(drawn: Drawn, vae: PlanarVAE) -> Samples:
    """Encode the pictures and the masks with the VAE."""
    latents, references = [], []
    for first in tqdm(range(0, len(drawn.pictures), 16), desc="latents", disable=None, leave=False):
        part = slice(first, first + 16)
        latents.append(vae.encode(drawn.pictures[part].float() / 127.5 - 1).half().contiguous())
        references.append(vae.encode(drawn.masks[part].float() * 2 - 1).half().contiguous())
    touched = F.max_pool2d(drawn.masks.float()[:, None], 8)[:, 0] > 0
    return Samples(torch.cat(latents), torch.cat(references), drawn.embeds, drawn.starts, drawn.lengths, touched)


def draw_all(folder: Path, text_encoder: Any, tokenizer: Any, stage: MMDiTStage, seed: int) -> list[Drawn]:
    """The pictures and prompts of all buckets, from `folder` where they have been drawn before."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for bucket in stage.buckets:
        name = f"drawn-{bucket.height}x{bucket.width}"
        path = folder / f"{name}.safetensors"
        try:
            found.append(Drawn(**read_sealed_tensors(path)))
        except (OSError, SafetensorError, BrokenSeal):
            found.append(draw_bucket(bucket, text_encoder, tokenizer, stage.empty_prompts, seed, name))
            write_sealed_tensors(path, {key.name: getattr(found[-1], key.name) for key in fields(Drawn)})
    return found


def velocity_loss(
    transformer: Any,
    samples: Samples,
    index: list[int],
    noise: Tensor,
    sigma: Tensor,
    other: list[int] | None = None,
    foreground_weight: float = 1.0,
) -> Tensor:
    """Mean squared error of the velocity noise − latents at σ; with `other`, under these samples' states.

    Cells that the mask touches count `foreground_weight` times as much as the others; the weights' mean is 1.
    """
    clean = samples.latents[index].float()[:, :, None]
    states = samples.conditioning(index if other is None else other)
    references = [samples.references[index].float()[:, :, None]]
    found = velocity(transformer, interpolate(clean, noise, sigma), sigma, states, references)
    weight = 1 + (foreground_weight - 1) * samples.touched[index].float()[:, None, None]
    return ((found - (noise - clean)).pow(2) * (weight / weight.mean())).mean()


def train_mmdit(
    folder: Path,
    vae: PlanarVAE,
    text_encoder: Any,
    tokenizer: Any,
    stage: MMDiTStage,
    seed: int,
) -> Any:
    """Run the stage in `folder` (resumable) and return the averaged transformer."""
    drawn = draw_all(folder, text_encoder, tokenizer, stage, seed)
    pools = [to_samples(one, vae) for one in drawn]
    apart = Bucket(96, 96, stage.held_out, 1, 0.0)
    held_out = to_samples(draw_bucket(apart, text_encoder, tokenizer, 0.0, seed + 1, "held out"), vae)
    by_length = [_by_length(pool) for pool in pools]
    shares = np.array([bucket.share for bucket in stage.buckets])
    transformer = build_transformer(stage, text_encoder.config.text_config.hidden_size, seed)

    def loss_at(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([seed, 21, step])
        which = rng.choice(len(pools), p=shares / shares.sum())
        pool, groups, bucket = pools[which], by_length[which], stage.buckets[which]
        weights = np.array([len(group) for group in groups], dtype=float)
        group = groups[rng.choice(len(groups), p=weights / weights.sum())]
        index = rng.choice(group, min(bucket.batch, len(group)), replace=False).tolist()
        sigma = torch.sigmoid(torch.randn(len(index)) * stage.sigma_sd + stage.sigma_mean)
        noise = torch.randn_like(pool.latents[index].float()[:, :, None])
        loss = velocity_loss(transformer, pool, index, noise, sigma, foreground_weight=stage.foreground_weight)
        return loss, {f"loss{bucket.height}": loss.item()}

    def evaluate(average: Any) -> str:
        right, wrong = held_out_losses(average, held_out)
        return f"held out {right:.4f}, with another's prompt and mask {wrong:.4f}"

    return train(folder / "run", transformer, loss_at, stage.budget, seed=seed, evaluate=evaluate)


@torch.no_grad()
def held_out_losses(transformer: Any, samples: Samples) -> tuple[float, float]:
    """Mean loss over the samples, each at its own fixed noise and σ: with its states, and with its neighbour's."""
    count = len(samples.latents)
    noise = torch.randn((count, *samples.latents.shape[1:]), generator=torch.Generator().manual_seed(0))[:, :, None]
    sums = np.zeros(2)
    for i in range(count):
        sigma = torch.tensor([0.15 + 0.7 * (i % 16) / 15])
        for column, other in enumerate((i, (i + 1) % count)):
            sums[column] += float(velocity_loss(transformer, samples, [i], noise[i : i + 1], sigma, [other]))
    return float(sums[0] / count), float(sums[1] / count)


def _by_length(samples: Samples) -> list[np.ndarray]:
    """Indices of samples with equally many states; lengths of which there are fewer than 3 are left out."""
    lengths = samples.lengths.numpy()
    groups = [np.flatnonzero(lengths == length) for length in np.unique(lengths)]
    return [group for group in groups if len(group) >= 3] or [group for group in groups if len(group)]
