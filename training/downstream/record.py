"""report.json of a downstream study: every figure as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.downstream.baselines import chance
from training.downstream.config import COMPARED, REGIMES
from training.downstream.images import SyntheticSet
from training.downstream.scores import (
    DIAGNOSIS_FIGURES,
    SEGMENTATION_FIGURES,
    Figure,
    Predictions,
    confusion,
    figures_of,
)
from training.downstream.statistics import LEAST_PAIRS, by_seed, estimate, mean_difference, pairs_needed, sign_flip
from training.downstream.study import OF_REAL, DownstreamStudy, Key, TaskRuns
from wdlora import __version__
from wdlora.anatomy.tracing.segmenters import tracer_name
from wdlora.evaluation.equivalence import LEVEL, holm
from wdlora.evaluation.extractors import extractor
from wdlora.hmsvit.file import DIAGNOSIS, NAME

VERSION = 1
"""Of the file's layout."""

MAIN = {DIAGNOSIS: "accuracy", "segmentation": "miou"}
"""The figure of each task that is tested, as in the paper's Table VII."""


@dataclass(frozen=True)
class PairedContrast:
    """A regime minus A for one generator: per seed, and the p of their sign-flip test, None below six pairs."""

    generator: str
    regime: str
    differences: NDArray
    p: float | None


def study_record(study: DownstreamStudy, runs: Mapping[str, TaskRuns]) -> dict[str, Any]:
    """The study as JSON values. Figures of the first generator stand at the top, all under `generators`."""
    first = study.synthetic[0].name
    tasks = {task: _task(study, task, found) for task, found in runs.items()}
    values: dict[str, Any] = {
        "report": VERSION,
        "wdlora": __version__,
        "network": f"{NAME} {study.config.network}",
        "extractor": extractor(study.features).name,
        "tracer": tracer_name(),
        "seeds": len(study.folds),
        "cohorts": study.cohorts,
        "n": _counts(study),
        "settings": asdict(study.config),
        "notes": notes(study),
    }
    values |= {task: found[first] for task, found in tasks.items()}
    values["generators"] = {
        one.name: {task: found[one.name] for task, found in tasks.items()} for one in study.synthetic
    }
    if any(one.rank for one in study.synthetic):
        values["by_rank"] = [_ranked(one, values["generators"][one.name]) for one in study.synthetic if one.rank]
    return values


def _task(study: DownstreamStudy, task: str, runs: TaskRuns) -> dict[str, dict[str, Any]]:
    """The figures of a task, by generator."""
    kinds = list(DIAGNOSIS_FIGURES) if task == DIAGNOSIS else list(SEGMENTATION_FIGURES)
    figures, main = figures_of(kinds), figures_of([MAIN[task]])[MAIN[task]]
    tests = _tested(study, runs.networks, main)
    found = {}
    for one in study.synthetic:
        values = _regimes(study, task, runs.networks, figures, one.name)
        values |= _differences(runs.networks, tests, main, one.name)
        first = next(test for test in tests if (test[0].generator, test[0].regime) == (one.name, "B"))
        values["p"], values["p_of"] = first[1], "B-A"
        values["claim"] = _claim(tests, one.name, MAIN[task])
        if task == DIAGNOSIS:
            values |= _beside_diagnosis(study, runs, main, one.name)
        else:
            values["tracer"] = {name: estimate(runs.beside, of).to_dict() for name, of in figures.items()}
        found[one.name] = values
    return found


def key_of(regime: str, generator: str) -> Key:
    """Where the runs of a regime are, for one generator."""
    return regime, OF_REAL if REGIMES[regime].of_real else generator


