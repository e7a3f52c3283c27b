"""Compare synthetic images with real ones: do they look alike, are the nerves the same, are patients copied?

--real and --synthetic are folders of grey images, or data sets (images/ and dataset.csv with file, cohort, patient).
--real contains images that the generator never saw; --train contains those on which it was trained. Without --train
copying cannot be ruled out. Writes report.html, report.json, tables and plots into --out. Nothing leaves this machine,
and the report contains no file name.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from ..evaluation.pillars import SetComparison

EXAMPLE = "python -m wdlora evaluate --real held_out --synthetic painted --train training --out report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--real", required=True, metavar="DIR", help="real images that the generator never saw")
    parser.add_argument("--synthetic", required=True, metavar="DIR", help="synthetic images")
    parser.add_argument("--train", metavar="DIR", help="the images that the generator was trained on")
    parser.add_argument("--pairs", action="store_true", help="images with the same file name have the same mask")
    parser.add_argument(
        "--features",
        default="texture-1",
        metavar="NAME",
        help="texture-1 (default), lite0:FILE, inception:FILE or hmsvit:FILE; files of the first two by "
        "convert-lite0 and convert-inception, the last an HMSViT-like network",
    )
    parser.add_argument(
        "--metrics", default="cnfl,cnfd,cnbd,cnfw", metavar="NAMES", help="biomarkers to compare (default %(default)s)"
    )
    parser.add_argument(
        "--pixel-size-um", metavar="SIZE", help='µm per pixel, or ROW,COLUMN, or "hrt" for 384 × 384 of a 400 µm field'
    )
    parser.add_argument(
        "--out", default="evaluation", metavar="DIR", help="where the report goes (default %(default)s)"
    )
    parser.add_argument("--cache", metavar="DIR", help="where features and traces are kept (default OUT/cache)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default 2)")
    parser.add_argument("--json", action="store_true", help="print the content of report.json")


def run(args: argparse.Namespace) -> int:
    """Evaluate, write, print."""
    from ..clinic.images import parse_pixel_size
    from ..evaluation.pillars import Options, compare_sets
    from ..evaluation.report import write_evaluation
    from ..evaluation.sets import read_set
    from ..evaluation.workers import Crew
    from ..files import check_writable

    if args.workers < 1:
        raise InputError(f"--workers {args.workers} is too few; give 1 or more")
    out = Path(args.out)
    _check_place(out, args)
    check_writable(out / "report.json")
    options = Options(
        features=args.features,
        pixel_size_um=parse_pixel_size(args.pixel_size_um) if args.pixel_size_um else None,
        pairs=args.pairs,
        metrics=tuple(filter(None, (name.strip() for name in args.metrics.split(",")))),
        cache=Path(args.cache) if args.cache else out / "cache",
    )
    training = read_set(args.train, "training") if args.train else None
    sets = read_set(args.real, "real"), read_set(args.synthetic, "synthetic"), training
    with Crew(args.workers, _bar) as crew:
        found = compare_sets(*sets, options, crew)
    values = write_evaluation(found, out)
    if args.json:
        print(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print(_summary(found, out))
    return 0


def _check_place(out: Path, args: argparse.Namespace) -> None:
    """Raise InputError where the report would lie among the images that it is about."""
    for option, folder in (("--real", args.real), ("--synthetic", args.synthetic), ("--train", args.train)):
        if folder and out.resolve() == Path(folder).resolve():
            raise InputError(f"--out is the folder of {option}: write the report to another place")


def _bar(results: Iterable[Any], title: str, total: int) -> Iterable[Any]:
    from tqdm import tqdm

    return tqdm(results, title, total, unit="", file=sys.stderr, disable=None, leave=False)


def _summary(found: "SetComparison", out: Path) -> str:
    """The answers, and where the report is."""
    from ..evaluation.report.sentences import answers

    lines = [f"{one.question:<26}{one.short}\n    {one.sentence}" for one in answers(found)]
    lines += [f"note: {note}" for note in (*found.notes, *found.copies.cannot)]
    return "\n".join([*lines, f"report: {out / 'report.html'}"])
