"""The rows of Table IX: how each generator is trained and how it paints, and the limits beside them."""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.cases import picture_of
from training.config import TrainingConfig
from training.held_out import MaskCase, Painter
from training.models import ModelSource
from training.output import ADAPTER
from training.peers.file import load_peer
from training.peers.job import PeerJob, train_peer
from training.peers.recipe import PEERS, PeerRecipe
from training.pipeline import TrainingJob, finetune
from training.table9.phantoms import APPEARANCE, FIRST_FRESH, drawn_mask
from wdlora.adapter import Adapter
from wdlora.anatomy import phantom
from wdlora.errors import InputError
from wdlora.files import sha256, write_json
from wdlora.qwen import apply_adapter
from wdlora.study import StudyCohort

ADAPTERS = ("lora", "wdlora")
BASE, PHANTOM = "base", "phantom"
NAMES = (*PEERS, *ADAPTERS, BASE, PHANTOM)
TITLES = {
    "spade": "SPADE",
    "maisi": "MAISI-2D",
    "lora": "LoRA",
    "wdlora": "WDLoRA",
    BASE: "base, not adapted (limit)",
    PHANTOM: "phantom of the same mask (limit)",
}
COST = "cost.json"


@dataclass(frozen=True)
class Table9Settings:
    """What is trained for the rows, and how it paints. `recipes` by peer; `finetune` of both adapters, whose method is
    set and whose sheets say how pictures are painted; `model` is their base.
    """

    recipes: dict[str, PeerRecipe]
    finetune: TrainingConfig
    model: ModelSource
    preset: str = ""


@dataclass(frozen=True)
class Ground:
    """What every row stands on: data set, split and folder of the study; `drawn`: the data are our phantoms."""

    data: Path
    split: Path
    out: Path
    pixel_size_um: float
    drawn: bool
    device: str = "cpu"


@dataclass(frozen=True)
class Contender:
    """A generator that is ready to paint. `parameters` were trained, in `core_minutes` (None: nothing was)."""

    painter: Painter
    origin: dict[str, Any]
    parameters: int = 0
    core_minutes: float | None = None


def ready(name: str, ground: Ground, settings: Table9Settings) -> Contender:
    """A row's generator, trained where it is not yet.

    Raises InputError without MONAI for a peer, and for phantoms of a data set that was not drawn here.
    """
    if name in PEERS:
        return _peer(name, ground, settings)
    if name in ADAPTERS:
        return _adapter(name, ground, settings)
    if name == BASE:
        return Contender(*_painter(settings.model.load(settings.finetune.precision, ground.device), settings))
    if not ground.drawn:
        raise InputError(f"the row {PHANTOM} is fresh texture on phantoms' masks, and {ground.data} has others")
    return Contender(_fresh, {"phantom": "fresh texture", "first_seed": FIRST_FRESH})


def _peer(name: str, ground: Ground, settings: Table9Settings) -> Contender:
    out = ground.out / name
    job = PeerJob(
        name, settings.recipes[name], settings.preset, ground.data, out, ground.split, ground.pixel_size_um,
        ground.device,
    )  # fmt: skip
    if not (result := train_peer(job))["finished"]:
        raise InputError(f"the training of {name} was stopped; the same command goes on")
    peer = load_peer(out, ground.device)

    def painter(case: MaskCase, group: StudyCohort, seed: int) -> NDArray[np.uint8]:
        return peer.paint(case.mask, case.cohort, seed)

    return Contender(painter, {"peer": name, "peer_sha256": peer.digest}, result["parameters"], result["minutes"])


def _adapter(name: str, ground: Ground, settings: Table9Settings) -> Contender:
    out = ground.out / name
    config = dataclasses.replace(settings.finetune, method="lora" if name == "lora" else "wdlora")
    file = out / ADAPTER
    if not file.is_file():
        job = TrainingJob(
            config,
            f"{settings.preset} with method={name}",
            settings.model,
            out,
            str(ground.data),
            pixel_size_um=ground.pixel_size_um,
            device=ground.device,
            split=ground.split,
            resume=(out / "config.json").is_file(),
        )
        with _counted(out / COST):
            result = finetune(job)
        if not result["finished"]:
            raise InputError(f"the fine-tune {name} was stopped; the same command goes on")
    adapter = Adapter.load(file)
    model = settings.model.load(config.precision, ground.device)
    apply_adapter(model.transformer, adapter)
    painter, origin = _painter(model, settings)
    return Contender(painter, origin | {"adapter_sha256": sha256(file)}, adapter.parameters, _minutes(out / COST))


def _painter(model: Any, settings: Table9Settings) -> tuple[Painter, dict[str, Any]]:
    """How a model paints, and what the provenance of its pictures says."""
    sampling = settings.finetune.sheet_sampling(model.defaults)

    def painter(case: MaskCase, group: StudyCohort, seed: int) -> NDArray[np.uint8]:
        return picture_of(model, case.mask, group, sampling, seed)

    return painter, {"base_sha256": model.hashes["transformer"], "sampling": dataclasses.asdict(sampling)}


def _fresh(case: MaskCase, group: StudyCohort, seed: int) -> NDArray[np.uint8]:
    """Another phantom of a patient's mask; its seed is the patient's number, so that no two share their texture."""
    number = int(case.patient.rpartition("-")[2])
    return phantom(drawn_mask(number), FIRST_FRESH + number, appearance=APPEARANCE)


@contextmanager
def _counted(file: Path) -> Iterator[None]:
    """Add the processor's seconds spent within to a file, also where it ends early."""
    began = time.process_time()
    try:
        yield
    finally:
        write_json(file, {"seconds": _seconds(file) + time.process_time() - began})


def _seconds(file: Path) -> float:
    return float(json.loads(file.read_text(encoding="utf-8"))["seconds"]) if file.is_file() else 0.0


def _minutes(file: Path) -> float:
    return round(_seconds(file) / 60, 1)


def seconds_a_picture(paint: Callable[[MaskCase], Any], cases: list[MaskCase]) -> float:
    """Processor seconds of a picture, the median of the cases after a first one."""
    spent = []
    for case in [cases[0], *cases]:
        began = time.process_time()
        paint(case)
        spent.append(time.process_time() - began)
    return float(np.median(spent[1:]))
