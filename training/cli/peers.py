"""Train the peers of the paper's Table IX on your data: SPADE, a conditional GAN, and MAISI-2D, a latent diffusion.

`train` learns from the training patients of a data set and writes a file. The same command continues where it was
stopped, with the same result, on a CPU bit for bit. `paint` paints masks of any size with that file; what it writes is
a data set that every command reads. Both need the packages monai and einops (the extra "peers").
"""

import argparse
import json
from pathlib import Path
from typing import Any

from training.cli.device import add_device, device_for_small
from training.cli.recipe_options import overrides_of
from wdlora.errors import InputError

EXAMPLE = """python -m training peers train spade --data clinic --out runs/spade
  python -m training peers paint runs/spade --masks clinic --out painted/spade"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="train|paint")
    train = actions.add_parser("train", help="train a peer on a data set", allow_abbrev=False)
    train.add_argument("peer", choices=_peers(), help="which peer to train")
    train.add_argument("--data", type=Path, required=True, metavar="DATA", help="data set of real images and masks")
    train.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    train.add_argument(
        "--preset", default="small", help="`small` for a CPU (default), `paper` for a GPU, or the path of a TOML file"
    )
    train.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="change fields of the preset"
    )
    train.add_argument(
        "--split",
        type=Path,
        metavar="CSV",
        help="the held-out patients, as in split.csv of another run (default: as in the data)",
    )
    train.add_argument(
        "--pixel-size-um", type=float, metavar="SIZE", help="pixel size, if neither dataset.csv nor the study tells it"
    )
    paint = actions.add_parser("paint", help="paint masks with a trained peer", allow_abbrev=False)
    paint.add_argument("run", type=Path, metavar="DIR", help="folder of a finished training, or its file")
    paint.add_argument("--masks", type=Path, required=True, metavar="DIR", help="a data set, or a folder of masks")
    paint.add_argument("--cohort", metavar="NAME", help="cohort of all masks, if the folder is not a data set")
    paint.add_argument(
        "--part", choices=("train", "validation", "test"), help="paint only the masks of this part of the run's split"
    )
    paint.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the data set to write")
    paint.add_argument(
        "--seed", type=int, default=0, help="seed; each picture is decided by it and the mask (default: 0)"
    )
    for action in (train, paint):
        add_device(action)
        action.add_argument("--json", action="store_true", help="print the result as JSON")


def _peers() -> tuple[str, ...]:
    from training.peers.recipe import PEERS

    return PEERS


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    return _train(args) if args.action == "train" else _paint(args)


def _train(args: argparse.Namespace) -> int:
    from training.peers.recipe import load_recipe
    from wdlora.dataset.folder import check_folder
    from wdlora.dataset.split import TABLE as SPLIT
    from wdlora.files import check_writable

    check_folder(args.data)
    check_writable(args.out / SPLIT)
    overrides = overrides_of(args.set)
    preset = Path(args.preset).stem + (f" with {', '.join(args.set)}" if args.set else "")
    recipe = load_recipe(args.peer, args.preset, overrides)
    from training.peers.job import UNKNOWN, PeerJob, train_peer  # PyTorch and more: seconds

    device = device_for_small(args.device)
    job = PeerJob(args.peer, recipe, preset, args.data, args.out, args.split, args.pixel_size_um, device)
    result = train_peer(job)
    if args.json:
        print(json.dumps(result))
    elif not result["finished"]:
        print(f"Stopped after step {result['step']}; the same command goes on.")
    else:
        cost = f"; {UNKNOWN}" if result["minutes"] is None else f" in {result['minutes']} minutes"
        print(f"Trained{cost}: {result['file']}")
        if "traced_dice" in result:
            others = f", with others' {result['wrong_dice']:.3f}" if "wrong_dice" in result else ""
            print(f"Dice of traced pictures with their masks {result['traced_dice']:.3f}{others}", end="")
            print(f"; held-out crops: {result['traced_pictures']}")
    return 0 if result["finished"] else 130


def _paint(args: argparse.Namespace) -> int:
    from wdlora.dataset.split import TABLE as SPLIT
    from wdlora.files import check_writable

    check_writable(args.out / "dataset.csv")
    if args.seed < 0:
        raise InputError(f"--seed {args.seed} is not a whole number from 0 up")
    from training.peers.file import load_peer  # PyTorch and more: seconds
    from training.peers.masks import masks_to_paint
    from training.peers.painting import paint_with_peer

    peer = load_peer(args.run, device_for_small(args.device))
    cases, study = masks_to_paint(args.masks, args.cohort, peer.facts)
    folder = args.run if args.run.is_dir() else args.run.parent
    if args.part:
        cases = _of_part(cases, args.part, folder / SPLIT)
    files = paint_with_peer(peer, cases, study, args.seed, args.out, folder)
    result = {"pictures": len(files), "data_set": str(args.out)}
    print(json.dumps(result) if args.json else f"{len(files)} pictures in {args.out}")
    return 0


def _of_part(cases: list[Any], part: str, table: Path) -> list[Any]:
    """The masks of patients in a part of the run's split. Raises InputError where there are none."""
    from training.sides import PublicNames
    from wdlora.dataset.split import read_split

    names, parts = PublicNames(), read_split(table)
    found = [case for case in cases if case.patient and parts.get(names.of(case.patient)) == part]
    if not found:
        raise InputError(f"none of the {len(cases)} masks is of a patient of the part {part} in {table}")
    return found
