"""The options of commands that trace images: which tracer, and what it draws."""

import argparse

from ..anatomy.tracing.choices import ANNOTATED, DEFAULT, DETAILS
from ..errors import InputError


def add(parser: argparse.ArgumentParser) -> None:
    """--segmenter and --detail."""
    parser.add_argument(
        "--segmenter",
        metavar="NAME",
        help=f"network, lines, or a file: .safetensors from `python -m training tracer` or .onnx (default {DEFAULT})",
    )
    parser.add_argument(
        "--detail",
        choices=DETAILS,
        help="what a network draws: the nerves that experts annotate (default), or everything that can be seen",
    )


def check(args: argparse.Namespace, used: bool = True, otherwise: str = "") -> None:
    """Put the defaults in. Raises InputError, with what to do, where one is given and nothing is traced."""
    for name, usual in (("segmenter", DEFAULT), ("detail", ANNOTATED)):
        if getattr(args, name) is None:
            setattr(args, name, usual)
        elif not used:
            raise InputError(f"--{name} is about tracing, and nothing is traced: {otherwise}")
