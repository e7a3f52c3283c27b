"""Which pillar of the evaluation sees what: sets of phantoms that are flawed in one known way each.

Masks have seeds from 3000000 on and phantoms the same; nothing was chosen on them.
"""

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.timing import table
from wdlora.anatomy import phantom, sample_mask
from wdlora.anatomy.phantoms.versions import version_name
from wdlora.anatomy.scale import PIXEL_SIZE_UM
from wdlora.anatomy.tracing.segmenters import tracer_name
from wdlora.cohorts import COHORTS
from wdlora.evaluation.copies.audit import Searched, audit
from wdlora.evaluation.copies.planted import planted
from wdlora.evaluation.copies.search import coarse, nearest_images
from wdlora.evaluation.pillars import Options, SetComparison, compare_sets
from wdlora.evaluation.report.sentences import answers, beyond
from wdlora.evaluation.report.tables import number_text
from wdlora.evaluation.sets import ImageSet, set_of_arrays

TITLE = "What the three pillars see"

VERSION = 2
"""Of the phantoms."""

FIRST, EACH = 3_000_000, 120
"""First seed, and images of each set: 40 a cohort, one a patient."""

SPARE = 140
SEEDS = range(5)


@dataclass(frozen=True)
class Pictures:
    """Images uint8 [H, W] and their cohorts."""

    images: list[NDArray]
    cohorts: list[str]


def draw(first: int, count: int) -> Pictures:
    """Phantoms of cohort appearance, the cohorts in turn."""
    names = [list(COHORTS)[number % len(COHORTS)] for number in range(count)]
    images = [
        phantom(sample_mask(name, first + number), first + number, version=VERSION) for number, name in enumerate(names)
    ]
    return Pictures(images, names)


def flaws(synthetic: Pictures, training: Pictures) -> dict[str, Pictures]:
    """The synthetic set as it is, and with one flaw each."""
    generator = np.random.default_rng(0)

    def each(change: Callable[[NDArray], NDArray]) -> Pictures:
        return Pictures([_grey(change(one.astype(float))) for one in synthetic.images], synthetic.cohorts)

    kept = [number for number, name in enumerate(synthetic.cohorts) if name != "T1DPN"]
    few = [number % 10 for number in range(EACH)]
    names = list(COHORTS)
    turned = [names[(names.index(name) + 1) % len(names)] for name in synthetic.cohorts]
    copies = planted(training.images)
    return {
        "none": synthetic,
        "blur, SD 0.5 px": each(lambda one: ndimage.gaussian_filter(one, 0.5)),
        "noise, SD 10 levels": each(lambda one: one + generator.normal(0, 10, one.shape)),
        "T1DPN missing": Pictures([synthetic.images[n] for n in kept], [synthetic.cohorts[n] for n in kept]),
        "10 images, 12 times each": Pictures([synthetic.images[n] for n in few], [synthetic.cohorts[n] for n in few]),
        "cohorts relabelled": Pictures(synthetic.images, turned),
        "24 of 120 copied, disguised": Pictures(
            [*copies, *synthetic.images[24:]], [*training.cohorts[:24], *synthetic.cohorts[24:]]
        ),
    }


def as_set(pictures: Pictures, role: str) -> ImageSet:
    """One image a patient; those of the synthetic set are their own."""
    owners = None if role == "synthetic" else [f"{role} {number}" for number in range(len(pictures.images))]
    return set_of_arrays(role, pictures.images, pictures.cohorts, owners, PIXEL_SIZE_UM)  # type: ignore[arg-type]


def run() -> str:
    """The table of flaws, and the search for copies over five seeds."""
    real, synthetic, training = (draw(FIRST + number * 10_000, EACH) for number in range(3))
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        for name, pictures in flaws(synthetic, training).items():
            sets = as_set(real, "real"), as_set(pictures, "synthetic"), as_set(training, "training")
            rows.append([name, *_row(compare_sets(*sets, Options(cache=Path(cache))))])
    head = [
        "flaw",
        "KID (95 % of real against real)",
        "AUC",
        "coverage",
        "biomarkers = / ≠ / ?",
        "near images",
        "seen by",
    ]
    found, planted_, false, others = _search([*real.images, *synthetic.images, *training.images])
    return (
        f"{EACH} real, {EACH} synthetic and {EACH} training images, all {version_name(VERSION)} of cohort appearance "
        f"from different masks, seeds from {FIRST} on, one image a patient; features texture-1, nerves traced by "
        f"{tracer_name()}. Biomarkers: equivalent, different and undecided of 12 comparisons. Near images: nearer to "
        "a training image than 99 % of the real ones. “Seen "
        f"by” are the answers on top of the report that turn red.\n\n{table(head, rows)}\n\nCopies over {len(SEEDS)} "
        f"random partitions of {3 * EACH + SPARE} phantoms into 180 training, 120 held-out and 200 other images: "
        f"{found} of {planted_} planted copies found, {false} of {others} others above the threshold. Phantoms, not "
        "real images."
    )


def _row(found: SetComparison) -> list[str]:
    kid, floor = found.overall.figures["kid"], found.overall.floor["kid"]
    cells = [f"{number_text(kid.value, 2)} ({number_text(floor.low, 2)} to {number_text(floor.high, 2)})"]
    for key in ("auc", "coverage"):
        worse = beyond(key, found.overall)
        cells.append(
            f"**{number_text(found.overall.figures[key].value, 2)}**"
            if worse
            else number_text(found.overall.figures[key].value, 2)
        )
    verdicts = Counter(one.verdict for one in found.biomarkers)
    cells.append(" / ".join(str(verdicts[name]) for name in ("equivalent", "different", "undecided")))
    cells.append(f"{found.copies.images.count} of {found.copies.images.n}")
    names = ("texture", "variety", "biomarkers", "copies")
    seen = [name for name, one in zip(names, answers(found), strict=True) if one.tone == "bad"]
    return [*cells, ", ".join(seen) or "–"]


def _search(images: list[NDArray]) -> tuple[int, int, int, int]:
    """Planted copies found and planted, other images above the threshold and how many there were."""
    images = [*images, *draw(FIRST + 50_000, SPARE).images]
    values = np.stack([coarse(one) for one in images])
    found = many = false = others = 0
    for seed in SEEDS:
        order = np.random.default_rng(seed).permutation(len(images))
        parts = order[:180], order[180:300], order[300:500]
        training, holdout, other = (Searched(values[part], part, np.full(len(part), "")) for part in parts)
        result = audit(other, training, holdout)
        copies = np.stack([coarse(one) for one in planted([images[place] for place in parts[0]], seed)])
        near = nearest_images(copies, training.images)
        found += int(((near.place == np.arange(len(copies))) & (near.similarity > result.threshold)).sum())
        many, false, others = many + len(copies), false + result.count, others + result.n
    return found, many, false, others


def _grey(values: NDArray) -> NDArray:
    return np.round(np.clip(values, 0, 255)).astype(np.uint8)
