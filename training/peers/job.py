"""A training of a peer from its arguments to its files.

OUT/peer.safetensors  README.md  recipe.json  split.csv  log.jsonl  sheets/step-….png  checkpoints/
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from training.clock import TOLD, Clock
from training.peers.course import PeerCourse, newest_checkpoint
from training.peers.data import PeerData, as_levels, draw_crops, read_peer_data
from training.peers.file import FILE, NOTE, PeerFacts, built_peer, load_peer, save_peer
from training.peers.judging import crops_to_judge, following
from training.peers.lesson import Peer, check_monai
from training.peers.recipe import PUBLISHED_MILLIONS, PeerRecipe
from training.run_log import RunLog
from training.sides import write_parts
from wdlora.dataset.split import TABLE as SPLIT
from wdlora.errors import InputError
from wdlora.files import write_json, write_text
from wdlora.locks import at_work
from wdlora.qwen.memory import pick_device

UNKNOWN = "its time is not known, because part of it may have run on another kind of device"
"""What is said of a training that was continued by another clock."""

JUDGED = 12
"""Held-out crops that are painted and traced while a peer is trained."""

RECIPE = "recipe.json"

DEPARTURES = {
    "spade": "feature matching and pixels in the place of the perceptual loss, whose weights would be fetched; cohorts "
    "are planes of the label map; hinge loss, sizes and weights are ours",
    "maisi": "AutoencoderKL in the place of MAISI's own, which is for volumes; feature matching in the place of the "
    "perceptual loss, whose weights would be fetched; cohorts are classes; sizes are ours",
}
"""What is not as the paper or the peer's authors have it, or is not known."""


@dataclass(frozen=True)
class PeerJob:
    """What to train on what. `preset` is the recipe's name, with what was changed of it."""

    peer: str
    recipe: PeerRecipe
    preset: str
    data: Path
    out: Path
    split: Path | None = None
    pixel_size_um: float | None = None
    device: str = "cpu"


def train_peer(job: PeerJob) -> dict[str, Any]:
    """Train a peer, or go on with its training; returns `finished`, and of a finished one `file` and its figures, of
    which `minutes` is None where it is not known (see `PeerCourse.run`).

    Raises InputError, before the first step, for data, folders and devices that cannot be used and without MONAI.
    """
    recipe, data, identity = _prepared(job)
    with at_work(job.out):
        if (job.out / FILE).is_file():
            return _finished(job, identity)
        job.out.mkdir(parents=True, exist_ok=True)
        write_json(job.out / RECIPE, {"peer": job.peer, "preset": job.preset} | asdict(recipe))
        write_parts(job.out / SPLIT, data.parts)
        torch.manual_seed(recipe.seed)
        network = built_peer(recipe, len(data.cohorts))
        course = _course(job, recipe, network, data, identity)
        finished, seconds = course.run()
        if not finished:
            return {"finished": False, "step": _step(job.out)}
        trained = {
            "identity": identity,
            "preset": job.preset,
            "data": data.sentence,
            "minutes": None if seconds is None else round(seconds / 60, 1),
            "clock": Clock(job.device).name,
            "parameters": network.trained_parameters(),
            "painting_parameters": network.painting_parameters(),
        }
        facts = PeerFacts(
            job.peer, recipe, data.cohorts, data.pixel_size_um, data.study.label, data.study.sha256, trained
        )
        _write_peer_card(job, facts)
        save_peer(job.out / FILE, network, facts)
        return _finished(job, identity)


def check_peer(job: PeerJob) -> None:
    """Raise InputError where `train_peer` would before its first step."""
    _, _, identity = _prepared(job)
    if (job.out / FILE).is_file():
        _finished(job, identity)
    else:
        newest_checkpoint(job.out, identity)


def _prepared(job: PeerJob) -> tuple[PeerRecipe, PeerData, str]:
    """The recipe with its steps, the data, and the identity of both. Raises InputError for what cannot be used."""
    pick_device(job.device)
    check_monai()
    data = read_peer_data(job.data, job.recipe, job.split, job.pixel_size_um)
    recipe = job.recipe.stepped(len(data.learned))
    identity = hashlib.sha256(f"{job.peer} {recipe.fingerprint()} {data.fingerprint}".encode()).hexdigest()
    return recipe, data, identity


def _course(job: PeerJob, recipe: PeerRecipe, network: Peer, data: PeerData, identity: str) -> PeerCourse:
    crops = crops_to_judge(data.held, recipe.size, JUDGED)

    def judge(step: int) -> dict[str, float]:
        def paint(mask: Any, cohort: str, seed: int) -> Any:
            return as_levels(network.paint(mask, data.cohorts.index(cohort), torch.Generator().manual_seed(seed)))

        return following(crops, paint, data.pixel_size_um, job.out / "sheets" / f"step-{step:06d}.png")

    def batches(step: int) -> Any:
        return draw_crops(data.learned, data.cohorts, recipe, step)

    return PeerCourse(network, recipe, batches, job.out, torch.device(job.device), identity, judge)


def _finished(job: PeerJob, identity: str) -> dict[str, Any]:
    """Of the peer that is there. Raises InputError where it is of another recipe or other data."""
    trained = load_peer(job.out).facts.trained
    if trained.get("identity") != identity:
        raise InputError(f"{job.out} holds a peer of another recipe or other data: name another --out")
    return {"finished": True, "file": str(job.out / FILE)} | dict(trained) | judged_figures(job.out)


def judged_figures(out: Path) -> dict[str, float]:
    """The figures of the last judgement in the log; empty where nobody was held out."""
    judged = [line for line in RunLog(out).lines() if "traced_dice" in line]
    return {name: value for name, value in judged[-1].items() if name != "step"} if judged else {}


def _step(out: Path) -> int:
    lines = RunLog(out).lines()
    return int(lines[-1]["step"]) if lines else 0


def _write_peer_card(job: PeerJob, facts: PeerFacts) -> None:
    trained, recipe = facts.trained, facts.recipe
    judged = judged_figures(job.out)
    rows = "\n".join(f"| {name} | {value} |" for name, value in asdict(recipe).items())
    minutes = trained["minutes"]
    cost = f"Training: {UNKNOWN}" if minutes is None else f"{minutes} minutes of training ({TOLD[trained['clock']]})"
    followed = "Nobody was held out, so it was not judged."
    if judged:
        beside = f", with another's {judged['wrong_dice']:.3f}" if "wrong_dice" in judged else ""
        followed = (
            f"Held-out crops: {judged['traced_pictures']}. Dice of the traced picture with its own mask "
            f"{judged['traced_dice']:.3f}{beside}. Samples: `sheets/`."
        )
    write_text(
        job.out / "README.md",
        f"""# {job.peer}: a generator beside WDLoRA

{NOTE.capitalize()}; no clinical validity is claimed.

- Preset: {job.preset}; data: {trained["data"]}
- Cohorts: {", ".join(facts.cohorts)}; {facts.pixel_size_um:.4g} µm a pixel
- Trained parameters {trained["parameters"] / 1e6:.2f} million without discriminators, of which painting needs
  {trained["painting_parameters"] / 1e6:.2f}; the paper's Table IX says {PUBLISHED_MILLIONS[job.peer]} for its own
- {cost}
- Departures: {DEPARTURES[job.peer]}

{followed}

| field | value |
|---|---|
{rows}
""",
    )
