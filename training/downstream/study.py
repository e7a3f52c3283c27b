"""The arms of a study: every task, regime, generator and seed once, kept in the study's folder as they come.

    OUT/arms/TASK-REGIME-GENERATOR-SEED.json    OUT/models/TASK-REGIME-GENERATOR.safetensors    OUT/work/…

The models are those of the first seed. `work` holds checkpoints of what is under way.
"""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.downstream.baselines import Describer, ceiling, check_scikit_learn, labels_of, probe, traced
from training.downstream.batches import TrainingBatch, TrainingSet, check_tiles, draw_batch, training_set
from training.downstream.config import REGIMES, DownstreamConfig, Regime
from training.downstream.images import LabelledImage, RealSet, SyntheticSet, digest_of
from training.downstream.learning import pretrained_encoder, trained_network
from training.downstream.scores import Predictions, overlaps
from training.downstream.splits import Fold, check_cohorts, refuse_leaks
from wdlora.errors import InputError
from wdlora.files import write_json
from wdlora.hmsvit.file import DIAGNOSIS, SEGMENTATION, Facts, TrainedHmsvit, save_hmsvit
from wdlora.hmsvit.sizes import SIZES

ARMS, MODELS, WORK = "arms", "models", "work"
THRESHOLD = 0.5
"""Probability of nerve from which on a pixel counts."""

OF_REAL = "real"
"""In the place of a generator's name, for regimes without one."""

Key = tuple[str, str]
"""(regime, generator)."""


