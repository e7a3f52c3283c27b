"""Test whether synthetic images help a network on real patients: regimes A (real), B (both) and C (synthetic only).

An HMSViT-like network is trained for diagnosis and for segmentation in every regime, with the same number of steps and
the same augmentation, and tested on held-out real patients. Seeds and splits are paired. The report also shows chance,
a logistic regression on the true biomarkers, one on the appearance, the shipped tracer, and regime A without
augmentation. Images from a held-out patient's mask, or from an adapter that was trained on one, are refused. The same
command continues where it was stopped. Writes OUT/report.html, OUT/report.json and the networks of the first seed.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.cli.device import add_device, device_for_small
from wdlora.errors import InputError

if TYPE_CHECKING:
    from training.downstream.config import DownstreamConfig
    from training.downstream.images import RealSet, SyntheticSet

EXAMPLE = "python -m training downstream --real clinic --synthetic painted --seeds 7 --out runs/downstream"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--real", type=Path, required=True, metavar="DATA", help="data set of real images and masks")
    parser.add_argument(
        "--synthetic",
        type=Path,
        nargs="+",
        default=[],
        metavar="DATA",
        help="data sets of synthetic images, one for each generator",
    )
    parser.add_argument(
        "--adapter",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="adapters, which paint the training patients' masks first: Table VIII and Fig. 8 by method and rank",
    )
    parser.add_argument("--task", choices=("diagnosis", "segmentation", "both"), default="both")
    pairs = parser.add_mutually_exclusive_group()
    pairs.add_argument(
        "--seeds", type=int, help="pairs of seed and split (default: 7; with fewer than 6 nothing is claimed)"
    )
    pairs.add_argument("--folds", type=int, help="number of folds of the patients, each held out once; no seeds then")
    parser.add_argument(
        "--split",
        type=Path,
        help="split.csv of the generator's training (default: as in the data)",
    )
    _add_steps(parser)
    parser.add_argument(
        "--ratio", type=float, default=0.5, help="share of synthetic images in regime B's draws (default: 0.5)"
    )
    parser.add_argument(
        "--test-share",
        type=float,
        default=0.3,
        help="share of patients to hold out, without a split (default: 0.3)",
    )
    parser.add_argument(
        "--shuffled", action="store_true", help="also train on shuffled labels, which must give chance level"
    )
    parser.add_argument(
        "--features", default="texture-1", metavar="NAME", help="features of the appearance probe, as in evaluate"
    )
    parser.add_argument(
        "--pixel-size-um", type=float, metavar="SIZE", help="pixel size, if the table of the data does not tell it"
    )
    _add_painting(parser)
    add_device(parser)
    parser.add_argument("--out", type=Path, default=Path("downstream"), metavar="DIR", help="(default: downstream)")
    parser.add_argument("--json", action="store_true", help="print the content of report.json")


def _add_steps(parser: argparse.ArgumentParser) -> None:
    """How a network is trained."""
    parser.add_argument("--steps", type=int, default=400, help="optimiser steps of every training (default: 400)")
    parser.add_argument(
        "--pretrain-steps",
        type=int,
        default=200,
        help="steps on masked blocks before the training (default: 200; 0: none)",
    )
    parser.add_argument("--batch", type=int, default=8, help="tiles per step (default: 8)")
    parser.add_argument("--size", type=int, default=96, help="side of the tiles in pixels (default: 96)")
    parser.add_argument(
        "--network", choices=("tiny", "small", "base", "paper"), default="tiny", help="its size (default: tiny)"
    )


def _add_painting(parser: argparse.ArgumentParser) -> None:
    """How adapters paint."""
    parser.add_argument("--model", default="miniature", help="with --adapter: its base (default: miniature)")
    parser.add_argument("--cfg", type=float, help="with --adapter: guidance scale (default: the model's)")
    parser.add_argument("--sampler-steps", type=int, default=12, help="with --adapter (default: 12)")
    parser.add_argument("--paint-size", type=int, help="with --adapter: paint crops of this side, not whole masks")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from training.downstream.config import TASKS
    from wdlora.files import check_writable

    check_writable(args.out / "report.json")
    config = _config(args)
    _check_places(args)
    from tqdm import tqdm

    from training.downstream.images import read_real
    from training.downstream.report import summary, write_downstream
    from training.downstream.splits import folds_of
    from training.downstream.study import DownstreamStudy, check_real, run_study
    from wdlora.locks import at_work

    device = device_for_small(args.device)
    real = read_real(args.real, _split(args), args.pixel_size_um)
    folds = folds_of(real, 7 if args.seeds is None else args.seeds, config.test_share, args.folds)
    tasks = TASKS if args.task == "both" else (args.task,)
    check_real(real, folds, tasks, config)  # before adapters paint

    def bar(items: Any, title: str, total: int) -> Any:
        return tqdm(items, title, total, unit="training", disable=None)

    with at_work(args.out):
        study = DownstreamStudy(
            real, _generators(args, real, device), folds, tasks, config, args.out, args.features, device
        )
        values = write_downstream(study, run_study(study, bar))
    print(json.dumps(values, ensure_ascii=False) if args.json else summary(values, args.out))


def _check_places(args: argparse.Namespace) -> None:
    """Raise InputError for a data set, or the base of adapters, that is not there."""
    from training.models import ModelSource
    from wdlora.dataset.folder import check_folder

    for folder in (args.real, *args.synthetic):
        check_folder(folder)
    if args.adapter:
        ModelSource(args.model).check_places()


def _config(args: argparse.Namespace) -> "DownstreamConfig":
    from training.downstream.config import DownstreamConfig

    return DownstreamConfig(
        network=args.network,
        side=args.size,
        steps=args.steps,
        pretrain_steps=args.pretrain_steps,
        batch=args.batch,
        synthetic_share=args.ratio,
        test_share=args.test_share,
        shuffled=args.shuffled,
    )


def _split(args: argparse.Namespace) -> Path | None:
    """The split given, or that beside the first adapter."""
    from wdlora.adapter.file import file_to_read
    from wdlora.dataset.split import TABLE

    if args.split is None and args.adapter:
        beside = file_to_read(args.adapter[0]).parent / TABLE
        return beside if beside.is_file() else None
    return args.split


def _generators(args: argparse.Namespace, real: "RealSet", device: str) -> "list[SyntheticSet]":
    """The synthetic sets: read, then painted. Raises InputError for options without their adapter, and for none."""
    from training.downstream.images import read_synthetic

    if not args.adapter:
        if given := [name for name in ("cfg", "paint_size") if getattr(args, name) is not None]:
            raise InputError(f"--{given[0].replace('_', '-')} belongs to --adapter: name one, or leave it out")
        return [read_synthetic(folder, real, split=args.split) for folder in args.synthetic]
    from dataclasses import replace

    from training.downstream.painting import open_adapters, paint_sets
    from training.models import ModelSource, precision_for

    origins = open_adapters(args.adapter, args.split)
    precision = precision_for(args.model, [one.adapter.metadata.base_quantisation for one in origins])
    base = ModelSource(args.model).load(precision, device)
    cfg = base.defaults.cfg if args.cfg is None else args.cfg
    sampling = replace(base.defaults, steps=args.sampler_steps, sampler="heun").guided_by(cfg)
    painted = paint_sets(origins, base, real, sampling, args.paint_size, args.out / "adapters")
    return [read_synthetic(folder, real, split=args.split) for folder in args.synthetic] + painted
