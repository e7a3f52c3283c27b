"""Write an adapter in another dialect.

This project, peft and diffusers' `load_lora_adapter` read peft's dialect (a folder, or one file). A pipeline's
`load_lora_weights` reads diffusers'. ComfyUI's is bound to the given base. An existing OUT is replaced only if it is an
adapter, and never if it is ADAPTER itself.
"""

import argparse
import json
import sys
from pathlib import Path

from ..adapter import DIALECTS, Adapter
from ..adapter.file import file_to_read, file_to_write
from ..errors import InputError
from .inspect import announce

EXAMPLE = (
    "python -m wdlora convert ccm.safetensors ccm_comfyui.safetensors --to comfyui --base qwen_image_edit.safetensors"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("adapter", metavar="ADAPTER", help="a .safetensors file of any dialect, or peft's folder")
    parser.add_argument("out", metavar="OUT", help="the .safetensors file to write; for peft also a folder")
    parser.add_argument("--to", choices=DIALECTS, default="peft", help="the dialect (default: %(default)s)")
    parser.add_argument("--base", metavar="MODEL", help="the base: a .safetensors file or a diffusers folder")
    parser.add_argument("--json", action="store_true", help="write JSON instead of text")


def run(args: argparse.Namespace) -> int:
    """Convert one file."""
    from ..weights.base import Weights

    base = None if args.base is None else Weights(args.base)
    adapter = Adapter.load(args.adapter, base)
    _check_replaceable(file_to_write(args.out, args.to), file_to_read(args.adapter))
    if base is not None:
        announce(base)
    if args.to == "comfyui" and base is None and adapter.weight_decomposed and _output_axis(adapter):
        raise InputError(
            "ComfyUI's dialect is bound to the base that the adapter will be used on, because stock ComfyUI "
            "evaluates magnitudes with another norm; name that model's file with --base"
        )
    warnings = list(adapter.notes)
    if base is not None and adapter.metadata.base_sha256 is not None:
        change = adapter.difference(base)
        if not change.same_base or change.same_quantisation is False:
            warnings.append(change.sentence)
    written = adapter.save(args.out, args.to, base)
    if adapter.weight_decomposed and args.to == "comfyui" and _output_axis(adapter):
        assert base is not None
        warnings.append(
            f"dora_scale is bound to {base.label}: exact in stock ComfyUI (0.33) on this base only, and wrong as "
            "soon as ComfyUI evaluates DoRA as published; the learned magnitudes are kept in the file, so that it "
            "can be converted back"
        )
    if adapter.weight_decomposed and args.to == "diffusers":
        warnings.append("stock ComfyUI loads this file too, but drops the magnitudes; do not use it there")
    if args.json:
        print(json.dumps({"written": str(written), "dialect": args.to, "warnings": warnings}, indent=2))
    else:
        print(f"wrote {written} ({args.to}, {len(adapter.layers)} layers, rank {adapter.rank})")
        for warning in warnings:
            print(f"note: {warning}", file=sys.stderr)
    return 0


def _output_axis(adapter: Adapter) -> bool:
    return any(layer.axis == "output" for layer in adapter.layers.values())


def _check_replaceable(out: Path, source: Path) -> None:
    """Raise InputError where the file `out` is there and is the adapter to convert, or no adapter at all."""
    if not out.exists():
        return
    if out.samefile(source):
        raise InputError(f"{out} is the adapter itself; name another file to write")
    try:
        Adapter.load(out)
    except InputError:
        raise InputError(f"{out} is there already and is no adapter; name another file to write") from None
