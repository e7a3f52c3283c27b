"""Replace the names of input files in pictures and workflows, so that they can be passed on.

ComfyUI's Save Image writes the whole graph into every PNG, with the names of the files that it loads. This command
rewrites the texts of PNG files, and workflows in JSON (of the front end or in API format), in place: names of input
files become pseudonyms, and pixels stay the same bit for bit. PATHS are files and folders. If the input file is
available (--input, or the folder "input" beside an "output" that contains PATHS), its pseudonym is the SHA-256 of its
content, otherwise a keyed hash of its name. The key is created at the first use, in your home folder. The pseudonyms
are printed: keep that list apart from the pictures.

Titles, notes, prompts and prefixes are changed only if they contain such a name or one of --names. Other kinds of files
are searched, not changed. The exit status is 1 if names were found (--check) or are left.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ..errors import InputError
from ..privacy.pseudonym import KEY_HELP

if TYPE_CHECKING:
    from ..privacy.tree import PrivacyReport

EXAMPLE = "python -m wdlora pseudonymise ComfyUI/output/study --names patients.txt --check"
_MOST_LINES = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to look at, where input files are, what else is an identifier."""
    parser.add_argument("paths", nargs="*", metavar="PATHS", help="PNG and JSON files, and folders of them")
    parser.add_argument(
        "--input", action="append", default=[], metavar="DIR", help="folder with the input files (repeatable)"
    )
    parser.add_argument(
        "--names", metavar="FILE", help="more identifiers, one per line, such as names of patients; replaced everywhere"
    )
    parser.add_argument("--key", metavar="FILE", help=f"secret key instead of your own; {KEY_HELP}")
    parser.add_argument("--check", action="store_true", help="change nothing; only report what is found")
    parser.add_argument(
        "--list", metavar="DIR", help="print pseudonym and name of every file in a folder as CSV, to find images again"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON; it contains the names")


def run(args: argparse.Namespace) -> int:
    """Rewrite or check; 0 where no name is left."""
    from ..privacy.names import Names
    from ..privacy.pseudonym import Pseudonyms, read_or_make_key
    from ..privacy.tree import input_finder, pseudonymise

    if args.list:
        if any((args.paths, args.check, args.input, args.names, args.key, args.json)):
            raise InputError("--list only prints pseudonyms of a folder: give it without PATHS and other options")
        return _list(Path(args.list))
    if not args.paths:
        raise InputError("name the files or folders to look at")
    key = read_or_make_key(args.key) if args.key else None
    others = _lines(Path(args.names)) if args.names else []
    pseudonyms = Pseudonyms(input_finder(args.paths, args.input), lambda: key or read_or_make_key())
    names = Names(pseudonyms, others)
    report = pseudonymise(
        args.paths, names, args.check, lambda files: tqdm(files, unit="file", disable=not sys.stderr.isatty())
    )
    if args.json:
        json.dump(report.to_dict(), sys.stdout, indent=2, ensure_ascii=False)
        print()
    else:
        _print(report, args.check)
    return int(bool((args.check and report.found) or report.left or report.unreadable))


def _print(report: "PrivacyReport", check: bool) -> None:
    for name, pseudonym in report.names.items():
        print(f"{name} → {pseudonym}")
    for file, names in report.found.items():
        print(f"{file}: {'holds' if check else 'held'} {', '.join(names)}")
    done = f"{len(report.found)} hold names" if check else f"{len(report.rewritten)} rewritten"
    print(f"{report.checked} file{'s' * (report.checked != 1)}, {done}")
    for file, names in list(report.left.items())[:_MOST_LINES]:
        print(f"left: {file}: {', '.join(names)} (in its name or in a format that is not rewritten)", file=sys.stderr)
    for file, word, text in report.perhaps[:_MOST_LINES]:
        print(f"perhaps: {file}: {word!r} in {text[:60]!r}; name it in --names if it tells who", file=sys.stderr)
    for kind in (report.left, report.perhaps):
        if len(kind) > _MOST_LINES:
            print(f"and {len(kind) - _MOST_LINES} more; --json lists all", file=sys.stderr)
    for file, why in report.unreadable.items():
        print(f"not read: {file}: {why}", file=sys.stderr)


def _lines(file: Path) -> list[str]:
    """Identifiers of a text file, one a line."""
    if not file.is_file():
        raise InputError(f"there is no file {file} with names")
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text: save it as UTF-8, one name per line") from error
    if short := [line for line in lines if 0 < len(line) < 3]:
        raise InputError(f"{file} names {short[0]!r}; names of one or two letters would be found everywhere")
    return [line for line in lines if line]


def _list(folder: Path) -> int:
    from ..csv_table import csv_text
    from ..files import sha256
    from ..privacy.names import input_name
    from ..privacy.pseudonym import content_pseudonym

    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    rows = [
        {"pseudonym": content_pseudonym(sha256(file), file.name), "file": file.relative_to(folder).as_posix()}
        for file in sorted(folder.rglob("*"))
        if file.is_file() and input_name(file.name) is not None and not file.name.startswith(".")
    ]
    print(csv_text(rows, ("pseudonym", "file")), end="")
    return 0
