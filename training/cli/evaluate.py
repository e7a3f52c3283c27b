"""Measure what an adapter has learned: on phantoms that nobody trained on, or on held-out patients of your own data.

Without --data, phantoms and painted pictures are compared by kernel distance and a classifier, traced with the same
tracer, and painted again with other cohorts' prompts. With --data, the masks of the held-out patients are painted and
compared with their images, like `python -m wdlora evaluate --pairs`; the model card of the run links to the report.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.cli.device import add_device
from wdlora.anatomy.phantoms.versions import VERSION, VERSIONS
from wdlora.errors import InputError

if TYPE_CHECKING:
    from wdlora.adapter import Adapter

EXAMPLE = """python -m training evaluate --adapter runs/first/adapter.safetensors --size 96 --cfg 1 --out first_eval
  python -m training evaluate --adapter runs/ours/best.safetensors --model models/Qwen-Image-Edit --data our_data"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--adapter",
        type=Path,
        nargs="+",
        action="extend",
        required=True,
        help="the adapter file; or several that differ in their training seed, for intervals over training runs",
    )
    parser.add_argument("--model", default="miniature", help="a diffusers folder, or `miniature` (the default)")
    parser.add_argument(
        "--out", type=Path, help="folder for figures, tables and pictures (with --data: evaluation beside the adapter)"
    )
    parser.add_argument("--data", type=Path, help="a data set whose held-out patients are painted, instead of phantoms")
    parser.add_argument(
        "--split", type=Path, help="with --data: the held-out patients (default: split.csv beside the adapter)"
    )
    parser.add_argument("--pixel-size-um", type=float, help="with --data: pixel size, if dataset.csv does not tell it")
    parser.add_argument(
        "--count",
        type=int,
        help="masks of each cohort, at least 4 (default: 96); with --data total number of masks (default: all)",
    )
    parser.add_argument(
        "--size", type=int, help="side of the pictures in pixels (default: 128; with --data: whole images)"
    )
    parser.add_argument(
        "--seed", type=int, default=700_000, help="first seed of masks and pictures (default: %(default)s)"
    )
    parser.add_argument(
        "--appearance", choices=("cohort", "common"), help="appearance of the phantoms (default: cohort)"
    )
    parser.add_argument(
        "--phantom", type=int, choices=VERSIONS, help=f"version of the phantoms (default: {VERSION}; older figures: 1)"
    )
    parser.add_argument("--steps", type=int, default=12, help="sampler steps (default: 12)")
    parser.add_argument(
        "--sampler",
        choices=("heun", "euler"),
        default="heun",
        help="heun computes the model twice a step; the same number of euler steps paints smoother pictures than "
        "the model has learned "
        "(default: heun)",
    )
    parser.add_argument("--cfg", type=float, help="guidance scale (default: the official one of the model)")
    add_device(parser)
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp8", "nf4"),
        help="storage of the frozen transformer (default: as in the training of the adapter)",
    )
    parser.add_argument(
        "--offload",
        choices=("none", "model", "block"),
        default="none",
        help="model: the parts take turns on a card that cannot hold them together; block: the transformer's blocks "
        "as well (default: none)",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    if args.data is not None:
        _on_held_out(args)
    else:
        _on_phantoms(args)


def _on_phantoms(args: argparse.Namespace) -> None:
    from training.models import ModelSource
    from wdlora.adapter import Adapter
    from wdlora.files import check_writable, write_json, write_text

    if given := [name for name in ("split", "pixel_size_um") if getattr(args, name) is not None]:
        raise InputError(f"--{given[0].replace('_', '-')} belongs to --data: name the data set, or leave it out")
    if args.out is None:
        raise InputError("name the folder for figures, tables and pictures with --out")
    check_writable(args.out / "figures.json")
    ModelSource(args.model).check_places()
    adapters = [Adapter.load(path) for path in args.adapter]
    _refuse_copies(args.adapter)
    _refuse_studies(args.adapter, adapters)
    from training.cases import draw_cases  # PyTorch and more: seconds, after what can be refused without them
    from training.evaluate import evaluate_adapters

    cases = draw_cases(96 if args.count is None else args.count, args.size or 128, args.seed, args.phantom or VERSION)
    base, sampling = _model(args, adapters)
    found = evaluate_adapters(base, adapters, cases, sampling, args.appearance or "cohort", args.out)
    write_json(args.out / "figures.json", found.to_dict())
    write_text(args.out / "tables.md", found.tables())
    print(json.dumps(found.to_dict()) if args.json else found.tables())


def _on_held_out(args: argparse.Namespace) -> None:
    from dataclasses import asdict

    from training.models import ModelSource
    from wdlora.adapter import Adapter
    from wdlora.adapter.file import file_to_read
    from wdlora.dataset.folder import check_folder
    from wdlora.dataset.split import TABLE
    from wdlora.files import check_writable, sha256

    if len(args.adapter) > 1:
        raise InputError("--data takes one adapter: call the command once for each, with an --out of its own")
    for name in ("appearance", "phantom"):
        if getattr(args, name) is not None:
            raise InputError(f"--{name} belongs to phantoms: leave it out with --data")
    check_folder(args.data)
    ModelSource(args.model).check_places()
    (path,) = args.adapter
    adapter, file = Adapter.load(path), file_to_read(path)
    out = args.out or file.parent / "evaluation"
    check_writable(out / "report.json")
    from training.card import link_evaluation  # PyTorch and more: seconds, after what can be refused without them
    from training.held_out import compare_held_out, held_out, paint_held_out
    from training.progress import say
    from wdlora.evaluation.report.sentences import answers
    from wdlora.qwen import apply_adapter

    beside = file.parent / TABLE
    table = args.split or (beside if beside.is_file() else None)
    limits = {"size": args.size, "most": args.count, "pixel_size_um": args.pixel_size_um, "first_seed": args.seed}
    found = held_out(args.data, table, **limits)
    say(f"{found.note}. Their masks are painted, then both sets are compared.")
    base, sampling = _model(args, [adapter])
    apply_adapter(base.transformer, adapter)
    origin = {"adapter_sha256": sha256(file), "base_sha256": base.hashes.get("transformer"), "seed": args.seed}
    origin |= {"size": args.size, "sampling": asdict(sampling)}
    sets = paint_held_out(base, found, sampling, args.seed, out, origin)
    compared, values = compare_held_out(found, sets, out)
    link_evaluation(file.parent, out, answers(compared))
    if args.json:
        print(json.dumps(values, ensure_ascii=False))
    else:
        print("\n".join(f"{one.question:<26}{one.short}\n    {one.sentence}" for one in answers(compared)))
        print(f"report: {out / 'report.html'}")


def _model(args: argparse.Namespace, adapters: "list[Adapter]") -> tuple[Any, Any]:
    """The base model, stored as while the adapters were trained, and how it samples."""
    from dataclasses import replace

    from training.models import ModelSource, precision_for

    trained_on = [adapter.metadata.base_quantisation for adapter in adapters]
    precision = args.precision or precision_for(args.model, trained_on)
    base = ModelSource(args.model).load(precision, args.device, offload=args.offload)
    cfg = base.defaults.cfg if args.cfg is None else args.cfg
    return base, replace(base.defaults, steps=args.steps, sampler=args.sampler).guided_by(cfg)


def _refuse_studies(paths: list[Path], adapters: "list[Adapter]") -> None:
    """Raise InputError for an adapter of another study than that of the phantoms and prompts here."""
    from wdlora.study import shipped_study

    own = shipped_study()
    for path, adapter in zip(paths, adapters, strict=True):
        other = adapter.metadata.study
        if other is not None and other != own.label:
            raise InputError(
                f"{path} was trained on the study {other}, and this judges by phantoms and prompts of {own.label}: "
                "judge it on held-out patients with --data"
            )


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
