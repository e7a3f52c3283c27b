"""Measure corneal nerve biomarkers in nerve masks or, with --image, in images that are traced first.

Prints one line for each image; --csv, --patients and --nerves write tables, --overlay a picture of each image. Images
are numbered in the given order, or have the pseudonyms of a roster. File names appear in the output only with
--keep-names. An image without nerves is a result, not an error.
"""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..anatomy.biomarkers.units import UNITS
from ..csv_table import one_form
from ..errors import InputError
from ..privacy.pseudonym import KEY_HELP
from . import tracer_options

if TYPE_CHECKING:
    from ..anatomy.biomarkers.panel import Biomarkers
    from ..clinic.images import ClinicImage, ClinicMask

EXAMPLE = "python -m wdlora measure masks/*.png --pixel-size-um hrt --csv biomarkers.csv --overlay pictures"

COLUMNS = (("cnfl", "CNFL"), ("cnfd", "CNFD"), ("cnbd", "CNBD"), ("ctbd", "CTBD"), ("mean_width_um", "width"))


@dataclass(frozen=True)
class Measured:
    """One file's result: the columns that name it, where its pixel size comes from, and the panel."""

    columns: dict[str, str]
    pixel_size_from: str
    biomarkers: "Biomarkers"
    notes: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILES", help="masks (or images with --image), all of one size")
    parser.add_argument("--image", action="store_true", help="the files are images: trace the nerves, then measure")
    tracer_options.add(parser)
    parser.add_argument(
        "--pixel-size-um", metavar="SIZE", help='µm per pixel, or ROW,COLUMN, or "hrt" for 384 × 384 of a 400 µm field'
    )
    parser.add_argument(
        "--rules", default="acc_like", metavar="NAME", help="acc_like (default), keep_all or chain_code"
    )
    parser.add_argument(
        "--roster", metavar="CSV", help="table that says which patient, eye and visit each file belongs to"
    )
    parser.add_argument(
        "--key",
        metavar="FILE",
        help=f"a secret, by which a roster's pseudonyms are the same in every table; {KEY_HELP}",
    )
    parser.add_argument("--keep-names", action="store_true", help="write file names (and a roster's names) to outputs")
    parser.add_argument("--csv", metavar="OUT", help="write a table with one row for each image")
    parser.add_argument("--patients", metavar="OUT", help="write a table with one row for each patient, eye and visit")
    parser.add_argument("--nerves", metavar="OUT", help="write a table with one row for each nerve")
    parser.add_argument("--overlay", metavar="DIR", help="write an annotated picture of each image")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(args: argparse.Namespace) -> int:
    """Measure, write, print."""
    from tqdm import tqdm

    from ..anatomy.biomarkers.rules import rule_set
    from ..anatomy.biomarkers.tables import image_row, nerve_rows, patient_rows
    from ..anatomy.tracing.segmenters import tracer_name
    from ..clinic.images import parse_pixel_size
    from ..files import check_writable

    rules = rule_set(args.rules)
    size = parse_pixel_size(args.pixel_size_um) if args.pixel_size_um else None
    if args.patients and not args.roster:
        raise InputError("--patients needs to know whose the images are; name a roster with --roster")
    tracer_options.check(args, args.image, "add --image, or leave it out")
    if args.key and not args.roster:
        raise InputError("--key makes the pseudonyms of a roster; name a roster with --roster")
    for path in filter(None, (args.csv, args.patients, args.nerves)):
        check_writable(path)
    if args.roster or args.keep_names:
        _refuse_twins(args.files, args.keep_names)
    entries = _roster(args.roster, args.key, args.keep_names)
    named = [_columns(Path(name), number, entries, args.keep_names) for number, name in enumerate(args.files, start=1)]
    _check_outputs(args, named)
    results: list[Measured] = []
    shape: tuple[int, ...] | None = None
    watched = tqdm(args.files, unit="image", disable=not sys.stderr.isatty())
    for name, columns in zip(watched, named, strict=True):
        with _named(name):
            picture, pixel_um, source = _read(name, size, args.image)
            if shape is not None and _shape(picture) != shape:
                raise InputError(
                    f"it is {_size(_shape(picture))} pixels but {args.files[0]} is {_size(shape)}; "
                    "measure images of different sizes in separate calls"
                )
            shape = _shape(picture)
            result, mask = _measure(picture, pixel_um, rules, args)
        notes = [picture.cropped] if picture.cropped else []
        notes += getattr(picture, "notes", ())
        if not args.image and mask.mean() > 0.5:
            notes.append(f"nerves cover {mask.mean():.0%} of the mask; if they are black on white, invert it")
        results.append(Measured(columns, source, result, tuple(notes)))
        if args.overlay:
            _draw(_overlay(args.overlay, columns), columns, result, mask, getattr(picture, "pixels", None))
    tracer = tracer_name(args.segmenter, args.detail) if args.image else None
    origin = {"tracer": tracer} if tracer else {}
    rows = [image_row(r.biomarkers, r.columns) | {"pixel_size_from": r.pixel_size_from} | origin for r in results]
    if args.csv:
        _write_table(args.csv, rows)
    if args.patients:
        _write_table(args.patients, patient_rows(rows))
    if args.nerves:
        _write_table(args.nerves, [row for r in results for row in nerve_rows(r.biomarkers, r.columns)])
    if args.json:
        print(json.dumps(_report(results) | origin, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _print(results, tracer)
    _print_notes(results)
    return 0


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Say which file an error is about."""
    try:
        yield
    except InputError as error:
        if name in str(error):
            raise
        raise InputError(f"{name}: {error}") from error


def _roster(path: str | None, key: str | None, keep_names: bool) -> dict[str, Any] | None:
    if not path:
        return None
    from ..clinic.roster import read_roster
    from ..privacy.pseudonym import read_key

    return read_roster(path, read_key(key) if key else None, keep_names)


def _refuse_twins(files: list[str], keep_names: bool) -> None:
    """Raise InputError where files of one name would share a line of a roster, or a picture named after them."""
    seen: dict[str, str] = {}
    for file in files:
        if (other := seen.setdefault(Path(file).stem if keep_names else Path(file).name, file)) != file:
            raise InputError(f"{other} and {file} have the same name; measure them in separate calls, or rename one")


def _columns(file: Path, number: int, entries: dict[str, Any] | None, keep_names: bool) -> dict[str, str]:
    """The columns that name an image in outputs."""
    if entries is None:
        return {"image": file.name if keep_names else f"{number:04d}"}
    name = one_form(file.name)
    if name not in entries:
        raise InputError(f"{file} is not in the roster: add a line for {file.name}")
    columns = entries[name].columns()
    if not keep_names:
        from ..dataset.writer import check_fields

        with _named(file.name):
            check_fields("", "", columns["visit"])
    return columns


def _overlay(folder: str, columns: dict[str, str]) -> Path:
    """Where the annotated picture of an image goes."""
    return Path(folder) / f"{Path(columns['image']).stem}.png"


def _check_outputs(args: argparse.Namespace, named: list[dict[str, str]]) -> None:
    """Raise InputError, before the work, where an output would replace what is read, or another output."""
    inputs = {os.path.realpath(name) for name in (*args.files, args.roster, args.key) if name}
    pictures = [_overlay(args.overlay, columns) for columns in named] if args.overlay else []
    outputs: set[str] = set()
    for out in (*filter(None, (args.csv, args.patients, args.nerves)), *pictures):
        place = os.path.realpath(out)
        if place in inputs:
            raise InputError(f"{out} is an input, and would be replaced: write outputs to another place")
        if place in outputs:
            raise InputError(f"{out} is the place of two outputs: give each its own")
        outputs.add(place)


def _read(name: str, size: Any, image: bool) -> "tuple[ClinicImage | ClinicMask, tuple[float, float], str]":
    """The picture or mask, its pixel size, and where that comes from."""
    from ..anatomy.scale import PIXEL_SIZE_UM
    from ..clinic.images import read_image, read_mask

    picture = read_image(name, size) if image else read_mask(name, size)
    if picture.pixel_size_um is None and _shape(picture) == (384, 384) and not picture.unusable_size:
        return picture, (PIXEL_SIZE_UM, PIXEL_SIZE_UM), "assumed: a 400 µm HRT field"
    source = "given" if size is not None else "file"
    return picture, picture.require_pixel_size(name), source


def _shape(picture: "ClinicImage | ClinicMask") -> tuple[int, ...]:
    from ..clinic.images import ClinicMask

    return picture.mask.shape if isinstance(picture, ClinicMask) else picture.pixels.shape


def _measure(
    picture: "ClinicImage | ClinicMask", pixel_um: tuple[float, float], rules: Any, args: argparse.Namespace
) -> "tuple[Biomarkers, np.ndarray]":
    from ..anatomy.biomarkers.panel import measure
    from ..anatomy.tracing.tracer import trace
    from ..clinic.images import ClinicMask

    if isinstance(picture, ClinicMask):
        return measure(picture.mask, pixel_um, rules), picture.mask
    mask = trace(picture.pixels, pixel_um, args.segmenter, picture.valid, detail=args.detail)
    valid = None if picture.valid.all() else picture.valid
    return measure(mask, pixel_um, rules, valid, picture.pixels), mask


def _draw(
    place: Path, columns: dict[str, str], result: "Biomarkers", mask: np.ndarray, image: np.ndarray | None
) -> None:
    from PIL import Image

    from ..anatomy.biomarkers.plotting import annotated_picture
    from ..files import atomic_write

    title = "  ·  ".join(value for value in (place.stem, *(v for k, v in columns.items() if k != "image")) if value)
    with atomic_write(place) as file:
        Image.fromarray(annotated_picture(result, mask, image, f"Image {title}")).save(file, format="PNG")


def _write_table(path: str, rows: list[dict[str, Any]]) -> None:
    from ..csv_table import write_csv

    write_csv(path, rows, digits=9, line_end="\r\n")


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} × {shape[0]}"


def _report(results: list[Measured]) -> dict[str, Any]:
    """What --json prints."""
    images = [
        {
            **r.columns,
            **r.biomarkers.to_dict(),
            "pixel_size_from": r.pixel_size_from,
            "notes": list(r.notes),
            "nerves": [nerve.to_dict() for nerve in r.biomarkers.nerves],
        }
        for r in results
    ]
    return {"units": UNITS, "images": images}


def _print(results: list[Measured], tracer: str | None) -> None:
    """One line an image."""
    wide = max(5, *(len(r.columns["image"]) for r in results))
    print(f"{'image':<{wide}}" + "".join(f"{label:>9}" for _, label in COLUMNS))
    print(f"{'':<{wide}}" + "".join(f"{UNITS[name]:>9}" for name, _ in COLUMNS))
    for r in results:
        values = r.biomarkers.to_dict()
        cells = ("–" if values[name] is None else f"{values[name]:.2f}" for name, _ in COLUMNS)
        print(f"{r.columns['image']:<{wide}}" + "".join(f"{cell:>9}" for cell in cells))
    print(f"rules {results[0].biomarkers.rules}" + (f", traced by {tracer}" if tracer else ""))


def _print_notes(results: list[Measured]) -> None:
    """What the reader has to know, on standard error."""
    for source in dict.fromkeys(r.pixel_size_from for r in results):
        if source.startswith("assumed"):
            print(f"pixel size {source}; say so with --pixel-size-um hrt, or give the true one", file=sys.stderr)
    for r in results:
        for note in r.notes:
            print(f"{r.columns['image']}: {note}", file=sys.stderr)
