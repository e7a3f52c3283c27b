"""What networks reach on the draws of `benchmarks.downstream`, beside its three contrasts: diagnosis and segmentation.

Every network is trained as `training downstream` trains them by default. What is trained is kept in
runs/downstream_networks; a second call goes on with it.
"""

import shutil
import sys
from pathlib import Path

from tqdm import tqdm

from benchmarks import downstream
from benchmarks.downstream import CONTRASTS, Flaw, Pairing, blurred, pairings, perfect, relabelled, repeated
from benchmarks.timing import table
from training.downstream.config import REGIMES, TASKS, DownstreamConfig
from training.downstream.images import RealSet, SyntheticSet
from training.downstream.record import key_of
from training.downstream.scores import Figure, Predictions, accuracy, overlap_figure
from training.downstream.statistics import by_seed, estimate, mean_difference, sign_flip
from training.downstream.study import WORK, DownstreamArm, DownstreamStudy
from wdlora.hmsvit.file import DIAGNOSIS, SEGMENTATION

TITLE = "Networks on the sets with a flaw"
PAGE = downstream.PAGE
FOLDER = Path("runs") / "downstream_networks"

ARMS: list[tuple[str, Flaw]] = [
    ("A", perfect),
    ("B", perfect),
    ("B", repeated),
    ("C", perfect),
    ("C", blurred),
    ("C", relabelled),
]
"""Regimes and the sets that they draw from."""

FIGURES: dict[str, tuple[str, Figure]] = {
    DIAGNOSIS: ("accuracy of the diagnosis", accuracy),
    SEGMENTATION: ("clDice of the segmentation", overlap_figure("cldice")),
}

Runs = dict[tuple[str, str, str], list[Predictions]]
"""By task, regime and the set's name; one for every seed."""


def arms_of(pairing: Pairing) -> list[tuple[tuple[str, str, str], DownstreamArm]]:
    """The trainings of one seed. Labels say nothing about segmentation, so it has no relabelled set."""
    fold, flaws = pairing.fold, [perfect, blurred, relabelled, repeated]
    sets = [SyntheticSet(flaw.__name__, pairing.flawed(flaw), frozenset()) for flaw in flaws]
    study = DownstreamStudy(RealSet([*fold.train, *fold.test]), sets, [fold], TASKS, DownstreamConfig(), FOLDER)
    return [
        (
            (task, regime, flaw.__name__),
            DownstreamArm(study, task, REGIMES[regime], key_of(regime, flaw.__name__)[1], fold),
        )
        for task in TASKS
        for regime, flaw in ARMS
        if (task, flaw) != (SEGMENTATION, relabelled)
    ]


def run() -> str:
    """Train what is not trained yet, and compare."""
    arms = [arm for pairing in pairings() for arm in arms_of(pairing)]
    runs: Runs = {}
    for key, arm in tqdm(arms, "training", file=sys.stderr):
        runs.setdefault(key, []).append(arm.predictions())
    shutil.rmtree(FOLDER / WORK, ignore_errors=True)
    note = (
        f"Networks `tiny` of {DownstreamConfig.steps} steps, trained and tested on the draws of the probe. p: sign "
        "flips, two-sided, not corrected: the contrasts were chosen for the probe."
    )
    return "\n\n".join([note, *(_contrasts(runs, task) for task in TASKS), *(_regimes(runs, task) for task in TASKS)])


def _contrasts(runs: Runs, task: str) -> str:
    title, figure = FIGURES[task]
    rows = []
    for regime, good, bad in CONTRASTS:
        if (task, regime, bad.__name__) not in runs:
            continue
        one, other = runs[task, regime, good.__name__], runs[task, regime, bad.__name__]
        p, found = sign_flip(by_seed(one, figure) - by_seed(other, figure)), mean_difference(one, other, figure)
        span = f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
        rows.append([f"{regime}, {good.__name__} − {bad.__name__}", span, "–" if p is None else f"{p:.3f}"])
    return table([title, "difference (95 %)", "p"], rows)


def _regimes(runs: Runs, task: str) -> str:
    title, figure = FIGURES[task]
    rows = []
    for (of, regime, name), some in runs.items():
        if of == task:
            found = estimate(some, figure)
            label = regime if REGIMES[regime].of_real else f"{regime}, {name}"
            rows.append([label, f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"])
    return table([title, "mean (95 %)"], rows)
