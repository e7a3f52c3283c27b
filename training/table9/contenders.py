"""The rows of Table IX: how each generator is trained and how it paints, and the limits beside them."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.cases import picture_of
from training.clock import PROCESSOR, Clock
from training.config import TrainingConfig
from training.downstream.images import RealSet
from training.held_out import MaskCase, Painter
from training.job import TrainingJob
from training.output import ADAPTER
from training.peers.file import load_peer
from training.peers.job import PeerJob, check_peer, train_peer
from training.peers.lesson import check_monai
from training.peers.recipe import PEERS
from training.pipeline import finetune
from training.record import read_record
from training.table9.phantoms import APPEARANCE, FIRST_FRESH, drawn_mask
from training.table9.settings import ADAPTERS, BASE, PHANTOM, Table9Settings
from training.views import draw_view
from wdlora.adapter import Adapter
from wdlora.anatomy import phantom
from wdlora.errors import InputError
from wdlora.files import sha256, write_json
from wdlora.qwen import apply_adapter
from wdlora.study import StudyCohort

COST, LEARNED = "cost.json", "learned.json"


@dataclass(frozen=True)
class Ground:
    """What every row stands on: data set, split and folder of the study; `learned` is the SHA-256 of what is learned
    from; `drawn`: the data are our phantoms.
    """

    data: Path
    split: Path
    out: Path
    pixel_size_um: float
    learned: str
    drawn: bool
    device: str = "cpu"


@dataclass(frozen=True)
class Contender:
    """A generator that is ready to paint. `parameters` were trained in `minutes` by the clock of the device; None where
    nothing was, and where it is not known.
    """

    painter: Painter
    origin: dict[str, Any]
    parameters: int = 0
    minutes: float | None = None


def check_rows(names: Sequence[str], real: RealSet, ground: Ground, settings: Table9Settings) -> None:
    """Raise InputError for what a row would refuse when its turn comes, maybe hours later: MONAI that is missing,
    images smaller than a crop, a base that cannot be loaded, a study that is not the preset's, a peer or an
    adapter of other settings or data, and phantoms' textures for a data set that was not drawn here.
    """
    if PHANTOM in names and not ground.drawn:
        raise InputError(f"the row {PHANTOM} is fresh texture on phantoms' masks, and {ground.data} has others")
    peers, adapters = ([name for name in some if name in names] for some in (PEERS, ADAPTERS))
    if peers:
        check_monai()
    for size in [settings.recipes[name].size for name in peers] + [settings.finetune.size] * bool(adapters):
        for image in real.images:
            draw_view(image.mask.shape, size, False, 0, image.identity, 0)
    if adapters or BASE in names:
        settings.model.check(settings.finetune.precision)
        if settings.study is not None and settings.study != real.study:
            raise InputError(
                f"the preset {settings.preset} is for the study {settings.study.label}, and {ground.data} is of "
                f"{real.study.label}: give data of that study, or another preset"
            )
    for name in peers:
        if (ground.out / name).is_dir():
            check_peer(_peer_job(name, ground, settings))
    for name in adapters:
        if (ground.out / name / ADAPTER).is_file():
            _refuse_another(ground.out / name, _config(name, settings), ground, settings)


def ready(name: str, ground: Ground, settings: Table9Settings) -> Contender:
    """A row's generator, trained where it is not yet, after `check_rows`.

    Raises InputError where its folder holds one of another base, of other settings or data, and where it was stopped.
    """
    if name in PEERS:
        return _peer(name, ground, settings)
    if name in ADAPTERS:
        return _adapter(name, ground, settings)
    if name == BASE:
        return Contender(*_painter(settings.model.load(settings.finetune.precision, ground.device), settings))
    return Contender(_fresh, {"phantom": "fresh texture", "first_seed": FIRST_FRESH})


def _peer_job(name: str, ground: Ground, settings: Table9Settings) -> PeerJob:
    return PeerJob(
        name, settings.recipes[name], settings.peer_preset, ground.data, ground.out / name, ground.split,
        ground.pixel_size_um, ground.device,
    )  # fmt: skip


def _peer(name: str, ground: Ground, settings: Table9Settings) -> Contender:
    job = _peer_job(name, ground, settings)
    if not (result := train_peer(job))["finished"]:
        raise InputError(f"the training of {name} was stopped; the same command goes on")
    peer = load_peer(job.out, ground.device)

    def painter(case: MaskCase, group: StudyCohort, seed: int) -> NDArray[np.uint8]:
        return peer.paint(case.mask, case.cohort, seed)

    clock = Clock(ground.device).name
    minutes = result["minutes"] if result.get("clock", clock) == clock else None
    return Contender(painter, {"peer": name, "peer_sha256": peer.digest}, result["parameters"], minutes)


def _adapter(name: str, ground: Ground, settings: Table9Settings) -> Contender:
    out = ground.out / name
    config, clock = _config(name, settings), Clock(ground.device)
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
        write_json(out / LEARNED, {"sha256": ground.learned})
        with _counted(out / COST, clock):
            result = finetune(job)
        if not result["finished"]:
            raise InputError(f"the fine-tune {name} was stopped; the same command goes on")
    adapter = Adapter.load(file)
    model = settings.model.load(config.precision, ground.device)
    if adapter.metadata.base_sha256 not in (None, model.hashes["transformer"]):
        raise InputError(f"{out} holds an adapter of another base than {settings.model.label}: name another --out")
    apply_adapter(model.transformer, adapter)
    painter, origin = _painter(model, settings)
    minutes = _minutes(out / COST, clock)
    return Contender(painter, origin | {"adapter_sha256": sha256(file)}, adapter.parameters, minutes)


def _config(name: str, settings: Table9Settings) -> TrainingConfig:
    return dataclasses.replace(settings.finetune, method="lora" if name == "lora" else "wdlora")


def _refuse_another(out: Path, config: TrainingConfig, ground: Ground, settings: Table9Settings) -> None:
    """Raise InputError, which names what differs, where the adapter in a row's folder is of other settings, of a base
    of another name, or of other data. Data are compared where the folder says which they were.
    """
    held, now = read_record(out), config.learned_fields() | {"steps": config.steps}
    changed = [f"{key} ({held[key]} then, {value} now)" for key, value in now.items() if held.get(key, value) != value]
    base = Adapter.load(out / ADAPTER).metadata.base_model
    if base not in (None, settings.model.label):
        changed.append(f"base ({base} then, {settings.model.label} now)")
    if (out / LEARNED).is_file():
        learned = json.loads((out / LEARNED).read_text(encoding="utf-8"))["sha256"]
        changed += ["data"] if learned != ground.learned else []
    if changed:
        raise InputError(
            f"{out} holds an adapter that was trained with another {', '.join(changed)}: name another --out"
        )


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
def _counted(file: Path, clock: Clock) -> Iterator[None]:
    """Add the clock's seconds spent within to a file, also where it ends early. What a killed process spent is not
    known, and so the sum is not.
    """
    before, began = _seconds(file, clock), clock()
    write_json(file, {"seconds": None, "clock": clock.name})
    try:
        yield
    finally:
        write_json(file, {"seconds": None if before is None else before + clock() - began, "clock": clock.name})


def _seconds(file: Path, clock: Clock) -> float | None:
    """What was counted so far: 0 without the file, None where it is not known, or another clock counted."""
    if not file.is_file():
        return 0.0
    told = json.loads(file.read_text(encoding="utf-8"))
    return told["seconds"] if told.get("clock", PROCESSOR) == clock.name else None


def _minutes(file: Path, clock: Clock) -> float | None:
    seconds = _seconds(file, clock) if file.is_file() else None
    return None if seconds is None else round(seconds / 60, 1)


def seconds_a_picture(paint: Callable[[MaskCase], Any], cases: Sequence[MaskCase], clock: Callable[[], float]) -> float:
    """Seconds of a picture by a clock, the median of the cases after a first one."""
    spent = []
    for case in [cases[0], *cases]:
        began = clock()
        paint(case)
        spent.append(clock() - began)
    return float(np.median(spent[1:]))
