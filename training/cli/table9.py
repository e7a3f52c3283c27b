"""Make the paper's Table IX on your data or on phantoms: SPADE, MAISI-2D, LoRA and WDLoRA on the same masks and split.

Each row is trained, and paints the masks of the held-out patients and those of the training patients. The first are
compared with the real images: KID, FID, PSNR, SSIM, biomarkers, and whether the masks are followed. Downstream networks
are trained on the second (regimes C and B). Two limits stand beside the rows: the base without an adapter and, on
phantoms, fresh texture of the same masks. Writes OUT/table9.md, OUT/table9.json and OUT/figure9.png. The same command
continues where it was stopped.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from training.cli.device import add_device, device_for_small
from wdlora.errors import InputError

EXAMPLE = "python -m training table9 --out runs/table9"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--out", type=Path, default=Path("table9"), metavar="DIR", help="output folder (default: table9)"
    )
    parser.add_argument("--data", type=Path, metavar="DATA", help="data set of real images (default: phantoms)")
    parser.add_argument(
        "--patients", type=int, help="without --data: number of phantoms of each cohort to learn from (default: 40)"
    )
    parser.add_argument(
        "--held", type=int, help="without --data: number of phantoms of each cohort that are held out (default: 30)"
    )
    parser.add_argument(
        "--split",
        type=Path,
        metavar="CSV",
        help="with --data: the held-out patients, as in split.csv of a run (default: as in the data)",
    )
    parser.add_argument(
        "--pixel-size-um", type=float, metavar="SIZE", help="pixel size, if the table of the data does not tell it"
    )
    parser.add_argument(
        "--rows", nargs="+", metavar="ROW", help="rows to make: spade maisi lora wdlora base phantom (default: all)"
    )
    parser.add_argument(
        "--peer-preset",
        default="small",
        help="preset of SPADE and MAISI-2D: `small` for a CPU (default), `paper` for a GPU",
    )
    parser.add_argument(
        "--preset", default="miniature", help="preset of the fine-tunes of LoRA and WDLoRA (default: miniature)"
    )
    parser.add_argument(
        "--model", default="miniature", help="base of both adapters: a diffusers folder, or `miniature` (the default)"
    )
    parser.add_argument(
        "--seeds",
        type=int,
        default=7,
        help="number of seeds of the downstream study; 0 leaves the study out (default: 7)",
    )
    parser.add_argument("--steps", type=int, default=400, help="steps of each downstream training (default: 400)")
    parser.add_argument("--size", type=int, default=96, help="side of the downstream tiles in pixels (default: 96)")
    parser.add_argument("--workers", type=int, default=2, help="number of processes that measure images (default: 2)")
    add_device(parser)
    parser.add_argument("--json", action="store_true", help="print the content of table9.json")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from wdlora.dataset.folder import check_folder
    from wdlora.files import check_writable

    check_writable(args.out / "table9.json")
    rows = _rows(args)
    settings, downstream = _settings(args), _downstream(args)
    if args.data is not None:
        check_folder(args.data)
    settings.model.check_places()
    from tqdm import tqdm

    from training.table9.page import write_table9
    from training.table9.phantoms import write_phantoms
    from training.table9.run import Table9Job, run_table9
    from wdlora.locks import at_work

    device = device_for_small(args.device)

    def bar(items: Any, title: str, total: int) -> Any:
        return tqdm(items, title, total, unit="training", disable=None)

    with at_work(args.out):
        data = args.data or write_phantoms(args.out / "data", args.patients or 40, args.held or 30)
        job = Table9Job(
            rows, data, args.out, settings, downstream, args.seeds, args.data is None, args.split, args.pixel_size_um,
            device, args.workers,
        )  # fmt: skip
        values = write_table9(run_table9(job, bar))
    print(json.dumps(values, ensure_ascii=False) if args.json else (args.out / "table9.md").read_text(encoding="utf-8"))


def _rows(args: argparse.Namespace) -> tuple[str, ...]:
    from training.table9.settings import NAMES, PHANTOM

    known = [name for name in NAMES if name != PHANTOM or args.data is None]
    if unknown := [name for name in args.rows or () if name not in known]:
        why = "the row phantom needs phantoms: leave out --data" if unknown[0] == PHANTOM else f"no row {unknown[0]}"
        raise InputError(f"{why}; there are {', '.join(known)}")
    return tuple(name for name in known if not args.rows or name in args.rows)


def _settings(args: argparse.Namespace) -> Any:
    from training.config import load_preset, preset_study
    from training.models import ModelSource
    from training.peers.recipe import PEERS, load_recipe
    from training.table9.settings import Table9Settings
    from wdlora.study import read_study

    finetune = load_preset(args.preset, {"sample_every": 0, "validation_share": 0, "test_share": 0})
    recipes = {peer: load_recipe(peer, args.peer_preset) for peer in PEERS}
    preset, peer_preset = (Path(name).stem for name in (args.preset, args.peer_preset))
    study = None if (path := preset_study(args.preset)) is None else read_study(path)
    return Table9Settings(recipes, finetune, ModelSource(args.model), preset, peer_preset, study)


def _downstream(args: argparse.Namespace) -> Any:
    from training.downstream.config import DownstreamConfig

    if args.seeds < 0:
        raise InputError(f"--seeds {args.seeds}: give a number of pairs, or 0 for none")
    for names, other in ((("patients", "held"), args.data), (("split", "pixel_size_um"), not args.data)):
        if other and (given := [name for name in names if getattr(args, name) is not None]):
            where = "of phantoms: leave it out, or leave out --data" if args.data else "of --data: name the data set"
            raise InputError(f"--{given[0].replace('_', '-')} is {where}")
    for name, least in (("patients", 2), ("held", 3), ("workers", 1)):
        if (value := getattr(args, name)) is not None and value < least:
            raise InputError(f"--{name} {value} is too few: give {least} or more")
    return DownstreamConfig(side=args.size, steps=args.steps, pretrain_steps=args.steps // 2)
