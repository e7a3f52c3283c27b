"""Training one network: pre-training on masked blocks, then a task; each goes on from its last checkpoint."""

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from training.downstream.batches import TrainingBatch
from training.downstream.config import DownstreamConfig
from wdlora.errors import InputError
from wdlora.files import write_tensors
from wdlora.hmsvit.file import DIAGNOSIS, ENCODER, Facts, built_network
from wdlora.hmsvit.network import Network, hiera_config
from wdlora.hmsvit.sizes import SIZES

WARMUP = 0.1
"""Share of the steps in which the learning rate rises."""

Batches = Callable[[int], TrainingBatch]
"""The batch of a step."""

PRETRAINING = 1_000_003
"""Added to the step in pre-training, so that a task does not begin with the same batches."""


@dataclass(frozen=True)
class Lesson:
    """One training: `module` maps a batch to its loss."""

    module: nn.Module
    loss: Callable[[TrainingBatch, int], Tensor]
    steps: int
    rate: float


def pretrained_encoder(
    config: DownstreamConfig, batches: Batches, seed: int, device: torch.device, place: Path
) -> dict[str, Tensor]:
    """The encoder's weights after pre-training on masked blocks; kept in `place`, from which they are read again."""
    from safetensors.torch import load_file

    done = place / "encoder.safetensors"
    if done.is_file():
        return load_file(done)
    from transformers import HieraForPreTraining

    size = SIZES[config.network]
    torch.manual_seed(seed)
    module = HieraForPreTraining(hiera_config(size, config.side)).to(device)
    blocks = math.prod(module.hiera.embeddings.mask_spatial_shape)

    def loss(batch: TrainingBatch, step: int) -> Tensor:
        noise = torch.rand(len(batch.levels), blocks, generator=torch.Generator().manual_seed(seed * 100_003 + step))
        return module(batch.levels, noise=noise.to(device)).loss

    lesson = Lesson(module, loss, config.pretrain_steps, config.pretrain_rate)
    run(lesson, config, lambda step: batches(step + PRETRAINING), device, place / "steps")
    weights = {name: tensor.cpu() for name, tensor in module.hiera.state_dict().items()}
    write_tensors(done, weights)
    shutil.rmtree(place / "steps", ignore_errors=True)
    return weights


def trained_network(
    config: DownstreamConfig,
    facts: Facts,
    encoder: dict[str, Tensor] | None,
    batches: Batches,
    seed: int,
    device: torch.device,
    place: Path,
) -> Network:
    """A network of the task in `facts`, trained from the `encoder`'s weights, on the CPU in evaluation mode."""
    torch.manual_seed(seed + 1)
    network = built_network(facts)
    if facts.task == ENCODER:
        raise InputError("an encoder has no task to be trained for: give diagnosis or segmentation")
    if encoder is not None:
        network.encoder.hiera.load_state_dict(encoder)  # type: ignore[union-attr]
    network.to(device)
    judge = diagnosis_loss if facts.task == DIAGNOSIS else segmentation_loss
    rate = config.rate(facts.task)
    lesson = Lesson(network, lambda batch, _: judge(network(batch.levels), batch), config.steps, rate)
    run(lesson, config, batches, device, place)
    shutil.rmtree(place, ignore_errors=True)
    return network.cpu().eval()


def diagnosis_loss(logits: Tensor, batch: TrainingBatch) -> Tensor:
    """Cross-entropy of the cohorts."""
    return F.cross_entropy(logits, batch.cohorts)


def segmentation_loss(logits: Tensor, batch: TrainingBatch) -> Tensor:
    """Binary cross-entropy and 1 − the soft Dice of the batch (Milletari et al. 2016), in equal parts."""
    chance = torch.sigmoid(logits)
    dice = (2 * (chance * batch.masks).sum() + 1) / (chance.sum() + batch.masks.sum() + 1)
    return F.binary_cross_entropy_with_logits(logits, batch.masks) + 1 - dice


def run(lesson: Lesson, config: DownstreamConfig, batches: Batches, device: torch.device, place: Path) -> None:
    """Make the steps of a lesson by AdamW, from the newest checkpoint under `place` on; linear warm-up, then cosine.

    Raises InputError where the loss is not finite.
    """
    parameters = dict(lesson.module.named_parameters())
    optimiser = torch.optim.AdamW(parameters.values(), lr=lesson.rate, weight_decay=config.weight_decay)
    first = _resumed(lesson.module, optimiser, place)
    lesson.module.train()
    for step in range(first, lesson.steps):
        for group in optimiser.param_groups:
            group["lr"] = lesson.rate * rate_factor(step, lesson.steps)
        batch = batches(step)
        batch = TrainingBatch(*(part.to(device) for part in (batch.levels, batch.masks, batch.cohorts)))
        loss = lesson.loss(batch, step)
        if not bool(torch.isfinite(loss)):
            raise InputError(f"the training diverged at step {step}: lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimiser.step()
        if (step + 1) % config.save_every == 0 and step + 1 < lesson.steps:
            save_checkpoint(place, step + 1, lesson.module.state_dict(), optimiser, {}, keep=1)
    lesson.module.eval()


def rate_factor(step: int, steps: int) -> float:
    """Factor on the peak learning rate at `step` (0-based)."""
    warmup = max(1, round(WARMUP * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _resumed(module: nn.Module, optimiser: torch.optim.Optimizer, place: Path) -> int:
    """The step to go on with."""
    if not (found := list_checkpoints(place)):
        return 0
    parameters, state, facts = load_checkpoint(found[-1])
    module.load_state_dict(parameters)
    optimiser.load_state_dict(state)
    return int(facts["step"])
