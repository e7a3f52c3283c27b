"""Speed of the mask sampler and of degeneration, beside measuring and scikit-image's thinning on the same masks."""

from collections.abc import Callable
from functools import partial

from skimage.morphology import skeletonize

from benchmarks.timing import interleave, table
from wdlora.anatomy import degenerate, measure, sample_mask
from wdlora.anatomy.nerve_mask import NerveMask
from wdlora.cohorts import COHORTS

TITLE = "Mask sampler"

MASKS = 24


def sampled(name: str) -> list[NerveMask]:
    """The first masks of a cohort."""
    return [sample_mask(name, seed) for seed in range(MASKS)]


def run() -> str:
    """Masks a second, 384², one core: each call makes 24 masks."""
    masks = {name: sampled(name) for name in COHORTS}
    candidates: dict[str, Callable[[], object]] = {f"sample_mask {name}": partial(sampled, name) for name in COHORTS}
    candidates["degenerate to T1DPN"] = lambda: [degenerate(mask, 2) for mask in masks["Control"]]
    candidates["measure Control"] = lambda: [measure(mask.mask) for mask in masks["Control"]]
    candidates["skimage skeletonize Control"] = lambda: [skeletonize(mask.mask) for mask in masks["Control"]]
    seconds = interleave(candidates, rounds=5, warmup=1)
    baseline = seconds["skimage skeletonize Control"]
    rows = [
        [name, f"{1000 * value / MASKS:.1f}", f"{MASKS / value:.0f}", f"{value / baseline:.1f}"]
        for name, value in seconds.items()
    ]
    return table(["384 × 384", "ms a mask", "masks/s", "× skeletonize"], rows)
