"""Write FID's own Inception weights as safetensors, for `evaluate --features inception:FILE`.

FILE is pt_inception-2015-12-05-6726825d.pth (or torch-fidelity's copy, weights-inception-2015-12-05-6726825d.pth). You
must provide it: no package contains it, and this program downloads nothing. It is read without running code from it,
and must have the hash in its name. torchvision's Inception v3 is a different network and gives other values.
"""

import argparse

EXAMPLE = "python -m wdlora convert-inception pt_inception-2015-12-05-6726825d.pth inception.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("file", metavar="FILE", help="the .pth file")
    parser.add_argument("out", metavar="OUT", help="the safetensors file to write")


def run(args: argparse.Namespace) -> int:
    """Convert, print the hash."""
    from ..evaluation.networks.convert import NETWORKS, convert

    print(f"{args.out}  sha256 {convert(NETWORKS['inception'], args.file, args.out)}")
    print(f"use it: python -m wdlora evaluate --features inception:{args.out} …")
    return 0
