"""Speed of the phantom and the tracer beside scikit-image's ridge filters, one thread, 384²."""

from dataclasses import replace

import numpy as np
from skimage.filters import frangi, sato

from benchmarks.timing import interleave, table
from wdlora.anatomy import phantom, sample_mask, trace
from wdlora.anatomy.tracing.choices import LINES, NETWORK

TITLE = "Tracing and phantoms"


def run() -> str:
    """Images a second over the same three images, and the ratio to the tracer."""
    masks = [sample_mask(cohort, 1) for cohort in ("Control", "T1NoDPN", "T1DPN")]
    images = [phantom(mask, 1, version=1) for mask in masks]
    scaled = [image.astype(np.float32) / 255 for image in images]
    sigmas = (1.5, 2, 2.5, 3)
    seconds = interleave(
        {
            "`trace` by the line filters": lambda: [trace(image, segmenter=LINES) for image in images],
            "`trace` by the network": lambda: [trace(image, segmenter=NETWORK) for image in images],
            "scikit-image `sato`: filter alone": lambda: [sato(x, sigmas, black_ridges=False) for x in scaled],
            "scikit-image `frangi`: filter alone": lambda: [frangi(x, sigmas, black_ridges=False) for x in scaled],
            "phantom 2, its fine network grown": lambda: [phantom(replace(mask), 2) for mask in masks],
            "phantom 2 without a fine network": lambda: [phantom(replace(mask, fine_share=0.0), 2) for mask in masks],
            "phantom 1": lambda: [phantom(mask, 2, version=1) for mask in masks],
        },
        rounds=9,
    )
    first = next(iter(seconds.values()))
    rows = [
        [name, f"{1000 * s / len(images):.0f}", f"{len(images) / s:.1f}", f"{first / s:.2f}"]
        for name, s in seconds.items()
    ]
    return table(["step", "ms an image", "images/s", "speed relative to the filters"], rows)
