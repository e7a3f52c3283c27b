"""The options of commands that trace images: which tracer, and what it draws."""

import argparse

from ..anatomy.tracing.choices import ANNOTATED, DEFAULT, DETAILS


def add(parser: argparse.ArgumentParser) -> None:
    """--segmenter and --detail."""
    parser.add_argument(
        "--segmenter",
        default=DEFAULT,
        metavar="NAME",
        help=f"network, lines, or a file: .safetensors of `python -m training tracer` or .onnx (default {DEFAULT})",
    )
    parser.add_argument(
        "--detail",
        default=ANNOTATED,
        choices=DETAILS,
        help="what a network draws: the nerves that experts annotate (default), or all that can be seen",
    )
