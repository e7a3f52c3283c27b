"""The full panel beside skan's summary alone, on the same masks in the same run."""

import numpy as np

from benchmarks.timing import interleave, table

TITLE = "Biomarkers"
COHORTS = ("Control", "T1NoDPN", "T1DPN")


def run() -> str:
    """Images a second on sampled 384² masks; one thread (nothing here is parallel)."""
    import skan
    from skimage.morphology import skeletonize

    from wdlora.anatomy import measure, sample_mask

    masks = [sample_mask(cohort, seed).mask for cohort in COHORTS for seed in range(4)]
    lines = [skeletonize(mask) for mask in masks]

    def each(call, inputs):
        return lambda: [call(item) for item in inputs]

    def summary(line: np.ndarray) -> object:
        return skan.summarize(skan.Skeleton(line), separator="_")

    seconds = interleave(
        {
            "`measure`: mask to panel": each(measure, masks),
            "skan `summarize` alone, given the skeleton": each(summary, lines),
            "scikit-image `skeletonize` (Zhang) alone": each(skeletonize, masks),
            "scikit-image `skeletonize` (Lee) alone": each(lambda m: skeletonize(m, method="lee"), masks),
        },
        rounds=9,
    )
    ours = next(iter(seconds.values()))
    rows = [
        [name, f"{1e3 * s / len(masks):.2f}", f"{len(masks) / s:.0f}", f"{s / ours:.2f}"] for name, s in seconds.items()
    ]
    return table(["", "ms an image", "images/s", "time relative to `measure`"], rows)
