"""Whether the downstream probe sees what is wrong with synthetic images: three contrasts that were named beforehand.

Real and synthetic images are phantoms 2 of common appearance, drawn apart. Each seed draws its own real images to train
on and to test on, and its own synthetic ones, from pools. The synthetic set is perfect, blurred, relabelled in part, or
a few images again and again; what is seen is the accuracy of logistic regression on texture-1.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.timing import table
from training.downstream.baselines import Describer, ceiling, chance, probe
from training.downstream.config import REGIMES, DownstreamConfig
from training.downstream.images import LabelledImage
from training.downstream.scores import Predictions, accuracy
from training.downstream.splits import Fold
from training.downstream.statistics import by_seed, estimate, mean_difference, pairs_needed, sign_flip
from wdlora.anatomy import phantom, sample_mask
from wdlora.anatomy.scale import PIXEL_SIZE_UM
from wdlora.cohorts import COHORTS
from wdlora.evaluation.equivalence import holm
from wdlora.evaluation.extractors import EXTRACTOR

TITLE = "The probe on the sets with a flaw"
PAGE = Path(__file__).parents[1] / "docs" / "studies" / "flawed-sets.md"

FIRST_REAL, FIRST_SYNTHETIC = 5_000_000, 6_000_000
POOL, SIDE = 210, 160
"""Images of each pool, and their side in pixels."""

TRAIN, TEST, SYNTHETIC, FEW = 60, 120, 150, 30
SEEDS = range(7)
BLUR_PX, RELABELLED = 0.8, 0.4

Images = list[LabelledImage]


def draw(first: int) -> Images:
    """Phantoms, the cohorts in turn, each its own patient."""
    found = []
    for number in range(POOL):
        cohort = list(COHORTS)[number % len(COHORTS)]
        mask = sample_mask(cohort, first + number, size=SIDE)
        image = phantom(mask, first + number, appearance="common")
        found.append(LabelledImage(str(number), cohort, f"P{first + number}", image, mask.mask, PIXEL_SIZE_UM))
    return found


def perfect(images: Images, generator: np.random.Generator) -> Images:
    """As they are."""
    return images


def blurred(images: Images, generator: np.random.Generator) -> Images:
    """Blurred by a Gaussian of `BLUR_PX`."""
    return [replace(one, image=ndimage.gaussian_filter(one.image, BLUR_PX)) for one in images]


def relabelled(images: Images, generator: np.random.Generator) -> Images:
    """A share of `RELABELLED` under a cohort at random."""
    names = list(COHORTS)
    return [
        replace(one, cohort=names[generator.integers(len(names))]) if generator.random() < RELABELLED else one
        for one in images
    ]


def repeated(images: Images, generator: np.random.Generator) -> Images:
    """The first few, five times."""
    return images[:FEW] * (len(images) // FEW)


Flaw = Callable[[Images, np.random.Generator], Images]

CONTRASTS: list[tuple[str, Flaw, Flaw]] = [
    ("C", perfect, blurred),
    ("C", perfect, relabelled),
    ("B", perfect, repeated),
]
"""A regime, and two sets that it is compared with."""


@dataclass(frozen=True)
class Pairing:
    """What one seed draws: real images on two sides, and synthetic ones."""

    fold: Fold
    synthetic: Images

    def flawed(self, flaw: Flaw) -> Images:
        """The synthetic images with a flaw."""
        return flaw(self.synthetic, np.random.default_rng([self.fold.seed, 3]))


def pairings() -> list[Pairing]:
    """Those of all seeds, from the same two pools."""
    real, synthetic = draw(FIRST_REAL), draw(FIRST_SYNTHETIC)
    found = []
    for seed in SEEDS:
        chosen = [real[place] for place in _balanced(np.random.default_rng([seed, 1]))]
        some = [synthetic[place] for place in _balanced(np.random.default_rng([seed, 2]))[:SYNTHETIC]]
        found.append(Pairing(Fold(seed, chosen[:TRAIN], chosen[TRAIN : TRAIN + TEST]), some))
    return found


def run() -> str:
    """Draw, probe, and test the three contrasts."""
    describer, config, cohorts = Describer(EXTRACTOR), DownstreamConfig(), list(COHORTS)
    drawn = pairings()
    folds = [one.fold for one in drawn]

    def runs(regime: str, flaw: Flaw) -> list[Predictions]:
        return [probe(describer, config, REGIMES[regime], one.fold, one.flawed(flaw), cohorts) for one in drawn]

    arms = {(r, f.__name__): runs(r, f) for r in ("A", "B", "C", "S") for f in (perfect, blurred, relabelled, repeated)}
    rows = []
    tested = []
    for regime, good, bad in CONTRASTS:
        one, other = arms[regime, good.__name__], arms[regime, bad.__name__]
        values = by_seed(one, accuracy) - by_seed(other, accuracy)
        tested.append((values, sign_flip(values), mean_difference(one, other, accuracy)))
    adjusted = holm(np.array([p for _, p, _ in tested], float))
    for (regime, good, bad), (values, _, found), p in zip(CONTRASTS, tested, adjusted, strict=True):
        name = f"{regime}, {good.__name__} − {bad.__name__}"
        span = f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
        rows.append([name, span, f"{p:.3f}", str(pairs_needed(values) or "–")])
    figures = [
        [f"{r}, {f}", _shown(arms[r, f])] for r in ("B", "C") for f in ("perfect", "blurred", "relabelled", "repeated")
    ]
    figures = [["A", _shown(arms["A", "perfect"])], *figures, ["A under shuffled labels", _shown(arms["S", "perfect"])]]
    figures.append(["ceiling: true biomarkers", _shown([ceiling(describer, fold, cohorts) for fold in folds])])
    figures.append(["chance", f"{np.mean([chance(fold, cohorts) for fold in folds]):.3f}"])
    note = (
        f"Phantoms 2 of common appearance, {SIDE} px: {TRAIN} real images to train on, {TEST} to test on, {SYNTHETIC} "
        f"synthetic ones, {len(SEEDS)} paired draws from pools of {POOL}. Accuracy of logistic regression on "
        f"{EXTRACTOR}, three cohorts. Blur {BLUR_PX} px; {RELABELLED:.0%} of labels at random; {FEW} images five "
        "times. p: sign flips, two-sided, Holm over the three."
    )
    return "\n\n".join(
        [
            note,
            table(["contrast", "difference (95 %)", "p", "seeds for 80 % power"], rows),
            table(["regime", "accuracy (95 %)"], figures),
        ]
    )


def _balanced(generator: np.random.Generator) -> list[int]:
    """Places of the pool in a random order in which cohorts take turns."""
    orders = [generator.permutation(np.arange(number, POOL, len(COHORTS))) for number in range(len(COHORTS))]
    return np.stack(orders, 1).ravel().tolist()


def _shown(runs: list[Predictions]) -> str:
    found = estimate(runs, accuracy)
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
