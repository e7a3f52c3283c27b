"""Show what an adapter file contains: dialect, rank, layers, parameters, metadata.

With its base model it also shows how far each block's rows turned (degrees) and how much their magnitudes changed (%).
"""

import argparse
import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..adapter import Adapter
from ..adapter.report import adapter_report, printable, report_text
from ..errors import InputError
from ..files import check_writable

if TYPE_CHECKING:
    from ..adapter.movement import Movement
    from ..weights.base import Weights

EXAMPLE = "python -m wdlora inspect ccm.safetensors --base qwen_image_edit_bf16.safetensors --plot ccm.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("adapter", metavar="ADAPTER", help="a .safetensors file of any dialect, or peft's folder")
    parser.add_argument("--base", metavar="MODEL", help="the base: a .safetensors file or a diffusers folder")
    parser.add_argument("--plot", metavar="OUT.png", help="draw direction and magnitude by block (needs --base)")
    parser.add_argument("--json", action="store_true", help="write JSON instead of text")


def run(args: argparse.Namespace) -> int:
    """Inspect one file."""
    if args.plot and not args.base:
        raise InputError("--plot shows how far the adapter moves its base; name the base with --base")
    if args.plot:
        check_writable(args.plot)
    adapter = Adapter.load(args.adapter, args.base)
    base = None
    if args.base:
        from ..weights.base import Weights

        base = Weights(args.base)
        announce(base)
    report, moved = adapter_report(adapter, base, _progress)
    if args.plot:
        assert moved is not None
        _plot(moved, args.plot, args.adapter)
    if args.json:
        print(json.dumps(report, indent=2, ensure_ascii=True))
    else:
        print(report_text(report))
    return 0


def announce(base: "Weights") -> None:
    """On a terminal, say that a large base is read once for its hash, which takes a while."""
    if sys.stderr.isatty() and base.size > 1e9:
        print(f"hashing {base.label} ({base.size / 1e9:.0f} GB), once …", file=sys.stderr)


def _plot(moved: "list[Movement]", path: str, adapter: str) -> None:
    from pathlib import Path

    from ..adapter.plot import plot

    plot(moved, path, f"What {printable(Path(adapter).name)} changes")
    print(f"wrote {path}", file=sys.stderr)


def _progress(modules: Iterable[str]) -> Iterable[str]:
    from tqdm import tqdm

    return tqdm(list(modules), desc="measuring", unit="layer", disable=not sys.stderr.isatty(), leave=False)