def _regimes(
    study: DownstreamStudy,
    task: str,
    runs: Mapping[Key, list[Predictions]],
    figures: Mapping[str, Figure],
    generator: str,
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for regime in study.config.regimes(task):
        some = runs[key_of(regime.name, generator)]
        values[regime.name] = {name: estimate(some, of).to_dict() for name, of in figures.items()}
        values[regime.name]["by_seed"] = {name: by_seed(some, of).tolist() for name, of in figures.items()}
        if task == DIAGNOSIS:
            classes = len(study.cohorts)
            values[regime.name]["confusion"] = np.sum([confusion(run, classes) for run in some], axis=0).tolist()
    return values


def _tested(
    study: DownstreamStudy, runs: Mapping[Key, list[Predictions]], figure: Figure
) -> list[tuple[PairedContrast, float | None]]:
    """Every contrast of a task with its p after Holm's correction over all of them."""
    contrasts = []
    for one in study.synthetic:
        for regime in COMPARED:
            values = by_seed(runs[regime, one.name], figure) - by_seed(runs["A", OF_REAL], figure)
            contrasts.append(PairedContrast(one.name, regime, values, sign_flip(values)))
    adjusted = holm(np.array([np.nan if one.p is None else one.p for one in contrasts]))
    return [(one, float(p) if np.isfinite(p) else None) for one, p in zip(contrasts, adjusted, strict=True)]


def _differences(
    runs: Mapping[Key, list[Predictions]],
    tests: Sequence[tuple[PairedContrast, float | None]],
    figure: Figure,
    generator: str,
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for one, adjusted in tests:
        if one.generator == generator:
            values[f"{one.regime}-A"] = mean_difference(
                runs[one.regime, generator], runs["A", OF_REAL], figure
            ).to_dict() | {
                "p_unadjusted": one.p,
                "p": adjusted,
                "needed": pairs_needed(one.differences),
                "by_seed": one.differences.tolist(),
            }
    return values


def _claim(tests: Sequence[tuple[PairedContrast, float | None]], generator: str, figure: str) -> str | None:
    """What may be said of a generator; None below six pairs, where nothing may."""
    said = []
    for one, p in tests:
        if one.generator != generator:
            continue
        if p is None:
            return None
        mean = float(one.differences.mean())
        if p < LEVEL:
            word = "above" if mean > 0 else "below"
            said.append(f"{one.regime} lies {word} A by {abs(mean):.3f} {figure} (p = {p:.3f})")
        else:
            said.append(f"{one.regime} and A are not told apart (p = {p:.2f})")
    return "; ".join(said)


def _beside_diagnosis(study: DownstreamStudy, runs: TaskRuns, figure: Figure, generator: str) -> dict[str, Any]:
    """Chance, the ceiling, and the probe with its own differences."""
    probes = {name: runs.probes[key_of(name, generator)] for name in ("A", "B", "C", "S")}
    probe: dict[str, Any] = {name: estimate(some, figure).to_dict() for name, some in probes.items()}
    for regime in COMPARED:
        values = by_seed(probes[regime], figure) - by_seed(probes["A"], figure)
        probe[f"{regime}-A"] = mean_difference(probes[regime], probes["A"], figure).to_dict() | {
            "p_unadjusted": sign_flip(values),
            "needed": pairs_needed(values),
            "by_seed": values.tolist(),
        }
    top = estimate(runs.beside, figure)
    return {
        "probe": probe,
        "chance": float(np.mean([chance(fold, study.cohorts) for fold in study.folds])),
        "ceiling": top.value,
        "ceiling_interval": top.to_dict(),
    }


def _ranked(one: SyntheticSet, found: Mapping[str, Any]) -> dict[str, Any]:
    """A row of Table VIII: the regimes with the pictures of an adapter."""
    values: dict[str, Any] = {"generator": one.name, "method": one.method, "rank": one.rank}
    for task, figures in found.items():
        values[task] = {regime: figures[regime][MAIN[task]] for regime in COMPARED}
    return values


def _counts(study: DownstreamStudy) -> dict[str, Any]:
    real = study.real.images
    return {
        "real": len(real),
        "patients": len({image.patient for image in real}),
        "held_out": [len(fold.test) for fold in study.folds],
        "held_out_patients": [len(fold.held) for fold in study.folds],
        "synthetic": {one.name: len(one.images) for one in study.synthetic},
    }


def notes(study: DownstreamStudy) -> list[str]:
    """What a reader must know before reading a figure."""
    found = []
    if len(study.folds) < LEAST_PAIRS:
        found.append(
            f"Nothing is claimed: a sign-flip test of fewer than {LEAST_PAIRS} pairs cannot be significant at 5 %, and "
            f"here the number of pairs is {len(study.folds)}."
        )
    if study.real.parts:
        found.append("All seeds test on the same patients: they differ by initialisation and draws alone.")
    else:
        found.append("Splits of one data set overlap, so pairs are not independent and p is somewhat too small.")
    unknown = [one.name for one in study.synthetic if one.learned is None]
    if unknown:
        found.append(
            f"Nothing says which patients {', '.join(unknown)} was trained on: that no held-out patient was among them "
            "is not checked."
        )
    found.append("The network is HMSViT-like: HMSViT's own code and settings are not published.")
    return found
