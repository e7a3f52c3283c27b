"""Accept masks that were corrected in a data set: measure them and update table, records, provenance and hashes.

Until then a corrected mask is refused wherever the data set is read.
"""

import argparse
import json
from pathlib import Path

EXAMPLE = "python -m wdlora accept-masks my-data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("folder", metavar="DATASET", help="folder with images, masks and dataset.csv")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Accept and print which."""
    from ..dataset.corrections import accept

    files = accept(Path(args.folder))
    if args.json:
        print(json.dumps({"accepted": files}))
    elif files:
        print("\n".join(f"accepted: {file}" for file in files))
    else:
        print("no mask has changed")
    return 0
