"""Compare LoRA and WDLoRA on the miniature, with the learning rate tuned for each method and rank.

Every arm is tuned on tuning seeds over rates on both sides of its optimum and then trained on fresh seeds; arms are
paired by seed. Results are recorded at once: the same command continues where it was stopped. Two processes share a
folder with --shard 0/2 and --shard 1/2.
"""

import argparse
from pathlib import Path

from wdlora.errors import InputError

EXAMPLE = "python -m training compare --out runs/compare --ranks 1 2 4 8 --steps 200"

PHANTOM = 1
"""Version of the phantoms: another one would be another study, which does not go on with the runs that are there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--out", type=Path, required=True, help="folder of the study")
    parser.add_argument("--model", default="miniature", help="a diffusers folder, or `miniature` (the default)")
    parser.add_argument("--ranks", type=int, nargs="+", help="(default: 1 2 4 8; with --report the existing ones)")
    parser.add_argument("--steps", type=int, default=200, help="steps of every run (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=4, help="pictures per step (default: %(default)s)")
    parser.add_argument(
        "--size", type=int, default=64, help="side of the crops in pixels, a multiple of 32 (default: %(default)s)"
    )
    parser.add_argument("--phantoms", type=int, default=32, help="phantoms of each cohort (default: %(default)s)")
    parser.add_argument(
        "--rates",
        type=float,
        nargs="+",
        default=[1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2],
        help="learning rates to try first, at least 5; further ones follow if the best is at an end "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--tuning-seeds", type=int, default=2, help="seeds for each rate, counted from 100 (default: %(default)s)"
    )
    parser.add_argument(
        "--seeds", type=int, help="fresh seeds, counted from 0 (default: 5; with --report the existing ones)"
    )
    parser.add_argument("--shard", default="0/1", help="this process's share, e.g. 0/2 (default: all)")
    parser.add_argument("--report", action="store_true", help="only print the tables of existing runs")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from training.models import ModelSource
    from wdlora.files import check_writable

    if not args.report:
        check_writable(args.out / "cache")
        ModelSource(args.model).check_places()
    import torch  # PyTorch and more: seconds, after what can be refused without them
    from tqdm import tqdm

    from training.cache import Cache
    from training.compare import FIRST_TUNING_SEED, MethodStudy, read_results, report
    from training.config import load_preset
    from training.examples import phantom_examples
    from training.prepare import Preparer
    from wdlora.dataset.split import Shares, parted, split_patients

    if args.seeds is not None and not 2 <= args.seeds <= FIRST_TUNING_SEED:
        raise InputError(
            f"--seeds {args.seeds}: differences between methods need at least 2 seeds, and from {FIRST_TUNING_SEED} on "
            "seeds are for tuning"
        )
    if args.tuning_seeds < 1:
        raise InputError(f"--tuning-seeds {args.tuning_seeds}: choosing a rate needs at least 1 seed")
    if args.report:
        print(_report(args))
        return
    if len(set(args.rates)) < 5:
        raise InputError(f"--rates names {len(set(args.rates))}: choosing a rate needs at least 5")
    if args.phantoms < 2:
        raise InputError(
            f"--phantoms {args.phantoms}: a cohort needs at least 2, one to learn from and one to judge by"
        )
    ranks, seeds = tuple(args.ranks or (1, 2, 4, 8)), range(args.seeds or 5)
    shard, shards = _shard(args.shard)
    torch.set_num_threads(1)
    changes = {
        "targets": ("attention", "mlp"),  # of the image stream
        "steps": args.steps,
        "batch_size": args.batch,
        "size": args.size,
        "sample_every": 0,
    }
    config = load_preset("miniature", changes)
    model = ModelSource(args.model).load(config.precision, "cpu")
    examples = phantom_examples(args.phantoms, seed=1, version=PHANTOM)
    learned, held, _ = parted(examples, split_patients(examples, Shares(config.validation_share, 0), 0))
    cache = Cache(args.out / "cache")
    preparer = Preparer(model, cache, config, examples)
    training = preparer.prepare(learned, config.views, "encoding")
    validation = preparer.prepare(held, 2, "encoding validation")
    study = MethodStudy(model, training, validation, cache, config, args.out, shard, shards)
    tuning = range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + args.tuning_seeds)
    with tqdm(desc="runs", unit="run", disable=None) as bar:
        for result in study.run(ranks, tuple(args.rates), tuning, seeds):
            bar.update()
            bar.set_postfix_str(f"{result['arm']} {result['learning_rate']:g}: {result['validation_loss']:.4f}")
    print(report(read_results(args.out), ranks, seeds))


def _shard(text: str) -> tuple[int, int]:
    """This process's share and their number. Raises InputError for what is none."""
    try:
        shard, shards = (int(part) for part in text.split("/"))
        assert 0 <= shard < shards
    except (ValueError, AssertionError):
        raise InputError(f"--shard takes K/N with 0 ≤ K < N, not {text!r}.") from None
    return shard, shards


def _report(args: argparse.Namespace) -> str:
    """The tables of the runs that are there. Raises InputError where ranks or seeds of the report have none."""
    from training.compare import ranks_and_seeds, read_results, report

    results = read_results(args.out)
    ranks, seeds = ranks_and_seeds(results)
    if not ranks:
        raise InputError(f"{args.out} holds no runs of a study to report")
    if absent := sorted(set(args.ranks or ()) - set(ranks)):
        raise InputError(f"{args.out} holds no runs of rank {absent[0]}; there are {', '.join(map(str, ranks))}")
    if seeds < (args.seeds or 2):
        raise InputError(f"{args.out} holds runs of {seeds} fresh seeds, and this report needs {args.seeds or 2}")
    return report(results, tuple(args.ranks or ranks), range(args.seeds or seeds))
