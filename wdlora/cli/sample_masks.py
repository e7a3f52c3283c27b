"""Draw nerve masks whose biomarkers follow a cohort's published distributions.

Writes masks/NAME.png (0 and 255) and manifest.json with what was drawn, what was measured, the seeds and the files'
hashes. With --phantoms it also writes images/NAME.png and dataset.csv, so that the folder is a data set. Masks show
what an expert annotates. Phantoms of recipe 2 also show the fine network (--target fine_share=0.5 for more of it, 0 for
none); all_fibres/NAME.png is the mask with the fine network. Existing files are kept, so an interrupted run continues
where it stopped. Masks depend only on --seed and their number: a later call with a larger --count continues the same
series, and the manifest lists all of it. Another series needs another folder.
"""

import argparse
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..anatomy.biomarkers.units import UNITS
from ..anatomy.masks.recipe import RECIPE, RECIPES
from ..errors import InputError

if TYPE_CHECKING:
    from ..anatomy import NerveMask

EXAMPLE = "python -m wdlora sample-masks --cohort T1DPN --count 100 --seed 1 --out masks-t1dpn --phantoms"

RECORD = "wdlora-mask"
"""Name of the PNG text chunk that carries a mask's record."""

PHANTOM_OF = {1: 1, 2: 2}
"""Version of the phantoms that go with a recipe of the masks."""

PICTURES = {"phantom": "images", "all_fibres": "all_fibres"}
"""Folders of what --phantoms writes beside a mask; the second of recipe 2 alone."""

COLUMNS = ("file", "cohort", "patient", "pixel_size_um", "synthetic")
"""Of the table that --phantoms writes."""

