"""Lengths, widths and branch points against vectors that this package did not draw, beside skan's reading."""

import numpy as np

from benchmarks.timing import table
from tests.anatomy.biomarkers.test_skan import read_with_skan
from tests.anatomy.drawings import draw, length_inside
from tests.anatomy.random_plexus import random_plexus
from wdlora.anatomy import measure, sample_mask
from wdlora.cohorts import COHORTS

TITLE = "Biomarkers against vector truth"

PLEXUSES = range(200)
BESIDE_SKAN = range(300, 340)
SAMPLED = range(20)


def lengths() -> list[list[str]]:
    """Relative errors of length and mean width on random plexuses and on sampled masks."""
    random, sampled = [], []
    for seed in PLEXUSES:
        strokes = random_plexus(seed)
        mask = draw(strokes)
        truth = sum(length_inside(points) for points, _ in strokes)
        inside = [((points > -0.5) & (points < 383.5)).all(1) for points, _ in strokes]
        width = np.concatenate([w[i] for (_, w), i in zip(strokes, inside, strict=True)]).mean()
        all_kept = measure(mask, 1.0, "keep_all")
        cleaned = measure(mask, 1.0, "acc_like")
        random.append(
            [1e3 * all_kept.length_mm / truth, 1e3 * cleaned.length_mm / truth, all_kept.mean_width_um / width]
        )
    for name in COHORTS:
        for seed in SAMPLED:
            drawn = sample_mask(name, seed)
            truth = sum(length_inside(fibre.points) for fibre in drawn.centrelines) * drawn.pixel_size_um
            both = [measure(drawn.mask, drawn.pixel_size_um, rules).length_mm for rules in ("keep_all", "acc_like")]
            sampled.append([1e3 * length / truth for length in both])
    rows = []
    for what, values in ((f"{len(PLEXUSES)} random plexuses", random), (f"{len(sampled)} sampled masks", sampled)):
        for label, column in zip(
            ("length, `keep_all`", "length, `acc_like`", "mean width"), np.transpose(values), strict=False
        ):
            error = 100 * (column - 1)
            rows.append([f"{label}, {what}", f"{error.mean():+.2f} %", f"{error.std():.2f} %"])
    return rows


def branches(strokes: list[tuple[np.ndarray, np.ndarray]]) -> int:
    """How many strokes begin on a point of an earlier one."""
    return sum(
        any((points[0] == earlier).all(1).any() for earlier, _ in strokes[:k]) for k, (points, _) in enumerate(strokes)
    )


def beside_skan() -> list[list[str]]:
    """Length and branch points of the same masks, read by skan and by `measure`."""
    skan_length, our_length, chain, counts = [], [], [], []
    for seed in BESIDE_SKAN:
        strokes = random_plexus(seed)
        mask = draw(strokes)
        truth = sum(length_inside(points) for points, _ in strokes)
        theirs, junctions = read_with_skan(mask)
        found = measure(mask, 1.0, "keep_all")
        skan_length.append(theirs / truth)
        our_length.append(1e3 * found.length_mm / truth)
        chain.append(1e3 * measure(mask, 1.0, "chain_code").length_mm / truth)
        counts.append((branches(strokes), junctions, found.branch_points))
    theirs, ours, steps = (np.array(values) for values in (skan_length, our_length, chain))
    drawn, by_skan, by_us = np.array(counts).T

    def error(ratio: np.ndarray) -> str:
        return f"{100 * (ratio.mean() - 1):+.1f} ± {100 * ratio.std():.1f} %"

    def counted(values: np.ndarray) -> str:
        off = np.abs(values - drawn)
        return (
            f"{values.sum()}, exact on {(off == 0).sum()}, off by {off.mean():.1f} on average and {off.max()} at most"
        )

    def over(ratio: np.ndarray) -> str:
        return f"{ratio.mean():.3f} ± {ratio.std():.3f}"

    return [
        ["length against vectors", error(theirs), error(ours)],
        [f"branch points, {drawn.sum()} drawn", counted(by_skan), counted(by_us)],
        ["skan's length over `keep_all` and `chain_code`", over(theirs / ours), over(theirs / steps)],
    ]


def run() -> str:
    """Both tables."""
    return "\n\n".join(
        [
            "Means and SDs over masks. The plexuses come from `tests/anatomy/random_plexus.py`.",
            table(["measured against drawn", "bias", "SD"], lengths()),
            f"skan on scikit-image's skeleton (Lee), {len(BESIDE_SKAN)} random plexuses, rule set `keep_all`:",
            table(["", "skan", "`measure`"], beside_skan()),
        ]
    )
