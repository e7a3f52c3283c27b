"""The recipe of the tracer's network, from phantoms to the file and its figures."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import wdlora
from training.miniature.runner import Budget, progress_of, train
from training.tracer.batches import crops, learnable
from training.tracer.choosing import RULES, Judged, best_overlap, least_error
from training.tracer.figures import PHANTOM, phantom_figures
from training.tracer.folding import folded
from training.tracer.frames import LOOKS, Frames, training_frames
from training.tracer.labels import NERVE, labelled, visibility_of
from training.tracer.objective import tracer_loss
from wdlora.anatomy import sample_mask
from wdlora.anatomy.phantoms.phantom import frame
from wdlora.anatomy.scale import PIXEL_SIZE_UM
from wdlora.anatomy.tracing.choices import ANNOTATED, DETAILS, VISIBLE
from wdlora.anatomy.tracing.learned import LearnedTracer, save_network
from wdlora.anatomy.tracing.network import CHANNELS, NerveNetwork
from wdlora.cohorts import COHORTS
from wdlora.evaluation.workers import Crew
from wdlora.files import sha256, write_json

FIRST_SEED, HELD_OUT_SEED, USUAL_SEED, JUDGED_SEED = 1_000_000, 2_000_000, 2_500_000, 3_000_000
"""First seeds of the phantoms that are learned from, on which the levels of "visible" and of "annotated" are chosen,
and on which figures are taken."""

SETTLING, SETTLED_ON = 40, 60
"""Batches over which the averaged network's batch norms are measured, and the frames that they come from."""

Annotated = tuple[NDArray, NDArray]
"""An image [H, W] in pixels of `PIXEL_SIZE_UM`, and what can be seen in it, bool [H, W]."""


@dataclass(frozen=True)
class TracerRecipe:
    """Everything that decides what is trained."""

    seed: int = 20261130
    frames: int = 300
    held_out: int = 40
    usual: int = 40
    judged: int = 60
    name: str = "network-2"
    channels: tuple[int, ...] = CHANNELS
    budget: Budget = field(
        default_factory=lambda: Budget(
            steps=3000, learning_rate=2e-3, warmup_steps=40, average_decay=0.99, evaluate_every=250
        )
    )


def train_tracer(
    out: Path, work: Path, recipe: TracerRecipe, crew: Crew, chosen_on: tuple[str, list[Annotated]] | None = None
) -> Path:
    """Train, choose levels, and write `network.safetensors`, `recipe.json` and `metrics.json` into `out`.

    Frames and checkpoints go to `work`, from where an interrupted run goes on. `chosen_on`: name and images of a set
    on which the level of "visible" is chosen in the place of phantoms.
    """
    frames = training_frames(work / "frames", FIRST_SEED, recipe.frames, crew)
    network = _trained(work / "run", frames, recipe)
    tracer = LearnedTracer(recipe.name, PIXEL_SIZE_UM, {}, folded(network), "")
    held_out = training_frames(work / "frames", HELD_OUT_SEED, recipe.held_out, crew)
    labels = [labelled(visibility_of(a), b) for a, b in zip(held_out.visibility, held_out.marks, strict=True)]
    index = DETAILS.index(VISIBLE)
    levels = {
        ANNOTATED: least_error(ANNOTATED, _usual(tracer, recipe.usual)),
        VISIBLE: best_overlap(
            VISIBLE,
            [
                Judged(tracer.probabilities(image)[index], label & NERVE > 0)
                for image, label in zip(held_out.images, labels, strict=True)
            ],
        ),
    }
    chosen = dict.fromkeys(DETAILS, PHANTOM)
    if chosen_on is not None:
        name, pairs = chosen_on
        levels[VISIBLE] = best_overlap(VISIBLE, [Judged(tracer.probabilities(a)[index], b) for a, b in pairs])
        chosen[VISIBLE] = name
    path = out / "network.safetensors"
    rules = {detail: RULES[detail](level) for detail, level in levels.items()}
    save_network(path, tracer.network, recipe.name, PIXEL_SIZE_UM, rules)
    write_json(out / "recipe.json", _record(recipe, levels, chosen, tracer.network))
    figures = phantom_figures(path, JUDGED_SEED, recipe.judged, crew)
    write_json(out / "metrics.json", {"figures": figures, "sha256": sha256(path), "bytes": path.stat().st_size})
    return path


def _usual(tracer: LearnedTracer, count: int) -> list[Judged]:
    """Phantoms as they are usually drawn, with what an annotator draws of them."""
    found = []
    for seed in range(USUAL_SEED, USUAL_SEED + count):
        nerves = sample_mask(list(COHORTS)[seed % len(COHORTS)], seed)
        probability = tracer.probabilities(frame(nerves, seed).image)[DETAILS.index(ANNOTATED)]
        found.append(Judged(probability, nerves.mask))
    return found


def _trained(folder: Path, frames: Frames, recipe: TracerRecipe) -> NerveNetwork:
    """The averaged network with batch norms that fit it."""
    torch.manual_seed(recipe.seed)
    network = NerveNetwork(recipe.channels, normed=True)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    running = progress_of(folder, recipe.budget) < 1
    data = learnable(frames if running else frames.first(SETTLED_ON), recipe.seed)

    def loss_at(step: int, _: float) -> tuple[torch.Tensor, dict[str, float]]:
        images, nerve, counts = crops(data, np.random.default_rng([recipe.seed, step]))
        return tracer_loss(network(images.contiguous(memory_format=torch.channels_last)), nerve, counts)

    averaged = train(folder, network, loss_at, recipe.budget, seed=recipe.seed)
    settling = learnable(frames.first(SETTLED_ON), recipe.seed)
    return _settled(averaged, lambda k: crops(settling, np.random.default_rng([recipe.seed, 1 << 30, k]))[0])


def _settled(network: NerveNetwork, batch: Callable[[int], torch.Tensor]) -> NerveNetwork:
    """The network with the statistics of its batch norms measured anew: averaged weights have other ones."""
    norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    network.train()
    with torch.no_grad():
        for k in range(SETTLING):
            network(batch(k))
    return network.eval()


def _record(
    recipe: TracerRecipe, levels: dict[str, float], chosen: dict[str, str], network: NerveNetwork
) -> dict[str, Any]:
    """The recipe as JSON."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {
        "recipe": asdict(recipe),
        "trained_on": PHANTOM,
        "looks": asdict(LOOKS),
        "levels": levels,
        "levels_chosen_on": chosen,
        "parameters": parameters,
        "wdlora": wdlora.__version__,
        "torch": torch.__version__,
    }