SHOWN = (("cnfl", "CNFL"), ("cnfd", "CNFD"), ("cnbd", "CNBD"), ("cnfw", "CNFW"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--cohort", required=True, metavar="NAME", help="Control, T1NoDPN or T1DPN")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="how many masks (default 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the series (default 0)")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the masks and the manifest")
    parser.add_argument("--size", default="384", metavar="PIXELS", help="side, or HEIGHTxWIDTH (default 384)")
    parser.add_argument("--pixel-size-um", type=float, metavar="UM", help="µm per pixel (default 400/384)")
    parser.add_argument("--severity", type=float, metavar="S", help="0 Control … 2 T1DPN instead of the cohort's own")
    parser.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="fix cnfl, cnfd, cnbd, cnfw, width_um or fine_share",
    )
    parser.add_argument(
        "--shift", action="append", default=[], metavar="NAME=VALUE", help="move the cohort's mean of a biomarker"
    )
    parser.add_argument("--whorl", action="store_true", help="turn the nerves around a centre as in the inferior whorl")
    parser.add_argument("--phantoms", action="store_true", help="simulate a confocal image of every mask")
    parser.add_argument(
        "--recipe",
        type=int,
        choices=RECIPES,
        default=RECIPE,
        help=f"version of masks and phantoms: {RECIPE} (default), or 1 to continue an older series",
    )
    parser.add_argument("--json", action="store_true", help="print the manifest")


def run(args: argparse.Namespace) -> int:
    """Draw what is missing, write the manifest, print a summary."""
    from tqdm import tqdm

    from ..anatomy.phantoms.versions import version_name
    from ..anatomy.scale import PIXEL_SIZE_UM
    from ..cohorts import cohort
    from ..files import sha256, write_json

    if args.count < 1:
        raise InputError(f"--count {args.count} draws nothing; ask for 1 or more")
    if args.seed < 0:
        raise InputError(f"--seed {args.seed} is not a whole number from 0 up")
    name = cohort(args.cohort).name
    recipe: dict[str, Any] = {
        "sampler": args.recipe,
        "cohort": name,
        "seed": args.seed,
        "size": _size(args.size),
        "pixel_size_um": PIXEL_SIZE_UM if args.pixel_size_um is None else args.pixel_size_um,
        "severity": args.severity,
        "targets": _values("--target", args.target),
        "shifts": _values("--shift", args.shift),
        "whorl": args.whorl,
    }
    if args.recipe > 1:
        recipe |= {"phantom": version_name(PHANTOM_OF[args.recipe])}
    elif "fine_share" in recipe["targets"]:
        raise InputError("--target fine_share is of recipe 2: masks of recipe 1 have no fine network")
    folder = Path(args.out)
    _check_manifest(folder / "manifest.json", recipe)
    _check_table(folder, recipe)
    numbers = tqdm(range(args.count), desc=name, unit="mask", disable=None, file=sys.stderr)
    records = [_one(folder, recipe, index, args.phantoms) for index in numbers]
    records += [_one(folder, recipe, index, False) for index in _further(folder, recipe, args.count)]
    manifest = {"recipe": recipe, "masks": records}
    for record in records:
        for file in record["files"].values():
            file["sha256"] = sha256(folder / file["path"])
    write_json(folder / "manifest.json", manifest)
    _write_table(folder, recipe, records)
    if args.json:
        print(json.dumps(manifest, indent=2, ensure_ascii=False))
    else:
        _summary(records, folder)
    return 0


def _write_table(folder: Path, recipe: dict[str, Any], records: list[dict[str, Any]]) -> None:
    """Write the table that makes the masks with phantoms a data set (see `wdlora.dataset.folder`).

    What a user wrote into it stays: columns, cells, and rows of other pictures.
    """
    from ..csv_table import write_csv
    from ..dataset.folder import TABLE
    from ..dataset.records import RECORDS, write_records
    from ..dataset.subjects import of_mask
    from ..dataset.writer import read_table

    columns, before = read_table(folder / TABLE) if (folder / TABLE).is_file() else ([], [])
    rows: dict[str, dict[str, str]] = {}
    for row in before:
        if not row["file"].startswith(_stem(recipe)) or (folder / PICTURES["phantom"] / row["file"]).is_file():
            rows[row["file"]] = row
    for record in records:
        if "phantom" in record["files"]:
            name = Path(record["files"]["phantom"]["path"])
            row = {"file": name.name, "cohort": record["cohort"], "patient": of_mask(record["files"]["mask"]["sha256"])}
            row |= {"pixel_size_um": f"{recipe['pixel_size_um']:.6g}", "synthetic": "1"}
            rows[name.name] = row | {key: value for key, value in rows.get(name.name, {}).items() if value}
    if rows or before:
        columns = list(dict.fromkeys([*columns, *COLUMNS]))
        write_csv(folder / TABLE, list(rows.values()), columns=columns)
        if (folder / RECORDS).is_file():
            write_records(folder, columns, list(rows.values()))


def mask_seed(seed: int, index: int) -> int:
    """Seed of the mask number `index` of a series."""
    return _seed(seed, index)


def phantom_seed(cohort: str, seed: int) -> int:
    """Seed of a mask's phantom: another one in every cohort, else series of one seed would share their backgrounds."""
    return _seed(seed, *cohort.encode())


def _seed(*entropy: int) -> int:
    """53 bits, so that JSON keeps them."""
    high, low = np.random.SeedSequence(entropy).generate_state(2, np.uint32)
    return (int(high) << 21) | (int(low) >> 11)


def _stem(recipe: dict[str, Any]) -> str:
    """What the names of a series' files begin with."""
    return f"{recipe['cohort']}_{recipe['seed']}_"


def _further(folder: Path, recipe: dict[str, Any], count: int) -> list[int]:
    """Numbers from `count` up of the masks that lie in the folder from a longer run of the series."""
    stem = _stem(recipe)
    numbers = [path.stem.removeprefix(stem) for path in (folder / "masks").glob(f"{stem}*.png")]
    return sorted(int(number) for number in numbers if number.isdecimal() and int(number) >= count)


def _check_manifest(path: Path, recipe: dict[str, Any]) -> None:
    """Raise InputError where the manifest in the folder is not of the series that `recipe` makes."""
    if not path.exists():
        return
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))["recipe"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is not of this command; choose another --out") from None
    if isinstance(earlier, dict) and earlier.get("sampler") != recipe["sampler"]:
        raise InputError(
            f"{path} lists a series of recipe {earlier.get('sampler')}, which recipe {recipe['sampler']} does not "
            f"continue; give --recipe {earlier.get('sampler')} to continue it, or choose another --out"
        )
    if earlier != recipe:
        raise InputError(f"{path} lists a series that was drawn with other settings; choose another --out")


def _check_table(folder: Path, recipe: dict[str, Any]) -> None:
    """Raise InputError where the data set in the folder is not of the series that `recipe` makes."""
    from ..dataset.folder import TABLE
    from ..dataset.writer import read_table

    rows = read_table(folder / TABLE)[1]
    known = (folder / "manifest.json").exists() or any(row["file"].startswith(_stem(recipe)) for row in rows)
    if rows and not known:
        raise InputError(f"{folder / TABLE} is of another data set; choose another --out")


def _one(folder: Path, recipe: dict[str, Any], index: int, phantoms: bool) -> dict[str, Any]:
    """The record of one mask, drawn unless it is there."""
    name = f"{_stem(recipe)}{index:05d}.png"
    mask_file = Path("masks", name)
    pictures = {
        kind: Path(where, name) for kind, where in PICTURES.items() if recipe["sampler"] > 1 or kind == "phantom"
    }
    have = _read(folder / mask_file, recipe)
    if have is not None and not (phantoms and any(_read(folder / file, recipe) is None for file in pictures.values())):
        record = have
    else:
        made = _drawn(recipe, mask_seed(recipe["seed"], index))
        assert made.biomarkers is not None
        record = {
            "index": index,
            "seed": made.seed,
            "cohort": made.cohort,
            "severity": made.severity,
            "target": made.target,
            "biomarkers": made.biomarkers.to_dict(),
        }
        if recipe["sampler"] > 1:
            record["fine_share"] = made.fine_share
        if have is None:
            _write(folder / mask_file, made.mask.astype(np.uint8) * 255, recipe, record)
        if phantoms:
            from ..anatomy import phantom

            image = phantom(made, phantom_seed(made.cohort, made.seed), version=PHANTOM_OF[recipe["sampler"]])
            _write(folder / pictures["phantom"], image, recipe, record)
            if "all_fibres" in pictures:
                _write(folder / pictures["all_fibres"], made.all_fibres.astype(np.uint8) * 255, recipe, record)
    files = {"mask": {"path": mask_file.as_posix()}}
    for kind, file in pictures.items():
        with suppress(InputError):  # without --phantoms: somebody else's picture of that name
            if _read(folder / file, recipe) is not None:
                files[kind] = {"path": file.as_posix()}
    return {**record, "files": files}


def _drawn(recipe: dict[str, Any], seed: int) -> "NerveMask":
    """The mask of a series that has this seed."""
    from ..anatomy import sample_mask

    return sample_mask(
        recipe["cohort"],
        seed,
        size=tuple(recipe["size"]),
        pixel_size_um=recipe["pixel_size_um"],
        severity=recipe["severity"],
        targets=recipe["targets"] | ({"fine_share": 0.0} if recipe["sampler"] == 1 else {}),
        shifts=recipe["shifts"],
        whorl=recipe["whorl"],
    )


def _write(path: Path, pixels: np.ndarray, recipe: dict[str, Any], record: dict[str, Any]) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from ..files import atomic_write

    text = PngInfo()
    text.add_text(RECORD, json.dumps({"recipe": recipe, "record": record}))
    with atomic_write(path) as temporary:
        dpi = 25400 / recipe["pixel_size_um"]
        Image.fromarray(pixels).save(temporary, format="PNG", pnginfo=text, dpi=(dpi, dpi))


def _read(path: Path, recipe: dict[str, Any]) -> dict[str, Any] | None:
    """The record that a PNG carries; None without a file. Raises InputError where another recipe made it."""
    from PIL import Image

    from ..clinic.pictures import DAMAGED

    if not path.exists():
        return None
    try:
        with Image.open(path) as image:
            carried = json.loads(image.info[RECORD])
    except DAMAGED as error:
        raise InputError(f"{path} is not a mask of this command; move it away or choose another --out") from error
    if carried["recipe"] != recipe:
        raise InputError(f"{path} was drawn with other settings; choose another --out")
    return carried["record"]


def _size(text: str) -> list[int]:
    parts = text.lower().split("x")
    try:
        sides = [int(part) for part in parts]
    except ValueError:
        sides = []
    if len(sides) == 1:
        sides *= 2
    if len(sides) != 2 or min(sides) < 1:
        raise InputError(f"--size {text!r} is neither a number of pixels nor HEIGHTxWIDTH")
    return sides


def _values(option: str, pairs: list[str]) -> dict[str, float]:
    values: dict[str, float] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        try:
            value = float(text)
        except ValueError as error:
            raise InputError(f"{option} {pair!r} is not NAME=VALUE, for example cnfl=18.5") from error
        if name.strip() in values:
            raise InputError(f"{option} {name.strip()} is given twice; give one value")
        values[name.strip()] = value
    return values


def _summary(records: list[dict[str, Any]], folder: Path) -> None:
    print(f"{len(records)} masks in {folder}")
    print(f"{'':<14}{'drawn':>16}{'measured':>18}")
    for key, label in SHOWN:
        drawn = np.array([record["target"][key] for record in records])
        measured = [record["biomarkers"][key] for record in records]
        known = np.array([value for value in measured if value is not None] or [np.nan])
        row = f"{label} {UNITS[key]}"
        print(f"{row:<14}{drawn.mean():>8.2f} ± {drawn.std():<5.2f}{known.mean():>10.2f} ± {known.std():<5.2f}")
