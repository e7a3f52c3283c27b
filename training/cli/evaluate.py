"""Measure what an adapter has learned, on phantoms that nobody trained on, beside every baseline.

Painted and real pictures are compared by kernel distance and a classifier, traced with the same tracer, and
painted again under other cohorts' prompts.
"""

import argparse
import json
from pathlib import Path

from wdlora.errors import InputError

EXAMPLE = "python -m training evaluate --adapter runs/first/adapter.safetensors --size 96 --cfg 1 --out runs/first/eval"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--adapter",
        type=Path,
        nargs="+",
        action="extend",
        required=True,
        help="the adapter file; or several that differ by their training seed, for intervals over training runs",
    )
    parser.add_argument("--model", default="miniature", help="a diffusers folder, or `miniature` (the default)")
    parser.add_argument("--out", type=Path, required=True, help="folder for figures, tables and pictures")
    parser.add_argument("--count", type=int, default=96, help="masks a cohort, at least 4 (default: 96)")
    parser.add_argument("--size", type=int, default=128, help="side of the pictures in pixels (default: 128)")
    parser.add_argument(
        "--seed", type=int, default=700_000, help="first seed of the held-out masks (default: %(default)s)"
    )
    parser.add_argument(
        "--appearance", choices=("cohort", "common"), default="cohort", help="of the phantoms (default: cohort)"
    )
    parser.add_argument("--steps", type=int, default=12, help="sampler steps (default: 12)")
    parser.add_argument(
        "--sampler",
        choices=("heun", "euler"),
        default="heun",
        help="heun computes the model twice a step; as few steps of euler paint smoother pictures than the model knows "
        "(default: heun)",
    )
    parser.add_argument("--cfg", type=float, help="guidance scale (default: the official one of the model)")
    parser.add_argument("--device", help="cpu, cuda …")
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp8", "nf4"),
        help="of the frozen transformer (default: fp32 for `miniature`, else bf16)",
    )
    parser.add_argument(
        "--offload",
        choices=("none", "model", "block"),
        default="none",
        help="model: the parts take turns on a card that does not hold them together; block: the transformer's blocks "
        "as well (default: none)",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from dataclasses import replace

    from training.cases import draw_cases
    from training.evaluate import evaluate_adapters
    from training.models import ModelSource
    from wdlora.adapter import Adapter
    from wdlora.files import check_writable, write_json, write_text

    check_writable(args.out / "figures.json")
    precision = args.precision or ("fp32" if args.model == "miniature" else "bf16")
    adapters = [Adapter.load(path) for path in args.adapter]
    _refuse_copies(args.adapter)
    base = ModelSource(args.model).load(precision, args.device, offload=args.offload)
    cases = draw_cases(args.count, args.size, args.seed)
    cfg = base.defaults.cfg if args.cfg is None else args.cfg
    sampling = replace(base.defaults, steps=args.steps, sampler=args.sampler).guided_by(cfg)
    found = evaluate_adapters(base, adapters, cases, sampling, args.appearance, args.out)
    write_json(args.out / "figures.json", found.to_dict())
    write_text(args.out / "tables.md", found.tables())
    print(json.dumps(found.to_dict()) if args.json else found.tables())


def _refuse_copies(paths: list[Path]) -> None:
    """Raise InputError for two adapters of one content, which would count as two training runs."""
    from wdlora.adapter.file import file_to_read
    from wdlora.files import sha256

    first: dict[str, Path] = {}
    for path in paths:
        other = first.setdefault(sha256(file_to_read(path)), path)
        if other is not path:
            raise InputError(
                f"--adapter {other} and {path} are the same adapter, not two training runs: leave one out."
            )
