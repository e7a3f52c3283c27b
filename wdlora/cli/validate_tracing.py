"""Compare the tracer with annotations of real images. Run this before you rely on a tracing.

DIR contains images/ and masks/ (or annotations/, or images beside a table) with files of the same names, or is one of
the public data sets that import-dataset reads. Prints precision, recall and clDice within a tolerance, and the
agreement of CNFL, CNFD and CNBD with Bland & Altman's limits and ICC(2,1). Intervals resample patients if a table names
them (--roster, or a CSV beside the images), otherwise images. --out writes report.html, report.json, images.csv and a
sheet of the ten worst images, which shows real images. Images on which a tracer was tuned prove nothing about it.
"""

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from . import tracer_options

if TYPE_CHECKING:
    from ..evaluation.tracing_check import TracingCheck

EXAMPLE = "python -m wdlora validate-tracing Dataset --pixel-size-um hrt --out check"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("folder", metavar="DIR", help="folder with images/ and masks/, or a public data set")
    parser.add_argument(
        "--pixel-size-um", metavar="SIZE", help='µm per pixel, or ROW,COLUMN, or "hrt" for 384 × 384 of a 400 µm field'
    )
    parser.add_argument(
        "--roster", metavar="CSV", help="table that says which patient each file belongs to, for the intervals"
    )
    parser.add_argument(
        "--tolerance-um",
        type=float,
        default=3.0,
        metavar="UM",
        help="how far apart two lines of one nerve may lie (default 3)",
    )
    parser.add_argument("--resamples", type=int, default=2000, metavar="N", help="bootstrap resamples (default 2000)")
    tracer_options.add(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="write report, table and sheet there")
    parser.add_argument("--keep-names", action="store_true", help="write file names to images.csv")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Trace, compare, print, write."""
    from tqdm import tqdm

    from ..evaluation.tracing_check import TracingChoices, check_tracing

    tracer_options.check(args)
    if args.resamples < 100:
        raise InputError(f"--resamples is {args.resamples}; give at least 100")
    if not 0 < args.tolerance_um <= 50:
        raise InputError(f"--tolerance-um is {args.tolerance_um:g}; give a distance up to 50 µm")
    if args.keep_names and not args.out:
        raise InputError("--keep-names is about the table in --out; name a folder with --out")
    choices = TracingChoices(args.segmenter, args.detail, args.pixel_size_um, args.tolerance_um, args.resamples)
    found = check_tracing(
        Path(args.folder),
        choices,
        args.roster,
        lambda sources: tqdm(sources, desc="tracing", unit="image", disable=None),
    )
    result = found.to_dict()
    if args.out:
        _write(found, result, args.out, args.keep_names)
    if args.json:
        print(json.dumps(result, indent=2, allow_nan=False))
        return 0
    print(
        f"{result['images']} images, resampled by {result['resampled_by']}, traced by {result['tracer']}, "
        f"rules {result['rules']}"
    )
    for name, row in result["figures"].items():
        interval = "" if row["low"] is None else f"   95 % interval {row['low']:.3f} to {row['high']:.3f}"
        print(f"  {name:<18}{row['value']:>8.3f}{interval}")
    for name, one in found.agreement().items():
        (low, _, _), (high, _, _) = one.limits
        if math.isfinite(low):
            print(f"  {name:<8} bias {one.bias[0]:.2f}   limits {low:.2f} to {high:.2f}   ICC(2,1) {one.icc[0]:.3f}")
    for note in result["notes"]:
        print(f"note: {note}")
    if args.out:
        print(f"{args.out / 'report.html'}; the worst images in {args.out / 'contains-real-images'}")
    return 0


def _write(found: "TracingCheck", result: dict[str, Any], out: Path, names: bool) -> None:
    from ..csv_table import write_csv
    from ..evaluation.report.tracing_page import tracing_page
    from ..evaluation.report.tracing_sheet import write_worst
    from ..files import write_json, write_text

    write_worst(found, out)
    write_csv(out / "images.csv", [pair.row(names) for pair in found.pairs], digits=6, line_end="\r\n")
    write_json(out / "report.json", result)
    write_text(out / "report.html", tracing_page(found))
