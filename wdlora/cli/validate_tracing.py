"""Compare the tracer with manual annotations of real images: Dice, clDice, and the error of CNFL.

DIR holds `images/` and `annotations/` with files of the same names (the layout of the Qilu CCM data set), or a
folder `Dataset` that does. Intervals are percentiles of a seeded bootstrap over images, or over patients where a roster
(CSV with the columns file, patient) is given. Images that a tracer was tuned on prove nothing about it.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..csv_table import one_form
from ..errors import InputError

EXAMPLE = "python -m wdlora validate-tracing Dataset --pixel-size-um hrt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("folder", metavar="DIR", help="folder with images/ and annotations/")
    parser.add_argument(
        "--pixel-size-um", metavar="SIZE", help='µm a pixel, or ROW,COLUMN, or "hrt" for 384 × 384 of a 400 µm field'
    )
    parser.add_argument("--roster", metavar="CSV", help="which patient each file belongs to, for the intervals")
    parser.add_argument("--resamples", type=int, default=2000, metavar="N", help="bootstrap resamples (default 2000)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Trace, compare, print."""
    if args.resamples < 100:
        raise InputError(f"--resamples is {args.resamples}; give at least 100")
    result = compare_tracing(Path(args.folder), args.pixel_size_um, args.roster, args.resamples)
    if args.json:
        print(json.dumps(result, indent=2, allow_nan=False))
        return 0
    print(f"{result['images']} images, resampled by {result['resampled_by']}, rules {result['rules']}")
    for name, row in result["figures"].items():
        interval = "" if row["low"] is None else f"   95 % interval {row['low']:.3f} to {row['high']:.3f}"
        print(f"  {name:<18}{row['value']:>8.3f}{interval}")
    for note in result["notes"]:
        print(f"note: {note}")
    return 0


def compare_tracing(folder: Path, pixel_size_um: str | None, roster: str | None, resamples: int) -> dict[str, Any]:
    """Figures with intervals over all pairs of image and annotation in a folder. Raises InputError on bad input."""
    from tqdm import tqdm

    from ..anatomy.biomarkers.panel import measure
    from ..anatomy.overlap import cl_dice, dice
    from ..anatomy.tracing.tracer import trace
    from ..clinic.images import read_image
    from ..clinic.roster import read_roster
    from ..dataset.layouts import read_annotation, read_layout, require_annotations

    sources = read_layout(folder, "qilu").sources
    require_annotations(sources)
    entries = read_roster(roster) if roster else {}
    rows: list[tuple[float, ...]] = []
    groups: list[str] = []
    rules = ""
    notes: dict[str, int] = {}
    for source in tqdm(sources, desc="tracing", unit="image", disable=None):
        name = one_form(source.image.name)
        if roster and name not in entries:
            raise InputError(f"{roster} has no line for {name}: add it, or leave --roster out")
        groups.append(entries[name].patient if roster else str(len(groups)))
        image = read_image(source.image, pixel_size_um)
        size = image.require_pixel_size(str(source.image))
        truth = read_annotation(source, image.pixels) & image.valid  # what the black of a mosaic hides was not seen
        if image.cropped:
            notes[image.cropped] = notes.get(image.cropped, 0) + 1
        traced = trace(image.pixels, size, valid=image.valid)
        found, wanted = measure(traced, size, valid=image.valid), measure(truth, size, valid=image.valid)
        rules = found.rules
        rows.append((dice(traced, truth), cl_dice(traced, truth), found.cnfl - wanted.cnfl, wanted.cnfl))
    values = np.array(rows)
    return {
        "images": len(rows),
        "patients": len(set(groups)) if roster else None,
        "resampled_by": "patient" if roster else "image",
        "rules": str(rules),
        "figures": _figures(values, groups, resamples),
        "notes": [f"{text} ({count} images)" for text, count in notes.items()]
        + ([] if len(set(groups)) > 1 else ["no intervals: they need two patients, or two images without a roster"])
        + ([] if roster else ["images of one patient counted as independent: intervals may be too narrow"]),
    }


def _figures(values: np.ndarray, groups: list[str], resamples: int) -> dict[str, dict[str, float | None]]:
    """Means of Dice, clDice, CNFL bias, absolute error and annotated CNFL, with bootstrap intervals over groups.

    One group alone does not vary, so its figures have no interval (None).
    """
    names = ("Dice", "clDice", "CNFL bias", "CNFL MAE", "CNFL annotated")
    columns = np.stack([values[:, 0], values[:, 1], values[:, 2], np.abs(values[:, 2]), values[:, 3]], 1)
    _, group = np.unique(groups, return_inverse=True)
    count = int(group.max()) + 1
    sums = np.zeros((count, columns.shape[1]))
    np.add.at(sums, group, columns)
    sizes = np.bincount(group, minlength=count)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, count, (resamples, count))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)[:, None]
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    value = columns.mean(0)
    return {
        name: {
            "value": float(value[i]),
            "low": float(low[i]) if count > 1 else None,
            "high": float(high[i]) if count > 1 else None,
        }
        for i, name in enumerate(names)
    }
