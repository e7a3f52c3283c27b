"""Do drawn targets follow Table V, do masks measure as drawn, do degenerated plexuses become the cohorts?

`python -m benchmarks.sampler_accuracy` puts tables and plots into docs/studies/mask-sampler.md.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.__main__ import replace_section
from benchmarks.timing import table
from wdlora.anatomy import degenerate, sample_mask
from wdlora.anatomy.masks.targets import target_table
from wdlora.anatomy.nerve_mask import NerveMask
from wdlora.cohorts import COHORTS, FIELD_MM2

TITLE = "Mask sampler: accuracy"

TARGETS = 100_000
MASKS = 256
FOLLOWED = 160
KEYS = ("cnfl", "cnfd", "cnbd", "cnfw")
PAGE = Path(__file__).parents[1] / "docs" / "studies" / "mask-sampler.md"
IMAGES = PAGE.parent / "images"


@lru_cache(maxsize=1)
def drawn() -> dict[str, np.ndarray]:
    """10⁵ targets a cohort, float64 [n, 4] in the units of Table V (seed 1)."""
    scale = np.array([1, 1 / FIELD_MM2, 1 / FIELD_MM2, 1])
    return {name: target_table(name).draw(np.random.default_rng(1).random((TARGETS, 4))) * scale for name in COHORTS}


@lru_cache(maxsize=1)
def sampled() -> dict[str, list[NerveMask]]:
    """256 masks a cohort (seeds 0 … 255)."""
    return {name: [sample_mask(name, seed) for seed in range(MASKS)] for name in COHORTS}


@lru_cache(maxsize=1)
def followed() -> dict[int, list[NerveMask]]:
    """The first 160 masks of Control at severity 0, 1 and 2."""
    start = sampled()["Control"][:FOLLOWED]
    return {severity: [degenerate(mask, severity) for mask in start] for severity in (0, 1, 2)}


def panel(masks: list[NerveMask]) -> np.ndarray:
    """Measured biomarkers float64 [n, 4]; NaN where there is no nerve."""
    return np.array([[getattr(mask.biomarkers, key) for key in KEYS] for mask in masks])


def target_rows() -> list[list[str]]:
    """Drawn targets against Table V."""
    rows = []
    for name, values in drawn().items():
        for column, key in enumerate(KEYS):
            mean, sd = COHORTS[name].distributions[key]
            have = values[:, column].mean(), values[:, column].std()
            rows.append(
                [
                    f"{name} {key.upper()}",
                    f"{mean:.2f} ± {sd:.2f}",
                    f"{have[0]:.2f} ± {have[1]:.2f}",
                    f"{100 * (have[0] / mean - 1):+.2f} %",
                    f"{100 * (have[1] / sd - 1):+.2f} %",
                ]
            )
    return rows


def realised_rows() -> list[list[str]]:
    """Measured minus drawn."""
    rows = []
    for name, masks in sampled().items():
        targets = np.array([[mask.target[key] for key in KEYS] for mask in masks])
        error = panel(masks) - targets
        for column, key in enumerate(KEYS):
            mean, sd = COHORTS[name].distributions[key]
            e = error[:, column][np.isfinite(error[:, column])]
            rows.append(
                [
                    f"{name} {key.upper()}",
                    f"{targets[:, column].mean():.2f} ± {targets[:, column].std():.2f}",
                    f"{e.mean():+.3f} ± {e.std():.3f}",
                    f"{100 * e.mean() / mean:+.2f} %",
                    f"{100 * e.std() / sd:.1f} %",
                    f"{np.abs(e).max():.2f}",
                ]
            )
    return rows


def followed_rows() -> list[list[str]]:
    """Degenerated plexuses against the cohort's drawn targets, with a two-sample Kolmogorov-Smirnov test."""
    from scipy.stats import ks_2samp

    rows = []
    for severity, name in ((1, "T1NoDPN"), (2, "T1DPN")):
        values, reference = (np.round(v, 6) for v in (panel(followed()[severity]), drawn()[name]))
        for column, key in enumerate(KEYS):
            mean, sd = COHORTS[name].distributions[key]
            x, y = values[:, column], reference[:, column]
            x = x[np.isfinite(x)]
            test = ks_2samp(x, y)
            rows.append(
                [
                    f"{name} {key.upper()}",
                    f"{mean:.2f} ± {sd:.2f}",
                    f"{x.mean():.2f} ± {x.std():.2f}",
                    f"{test.statistic:.3f}",
                    f"{test.pvalue:.2f}",
                ]
            )
    return rows


