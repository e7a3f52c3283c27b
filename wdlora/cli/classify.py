"""Compute probabilities of cohorts for images, with a network of `python -m training downstream`, for research.

Research software, not a medical device: the probabilities are not a diagnosis and say nothing about a person. Images
are numbered in the given order; file names appear in the output only with --keep-names.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from ..errors import InputError

EXAMPLE = "python -m wdlora classify images/*.png --model diagnosis.safetensors --pixel-size-um hrt --csv out.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILES", help="images, of any size")
    parser.add_argument("--model", required=True, metavar="FILE", help="a network for diagnosis (.safetensors)")
    parser.add_argument(
        "--pixel-size-um", metavar="SIZE", help='µm per pixel, or ROW,COLUMN, or "hrt" for 384 × 384 of a 400 µm field'
    )
    parser.add_argument("--keep-names", action="store_true", help="write file names to outputs")
    parser.add_argument("--csv", metavar="OUT", help="write a table with one row for each image")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(args: argparse.Namespace) -> int:
    """Classify, write, print."""
    from tqdm import tqdm

    from ..clinic.images import parse_pixel_size
    from ..csv_table import write_csv
    from ..files import check_writable
    from ..hmsvit.file import DIAGNOSIS, RESEARCH, load_hmsvit

    size = parse_pixel_size(args.pixel_size_um) if args.pixel_size_um else None
    if args.csv:
        check_writable(args.csv)
        if os.path.realpath(args.csv) in {os.path.realpath(name) for name in (*args.files, args.model)}:
            raise InputError(f"{args.csv} is an input, and would be replaced: write the table to another place")
    network = load_hmsvit(args.model)
    if network.facts.task != DIAGNOSIS:
        raise InputError(f"{args.model} was trained for {network.facts.task}, not for diagnosis: give another file")
    rows: list[dict[str, Any]] = []
    for number, name in enumerate(tqdm(args.files, unit="image", disable=not sys.stderr.isatty()), start=1):
        found = _probabilities(network, name, size)
        label = Path(name).name if args.keep_names else f"{number:04d}"
        rows.append({"image": label} | found | {"network": network.name, "note": RESEARCH})
    if args.csv:
        write_csv(args.csv, rows)
    if args.json:
        print(json.dumps({"network": network.name, "note": RESEARCH, "images": rows}, indent=2, ensure_ascii=False))
    else:
        for row in rows:
            print(f"{row['image']:<12}" + "  ".join(f"{one} {row[one]:.3f}" for one in network.facts.classes))
        print(f"note: {RESEARCH}")
    return 0


def _probabilities(network: Any, name: str, size: Any) -> dict[str, float]:
    """Of every cohort. Raises InputError, naming the file, for an image that cannot be read or has no pixel size."""
    from ..anatomy.scale import PIXEL_SIZE_UM
    from ..clinic.images import read_image

    try:
        picture = read_image(name, size)
        if picture.pixel_size_um is None and picture.pixels.shape == (384, 384) and not picture.unusable_size:
            pixel_um = (PIXEL_SIZE_UM, PIXEL_SIZE_UM)
        else:
            pixel_um = picture.require_pixel_size(name)
        valid = None if picture.valid.all() else picture.valid
        found = network.cohort_probabilities(picture.pixels, pixel_um, valid)
    except InputError as error:
        raise error if name in str(error) else InputError(f"{name}: {error}") from None
    return {one: round(float(chance), 6) for one, chance in zip(network.facts.classes, found, strict=True)}
