"""Bring a public or your own data set into the folder layout that training reads, under pseudonyms.

Knows the layouts qilu (images/, annotations/), padova ({training,test}/images/, label2/), corn (train/LevelN/) and own
(images/, masks/ and a CSV table with the columns file, patient, and eye, visit, cohort where known), and recognises
them by their folders. Writes images/, masks/, provenance/ and dataset.csv; no file name, folder, tag or patient of the
data set gets there. Images that are there already are passed over, so an interrupted run goes on where it stopped.
"""

import argparse
import json
import sys
from pathlib import Path

from ..errors import InputError

EXAMPLE = "python -m wdlora import-dataset clinic --out data --pixel-size-um hrt --roster patients.csv"

SHOWN = 20
"""How many images that were left out are named."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("folder", metavar="DIR", help="the data set as it was downloaded or exported")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the data set in our layout")
    parser.add_argument("--layout", metavar="NAME", help="qilu, padova, corn or own (default: by its folders)")
    parser.add_argument(
        "--pixel-size-um",
        metavar="SIZE",
        help='µm a pixel, or "hrt" for 384 × 384 of a 400 µm field (default: metadata)',
    )
    parser.add_argument(
        "--cohort",
        action="append",
        default=[],
        metavar="[GROUP=]NAME",
        help="Control, T1NoDPN, T1DPN or none (leave out), for all or for a group: a set of Qilu, a Level of CORN",
    )
    parser.add_argument("--roster", metavar="CSV", help="which patient, eye, visit and cohort each file belongs to")
    parser.add_argument(
        "--key", metavar="FILE", help="a secret of 16 bytes or more: pseudonyms of a roster are the same in every table"
    )
    parser.add_argument("--trace", action="store_true", help="draw masks that are missing with this pack's tracer")
    parser.add_argument(
        "--line-width-um",
        type=float,
        metavar="UM",
        help="draw centrelines, such as padova's label2, this wide (default: as is); refused where there are none",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Import, print; 1 where images had to be left out."""
    from tqdm import tqdm

    from ..clinic.images import parse_pixel_size
    from ..dataset.importer import Choices, import_dataset
    from ..privacy.pseudonym import read_key

    choices = Choices(
        layout=args.layout,
        pixel_size_um=parse_pixel_size(args.pixel_size_um) if args.pixel_size_um else None,
        cohorts=_cohorts(args.cohort),
        roster=Path(args.roster) if args.roster else None,
        key=read_key(args.key) if args.key else None,
        trace=args.trace,
        line_width_um=args.line_width_um,
    )
    report = import_dataset(
        args.folder, args.out, choices, lambda items: tqdm(items, desc="importing", unit="image", disable=None)
    )
    for failure in report.failed[:SHOWN]:
        print(f"left out: {failure}", file=sys.stderr)
    if len(report.failed) > SHOWN:
        print(f"left out: {len(report.failed) - SHOWN} more", file=sys.stderr)
    if args.json:
        print(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        patients = "" if report.patients is None else f" of {report.patients} patients"
        print(f"{report.layout}: {report.written} images written{patients}, {report.already_there} were there already")
        if report.traced:
            print(f"{report.traced} masks drawn by the tracer")
        if report.not_wanted or report.failed:
            print(f"{report.not_wanted} not wanted, {len(report.failed)} left out because they could not be read")
        for note in report.notes:
            print(f"note: {note}")
    return 1 if report.failed else 0


def _cohorts(values: list[str]) -> dict[str, str]:
    """Cohorts by group; the group "" for all others. Raises InputError for a group that is named twice."""
    cohorts: dict[str, str] = {}
    for value in values:
        group, _, name = value.rpartition("=")
        if group in cohorts:
            raise InputError(f"--cohort {value} gives {group or 'all images'} a second cohort: give one")
        cohorts[group.strip()] = name.strip()
    return cohorts
