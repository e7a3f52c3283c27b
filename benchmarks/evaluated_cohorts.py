"""Tables IV to VI in the form of the evaluation, on phantoms: pictures of a fine-tuned miniature, and the limit.

The fine-tune, the preset `miniature` on 64 phantoms a cohort, lies in runs/evaluated_cohorts; a second call goes on
with it. Nothing was chosen on the masks and phantoms that are compared.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import table
from training.cases import picture_of
from training.config import load_preset
from training.job import TrainingJob
from training.models import MINIATURE, ModelSource
from training.output import ADAPTER
from training.pipeline import finetune
from wdlora.adapter import Adapter
from wdlora.anatomy import phantom, sample_mask
from wdlora.anatomy.nerve_mask import NerveMask
from wdlora.anatomy.phantoms.versions import version_name
from wdlora.anatomy.scale import PIXEL_SIZE_UM
from wdlora.cohorts import COHORTS
from wdlora.evaluation.pillars import Options, SetComparison, compare_sets
from wdlora.evaluation.report import tables, write_evaluation
from wdlora.evaluation.report.sentences import answers
from wdlora.evaluation.sets import ImageSet, Role, set_of_arrays
from wdlora.qwen import apply_adapter
from wdlora.qwen.sampling import Sampling
from wdlora.study import shipped_study

TITLE = f"Tables IV to VI on {version_name()}"
PAGE = Path(__file__).parents[1] / "docs" / "studies" / "evaluated-cohorts.md"
FOLDER = Path("runs") / "evaluated_cohorts"

FIRST_REAL, FIRST_OTHER = 8_000_000, 8_100_000
SIDE = 160
"""Of the images in pixels: 167 µm."""

PHANTOMS, PAINTED = 300, 120
"""Images of the real set and of its limit, and pictures; a third each of every cohort."""

SAMPLING = Sampling(steps=12, sampler="heun").guided_by(1.0)


@dataclass(frozen=True)
class Fields:
    """Phantoms [H, W] uint8 of masks whose cohorts take turns."""

    masks: list[NerveMask]
    images: list[NDArray[np.uint8]]

    def first(self, count: int) -> "Fields":
        """The first `count` of them."""
        return Fields(self.masks[:count], self.images[:count])


def draw(first: int) -> Fields:
    """`PHANTOMS` masks and phantoms of cohort appearance, with seeds from `first` on."""
    names = list(COHORTS)
    masks = [sample_mask(names[number % len(names)], first + number, size=SIDE) for number in range(PHANTOMS)]
    return Fields(masks, [phantom(mask, first + number) for number, mask in enumerate(masks)])


def fine_tuned() -> Adapter:
    """The adapter of the last step, trained unless it is there."""
    file = FOLDER / "fine-tune" / ADAPTER
    if not file.exists():
        config = load_preset("miniature", {"sample_every": 0})
        preset = "miniature with sample_every=0"
        finetune(
            TrainingJob(
                config, preset, ModelSource(MINIATURE), file.parent, resume=(file.parent / "config.json").exists()
            )
        )
    return Adapter.load(file)


def paint_masks(masks: list[NerveMask], adapter: Adapter) -> list[NDArray[np.uint8]]:
    """A picture of every mask under its cohort's prompt, the sampler's seed its number."""
    model = ModelSource(MINIATURE).load("fp32", None)
    apply_adapter(model.transformer, adapter)
    cohorts = shipped_study().cohorts
    return [picture_of(model, mask.mask, cohorts[mask.cohort], SAMPLING, number) for number, mask in enumerate(masks)]


def as_set(role: Role, masks: list[NerveMask], images: list[NDArray[np.uint8]]) -> ImageSet:
    """Every image is of a patient of its own."""
    owners = [f"{role} {number}" for number in range(len(images))]
    return set_of_arrays(role, images, [mask.cohort for mask in masks], owners, PIXEL_SIZE_UM)


def run() -> str:
    """Fine-tune, paint, compare; writes both reports into `FOLDER`."""
    adapter = fine_tuned()
    real, other = draw(FIRST_REAL), draw(FIRST_OTHER)
    few = real.first(PAINTED)
    cache = FOLDER / "cache"
    painted = compare_sets(
        as_set("real", few.masks, few.images),
        as_set("synthetic", few.masks, paint_masks(few.masks, adapter)),
        options=Options(pairs=True, cache=cache),
    )
    limit = compare_sets(
        as_set("real", real.masks, real.images),
        as_set("synthetic", other.masks, other.images),
        options=Options(cache=cache),
    )
    write_evaluation(painted, FOLDER / "painted")
    write_evaluation(limit, FOLDER / "limit")
    return "\n\n".join([_account(painted, adapter), *_sections(painted, limit)])


def _account(found: SetComparison, adapter: Adapter) -> str:
    values = tables.record(found)
    phantoms = version_name()
    return (
        f"Not patients: the real images are {phantoms}, {SIDE} px ({SIDE * PIXEL_SIZE_UM:.0f} µm), seeds from "
        f"{FIRST_REAL} on, one a patient. *Painted*: the miniature with one adapter (preset {adapter.metadata.preset}, "
        f"{adapter.metadata.step} steps on 64 other phantoms a cohort) painted the masks of the first {PAINTED} of "
        f"them ({SAMPLING.steps} steps of Heun's method, no guidance, seeds 0 to {PAINTED - 1}); the sets are compared "
        f"in pairs. *Limit*: {PHANTOMS} {phantoms} images of other masks, seeds from {FIRST_OTHER} on, against "
        f"{PHANTOMS} real ones, unpaired: what a perfect painter of new patients would reach. "
        f"Extractor {values['extractor']}, tracer {values['tracer']}."
    )


def _sections(painted: SetComparison, limit: SetComparison) -> list[str]:
    both = {"Painted": painted, "Limit": limit}
    parts = []
    for title, build in (
        ("Table IV: fidelity beside its baseline", tables.cohort_table),
        ("Table V: biomarkers", tables.difference_table),
        ("Table VI: diversity and separability", tables.variety),
    ):
        parts.append(f"### {title}")
        for name, found in both.items():
            made = build(found)
            parts.append(f"{name}:\n\n{table(list(made.columns), [list(row) for row in made.rows])}")
    parts.append("### The answers on top of both reports")
    rows = [
        [one.question, f"{one.short}: {one.sentence}", f"{other.short}: {other.sentence}"]
        for one, other in zip(answers(painted), answers(limit), strict=True)
    ]
    parts.append(table(["question", "painted", "limit"], rows))
    return parts
