"""Convert a public or your own data set into the folder layout that training reads, with pseudonyms.

Known layouts are qilu (images/, annotations/), padova ({training,test}/images/, label2/), corn (train/LevelN/) and own
(images/, masks/ and a CSV table with the columns file, patient and, if known, eye, visit, cohort, split). They are
recognised by their folders. --mask-suffix, --mask-prefix and --mask-folder identify masks by their names, anywhere in
the folder. --columns and --labels say what your table calls its columns and cohorts. --dry-run shows what would be
done. --write-settings guesses all of this and writes it to a file for you to correct; --settings follows that file.

Writes images/, masks/, provenance/ and dataset.csv, without any file name, folder, tag or patient of the data set.
Images that were already imported are skipped, so an interrupted run continues where it stopped.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..privacy.pseudonym import KEY_HELP

if TYPE_CHECKING:
    from ..dataset.plan import Choices

EXAMPLE = (
    "python -m wdlora import-dataset export --out data --pixel-size-um hrt --mask-suffix _nervemask --roster list.csv "
    "--columns file=Datei,patient=Pat-ID,eye=Auge,visit=Datum,cohort=Gruppe --labels HC=Control,DM-=T1NoDPN,DM+=T1DPN"
)

IDLE = (
    *("out", "dry_run", "layout", "pixel_size_um", "cohort", "columns", "labels", "settings"),
    *("mask_suffix", "mask_prefix", "mask_folder", "key", "trace", "line_width_um", "json"),
)
"""Options that --write-settings does not read."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("folder", metavar="DIR", help="the data set as it was downloaded or exported")
    parser.add_argument("--out", metavar="DIR", help="folder for the data set in our layout")
    parser.add_argument(
        "--dry-run", action="store_true", help="only show what would be taken and what would be left out"
    )
    parser.add_argument("--layout", metavar="NAME", help="qilu, padova, corn or own (default: by its folders)")
    parser.add_argument(
        "--pixel-size-um",
        metavar="SIZE",
        help='µm per pixel, or "hrt" for 384 × 384 of a 400 µm field (default: metadata)',
    )
    parser.add_argument(
        "--cohort",
        action="append",
        default=[],
        metavar="[GROUP=]NAME",
        help="a cohort of the study, or none (leave out), for all or for a group: a set of Qilu, a Level of CORN",
    )
    parser.add_argument(
        "--study",
        metavar="TOML",
        help="study of another disease: its cohorts and prompts (default: Control, T1NoDPN, T1DPN)",
    )
    parser.add_argument(
        "--roster", metavar="CSV", help="table that says which patient, eye, visit and cohort each file belongs to"
    )
    _add_names(parser)
    parser.add_argument(
        "--write-settings", metavar="TOML", help="only look, and write a settings file for you to correct"
    )
    parser.add_argument(
        "--settings", metavar="TOML", help="pixel size, roster, columns, labels and names of masks from such a file"
    )
    parser.add_argument(
        "--key",
        metavar="FILE",
        help=f"a secret, by which a roster's pseudonyms are the same in every table; {KEY_HELP}",
    )
    parser.add_argument("--trace", action="store_true", help="draw masks that are missing with this pack's tracer")
    parser.add_argument(
        "--line-width-um",
        type=float,
        metavar="UM",
        help="draw centrelines, such as padova's label2, this wide (default: unchanged); refused if there are none",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_names(parser: argparse.ArgumentParser) -> None:
    """What the export calls things."""
    parser.add_argument(
        "--columns",
        action="append",
        default=[],
        metavar="OURS=THEIRS,…",
        help="what the roster calls the columns file, patient, eye, visit, cohort and split",
    )
    parser.add_argument(
        "--labels",
        action="append",
        default=[],
        metavar="LABEL=COHORT,…",
        help="which cohort, or none (leave out), each label in the roster's column of cohorts is",
    )
    parser.add_argument(
        "--mask-suffix", default="", metavar="TEXT", help="text after the image's name in the names of masks"
    )
    parser.add_argument(
        "--mask-prefix", default="", metavar="TEXT", help="text before the image's name in the names of masks"
    )
    parser.add_argument(
        "--mask-folder", default="", metavar="DIR", help="folder of the data set that contains the masks"
    )


def run(args: argparse.Namespace) -> int:
    """Import, print; 1 where images had to be left out."""
    from tqdm import tqdm

    from ..dataset.importer import import_dataset

    if args.write_settings:
        return _write_settings(args)
    choices = _choices(args)
    if args.dry_run:
        return _dry_run(args, choices)
    if not args.out:
        raise InputError("name the folder for the data set with --out, or give --dry-run to see what would be taken")
    report = import_dataset(
        args.folder, args.out, choices, lambda items: tqdm(items, desc="importing", unit="image", disable=None)
    )
    for told in (*report.failed, *report.passed_over):
        print(f"left out: {told}", file=sys.stderr)
    if args.json:
        print(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        patients = "" if report.patients is None else f" of {report.patients} patients"
        earlier = f", {report.already_there} were there already" if report.already_there else ""
        print(f"{report.written} images written{patients}{earlier}: {args.out} (layout {report.layout})")
        if report.replaced:
            print(f"{report.replaced} masks replaced by corrected ones; the old ones are kept as hidden files")
        if report.traced:
            print(f"{report.traced} masks drawn by the tracer")
        if report.not_wanted or report.failed:
            print(f"{report.not_wanted} not wanted, {len(report.failed)} left out because they could not be read")
        for note in report.notes:
            print(f"note: {note}")
    return 1 if report.failed else 0


def _choices(args: argparse.Namespace) -> "Choices":
    """What the options and the settings file say. Raises InputError for what both say."""
    from ..clinic.images import parse_pixel_size
    from ..dataset.labels import assignments
    from ..dataset.naming import MaskNames
    from ..dataset.plan import Choices
    from ..dataset.settings import Settings, read_settings
    from ..privacy.pseudonym import read_key
    from ..study import read_study, shipped_study

    told = read_settings(args.settings, args.folder) if args.settings else Settings()
    named = args.mask_prefix or args.mask_suffix or args.mask_folder
    given = {name: getattr(args, name, None) for name in vars(told)} | {"masks": named}
    if twice := [name for name in told.stated() if given[name]]:
        raise InputError(f"{args.settings} says {twice[0]}, and so do options: leave one out")
    size, roster, study = (getattr(args, name) or getattr(told, name) for name in ("pixel_size_um", "roster", "study"))
    return Choices(
        layout=args.layout or told.layout or None,
        pixel_size_um=parse_pixel_size(size) if size else None,
        cohorts=_cohorts(args.cohort or ([told.cohort] if told.cohort else [])),
        roster=Path(roster) if roster else None,
        key=read_key(args.key) if args.key else None,
        columns=assignments(args.columns, "--columns") or told.columns,
        labels=assignments(args.labels, "--labels") or told.labels,
        masks=MaskNames(args.mask_prefix, args.mask_suffix, args.mask_folder) if named else told.masks,
        study=read_study(study) if study else shipped_study(),
        trace=args.trace,
        line_width_um=args.line_width_um,
    )


def _write_settings(args: argparse.Namespace) -> int:
    """Look at the folder and write what was guessed. Raises InputError where the file is there already."""
    from ..dataset.first_look import first_look
    from ..files import write_text

    idle = [name for name in IDLE if getattr(args, name)]
    if idle:
        named = idle[0].replace("_", "-")
        raise InputError(f"--write-settings only looks, with --roster and --study: leave --{named} out")
    path = Path(args.write_settings)
    if path.exists():
        raise InputError(f"{path} is there already: choose another file, or remove it to look again")
    roster = Path(args.roster) if args.roster else None
    write_text(path, first_look(Path(args.folder), roster, Path(args.study) if args.study else None, path.name))
    print(f"{path} says what was guessed: correct it, then give --settings {path} --dry-run")
    return 0


def _dry_run(args: argparse.Namespace, choices: "Choices") -> int:
    """Print what would be taken and what would be left out; 1 where an image could not be read."""
    from ..dataset.importer import preview_import

    rows, left = preview_import(args.folder, choices)
    if args.json:
        print(json.dumps({"images": rows, "left_out": left}, indent=2, ensure_ascii=False))
        return int(any(row["fault"] for row in rows))
    names = [name for name in rows[0] if name != "fault"]
    width = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    print("  ".join(name.ljust(width[name]) for name in names).rstrip())
    for row in rows:
        line = "  ".join(row[name].ljust(width[name]) for name in names).rstrip()
        print(line + (f"  LEFT OUT: {row['fault']}" if row["fault"] else ""))
    for told in left:
        print(f"left out: {told}")
    taken = [row for row in rows if not row["fault"]]
    for cohort in sorted({row["cohort"] for row in taken}):
        patients = {row["patient"] for row in taken if row["cohort"] == cohort and row["patient"]}
        count = sum(row["cohort"] == cohort for row in taken)
        print(f"{cohort}: {count} images" + (f" of {len(patients)} patients" if patients else ""))
    if unknown := sum(not row["pixel_um"] for row in taken):
        print(f"the pixel size of {unknown} images is unknown, so they would not be measured: give --pixel-size-um")
    print(
        f"{len(taken)} images would be taken, {len(rows) - len(taken) + len(left)} files left out; nothing was written"
    )
    return int(len(taken) < len(rows))


def _cohorts(values: list[str]) -> dict[str, str]:
    """Cohorts by group; the group "" for all others. Raises InputError for a group that is named twice."""
    cohorts: dict[str, str] = {}
    for value in values:
        group, _, name = value.rpartition("=")
        if group in cohorts:
            raise InputError(f"--cohort {value} gives {group or 'all images'} a second cohort: give one")
        cohorts[group.strip()] = name.strip()
    return cohorts