@dataclass(frozen=True)
class DownstreamStudy:
    """What is compared, and where it is kept. `folds` are pairings by seed; `tasks` of `config.TASKS`."""

    real: RealSet
    synthetic: list[SyntheticSet]
    folds: list[Fold]
    tasks: tuple[str, ...]
    config: DownstreamConfig
    out: Path
    features: str = "texture-1"
    device: str = "cpu"
    cohorts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse, before anything is trained, what no training may see and what it could not learn."""
        if not self.synthetic:
            raise InputError("a study needs synthetic images: give --synthetic or --adapter")
        names = [plain(one.name) for one in self.synthetic]
        if OF_REAL in names or len(set(names)) < len(names):
            raise InputError(f"generators need names of their own, and none may be {OF_REAL!r}: {', '.join(names)}")
        for fold in self.folds:
            found = check_cohorts(fold, self.synthetic, self.tasks)
            if self.cohorts and self.cohorts != found:
                raise InputError("the folds hold different cohorts: give more patients of each cohort")
            self.cohorts[:] = found
            for one in self.synthetic:
                refuse_leaks(fold, one)

    def keys(self, task: str) -> list[Key]:
        """Regimes with their generators, in the order of their trainings."""
        found = []
        for regime in self.config.regimes(task):
            found += [(regime.name, OF_REAL)] if regime.of_real else [(regime.name, one.name) for one in self.synthetic]
        return found

    def of(self, generator: str) -> list[LabelledImage]:
        """The images of a generator; none for real ones."""
        return next((one.images for one in self.synthetic if one.name == generator), [])


@dataclass(frozen=True)
class TaskRuns:
    """Predictions of every seed, by (regime, generator): of the networks, and of what stands beside them."""

    networks: dict[Key, list[Predictions]]
    probes: dict[Key, list[Predictions]]
    beside: list[Predictions]
    """The ceiling of a diagnosis, the tracer of a segmentation."""


Watch = Callable[[Iterable[Any], str, int], Iterable[Any]]


def unwatched(items: Iterable[Any], title: str, total: int) -> Iterable[Any]:
    """Shows nothing."""
    return items


def check_real(
    real: RealSet,
    folds: Sequence[Fold],
    tasks: Sequence[str],
    config: DownstreamConfig,
    without: str = "--task segmentation",
) -> None:
    """Raise InputError for what a study of these images would refuse, before synthetic ones are there: images smaller
    than a tile, cohorts that are not on both sides of a fold, scikit-learn that is missing (see `check_scikit_learn`).
    """
    if DIAGNOSIS in tasks:
        check_scikit_learn(without)
    check_tiles(real.images, config)
    for fold in folds:
        check_cohorts(fold, [], tasks)


def run_study(study: DownstreamStudy, watch: Watch = unwatched) -> dict[str, TaskRuns]:
    """Train and test every arm that is not there yet; returns the runs of each task.

    Raises InputError where OUT holds arms of other images or settings.
    """
    arms = [
        DownstreamArm(study, task, regime, generator, fold)
        for fold in study.folds
        for task in study.tasks
        for regime in study.config.regimes(task)
        for name, generator in study.keys(task)
        if name == regime.name
    ]
    if DIAGNOSIS in study.tasks:
        check_scikit_learn()
    describer = Describer(study.features)
    for arm in arms:
        _ = arm.images  # refused before anything is trained
    done: dict[tuple[str, Key], list[Predictions]] = {}
    for arm in watch(arms, "training", len(arms)):
        done.setdefault((arm.task, (arm.regime.name, arm.generator)), []).append(arm.predictions())
    shutil.rmtree(study.out / WORK, ignore_errors=True)
    return {task: _beside(study, task, describer, done) for task in study.tasks}


def _beside(
    study: DownstreamStudy, task: str, describer: Describer, done: dict[tuple[str, Key], list[Predictions]]
) -> TaskRuns:
    networks = {key: done[task, key] for key in study.keys(task)}
    if task == SEGMENTATION:
        return TaskRuns(networks, {}, [traced(describer, fold, study.cohorts) for fold in study.folds])
    return TaskRuns(
        networks, probe_runs(study, describer), [ceiling(describer, fold, study.cohorts) for fold in study.folds]
    )


def probe_runs(study: DownstreamStudy, describer: Describer) -> dict[Key, list[Predictions]]:
    """The appearance probe of every regime that turns nothing, and always that of shuffled labels."""
    found: dict[Key, list[Predictions]] = {}
    for name in ("A", "B", "C", "S"):
        regime = REGIMES[name]
        for generator in [OF_REAL] if regime.of_real else [one.name for one in study.synthetic]:
            images = study.of(generator)
            found[name, generator] = [
                probe(describer, study.config, regime, fold, images, study.cohorts) for fold in study.folds
            ]
    return found


@dataclass(frozen=True)
class DownstreamArm:
    """One training of a task under a regime, and its test."""

    study: DownstreamStudy
    task: str
    regime: Regime
    generator: str
    fold: Fold

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.task}-{self.regime.name}-{plain(self.generator)}-{self.fold.seed}"

    @property
    def images(self) -> TrainingSet:
        """What it draws from."""
        study = self.study
        synthetic = study.of(self.generator)
        return training_set(study.config, self.regime, self.fold.train, synthetic, study.cohorts, self.fold.seed)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides its result."""
        return self._digest(self.task)

    def _digest(self, of: str) -> str:
        study = self.study
        parts = [study.config.fingerprint(), of, self.regime.name, str(self.fold.seed), *study.cohorts]
        parts += [digest_of(some) for some in (self.fold.train, self.fold.test, study.of(self.generator))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def predictions(self) -> Predictions:
        """Of the held-out images: read where they are there, else trained for."""
        path = self.study.out / ARMS / f"{self.name}.json"
        if path.is_file():
            return _read(path, self.fingerprint)
        start = time.monotonic()
        network = self._trained()
        if self.fold.seed == self.study.folds[0].seed:
            model = f"{self.task}-{self.regime.name}-{plain(self.generator)}.safetensors"
            save_hmsvit(self.study.out / MODELS / model, network.network, network.facts)
        found = tested(network, self.fold.test, self.study.cohorts)
        values = {
            "fingerprint": self.fingerprint,
            "seconds": round(time.monotonic() - start, 1),
            "patients": found.patients.tolist(),
            "cohorts": found.cohorts.tolist(),
            "values": found.values.tolist(),
        }
        write_json(path, values)
        return found

    def _trained(self) -> TrainedHmsvit:
        study, config, seed = self.study, self.study.config, self.fold.seed
        images, device = self.images, torch.device(study.device)

        def batches(step: int) -> TrainingBatch:
            return draw_batch(images, config, study.cohorts, seed, step)

        work = study.out / WORK
        encoder = None
        if config.pretrain_steps:
            place = work / f"encoder-{self._digest('encoder')[:16]}"  # one for both tasks
            encoder = pretrained_encoder(config, batches, seed, device, place)
        facts = Facts(
            self.task,
            SIZES[config.network],
            config.side,
            study.real.pixel_size_um,
            tuple(study.cohorts) if self.task == DIAGNOSIS else (),
            {"regime": self.regime.name, "generator": self.generator, "steps": config.steps, "seed": seed},
        )
        place = work / f"{self.name}-{self.fingerprint[:16]}"
        return TrainedHmsvit(facts, trained_network(config, facts, encoder, batches, seed, device, place), "0" * 64)


def tested(network: TrainedHmsvit, images: Sequence[LabelledImage], cohorts: Sequence[str]) -> Predictions:
    """What a network says of images."""
    values = []
    for image in images:
        if network.facts.task == DIAGNOSIS:
            values.append(network.cohort_probabilities(image.image, image.pixel_size_um))
        else:
            values.append(np.array(overlaps(network.nerve_probability(image.levels) >= THRESHOLD, image.mask)))
    return Predictions(np.array([image.patient for image in images]), labels_of(images, cohorts), np.stack(values))


def plain(name: str) -> str:
    """A generator's name as part of a file's."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", name)


def _read(path: Path, fingerprint: str) -> Predictions:
    """An arm that is there. Raises InputError where it is damaged or of other images or settings."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["fingerprint"] != fingerprint:
            raise InputError(f"{path.parent.parent} holds arms of other images or settings: name another --out")
        return Predictions(np.array(kept["patients"]), np.array(kept["cohorts"]), np.array(kept["values"], float))
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged: remove it, and it is trained again") from None