def run() -> str:
    """Three tables."""
    ratio = panel(followed()[2])[:, 3] / panel(followed()[0])[:, 3]
    winding = [
        np.nanmean([mask.biomarkers.tortuosity for mask in masks if mask.biomarkers]) for masks in followed().values()
    ]
    return "\n\n".join(
        [
            f"{TARGETS} drawn targets a cohort (no rendering):",
            table(["", "Table V", "drawn", "mean", "SD"], target_rows()),
            f"{MASKS} masks a cohort, measured (`acc_like`) minus drawn; % of the cohort's mean and SD:",
            table(["", "drawn", "error", "mean", "SD", "largest"], realised_rows()),
            f"{FOLLOWED} plexuses from Control followed to severity 1 and 2, against targets drawn there (KS test):",
            table(["", "Table V", "followed", "KS", "p"], followed_rows()),
            f"Mean width at severity 2 over severity 0: {np.nanmean(ratio):.4f}, least {np.nanmin(ratio):.4f}. "
            f"Arc/chord of trunks at 0, 1, 2: {', '.join(f'{value:.4f}' for value in winding)}.",
        ]
    )


def _plot() -> None:
    """Write the plots: targets and masks against Table V, a sheet of masks, one plexus followed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from PIL import Image

    IMAGES.mkdir(parents=True, exist_ok=True)
    colours = {"Control": "#2a6f97", "T1NoDPN": "#e09f3e", "T1DPN": "#9e2a2b"}
    figure, axes = plt.subplots(1, 4, figsize=(12, 2.9), layout="constrained")
    labels = ("CNFL (mm/mm²)", "CNFD (no./mm²)", "CNBD (no./mm²)", "CNFW (µm/mm²)")
    for column, axis in enumerate(axes):
        for name, masks in sampled().items():
            x = drawn()[name][:, column]
            y = panel(masks)[:, column]
            y = y[np.isfinite(y)]
            axis.plot(np.sort(x)[::50], np.linspace(0, 1, len(x))[::50], color=colours[name], lw=1, label=name)
            axis.plot(np.sort(y), (np.arange(len(y)) + 0.5) / len(y), ".", color=colours[name], ms=2)
        axis.set_xlabel(labels[column])
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share of masks")
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(IMAGES / "masks-distributions.png", dpi=90)
    plt.close(figure)

    def sheet(rows: list[list[NerveMask]], file: str) -> None:
        gap, side = 5, 384
        height, width = len(rows), max(map(len, rows))
        canvas: Any = np.full((height * (side + gap) - gap, width * (side + gap) - gap), 120, np.uint8)
        for r, row in enumerate(rows):
            for c, mask in enumerate(row):
                y, x = r * (side + gap), c * (side + gap)
                canvas[y : y + side, x : x + side] = mask.mask * np.uint8(255)
        picture = Image.fromarray(canvas).resize((canvas.shape[1] // 2, canvas.shape[0] // 2), Image.Resampling.LANCZOS)
        picture.quantize(16).save(IMAGES / file, optimize=True)

    whorls = [[sample_mask(name, seed, whorl=True) for name, seed in (("Control", 40), ("T1NoDPN", 43))]]
    sheet([masks[40:45] for masks in sampled().values()], "masks-cohorts.png")
    sheet(whorls, "masks-whorl.png")
    chosen = [sampled()["Control"][seed] for seed in (18, 48)]
    sheet([[degenerate(mask, s) for s in (0, 0.5, 1, 1.5, 2)] for mask in chosen], "masks-degeneration.png")


if __name__ == "__main__":
    PAGE.write_text(replace_section(PAGE.read_text(encoding="utf-8"), "accuracy", run()), encoding="utf-8")
    _plot()
