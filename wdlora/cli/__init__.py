"""The command line: one module a command, imported only when it is called.

A command module has a docstring (its help), `EXAMPLE` (shown below the help), `add_arguments(parser)` and
`run(args)`, which returns the exit status or None. Bad input is raised as `InputError`.
"""

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence
from itertools import pairwise

from ..errors import InputError
from ..quiet import silence_kernel_warning

COMMANDS = {
    "inspect": "show what an adapter file contains and how far it changes its base",
    "convert": "write an adapter in another dialect",
    "sample-masks": "draw nerve masks that match a cohort",
    "measure": "measure corneal nerve biomarkers in masks or images",
    "validate-tracing": "compare the tracer with annotations of real images",
    "evaluate": "compare synthetic images with real ones: fidelity, biomarkers, copies",
    "classify": "compute probabilities of cohorts with a trained network, for research",
    "convert-lite0": "write EfficientNet-Lite0's weights for evaluate",
    "convert-inception": "write FID's Inception weights for evaluate",
    "import-dataset": "convert a public or your own data set into the folder layout of training",
    "accept-masks": "accept masks that were corrected in a data set, and measure them",
    "pseudonymise": "replace names of input files in pictures and workflows, or check for them",
    "run": "run a workflow in this process, without ComfyUI",
    "batch": "run a workflow over many masks, cohorts and seeds, here or on ComfyUI servers",
    "serve": "serve the ComfyUI front end with this pack's nodes, for a browser",
    "demo": "show three cohorts from mask to measured picture",
    "doctor": "print what is installed, and which ComfyUI and model files are found",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m wdlora`; returns the exit status."""
    return dispatch("python -m wdlora", COMMANDS, __name__, argv)


def dispatch(prog: str, commands: dict[str, str], package: str, argv: Sequence[str] | None = None) -> int:
    """Parse `argv`, import the one command module that it names and run it.

    `package` is where the command modules live; a command `sample-masks` is the module `sample_masks`.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):  # no library below may reach for the network
        os.environ.setdefault(name, "1")
    silence_kernel_warning()
    overview = argparse.ArgumentParser(
        prog=prog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="commands:\n" + "\n".join(f"  {name:<18}{help}" for name, help in commands.items()),
        usage=f"{prog} COMMAND …   ({prog} COMMAND --help shows an example)",
        allow_abbrev=False,
    )
    overview.add_argument("command", choices=commands, metavar="COMMAND")
    if not argv:
        overview.print_help()
        return 2
    name = overview.parse_args(argv[:1]).command
    module = importlib.import_module(f"{package}.{name.replace('-', '_')}")
    parser = argparse.ArgumentParser(
        prog=f"{prog} {name}",
        description=module.__doc__,
        epilog=f"example:\n  {module.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    args = parser.parse_args(argv[1:])
    try:
        _refuse_empty(argv)
        return module.run(args) or 0
    except InputError as error:
        print(f"{prog} {name}: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{prog} {name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a folder that cannot be made, a disk that is full, a file without permission
        where = f"{error.filename}: " if error.filename else ""
        print(f"{prog} {name}: {where}{error.strerror or error}; check path, permissions and space", file=sys.stderr)
        return 2


def _refuse_empty(argv: Sequence[str]) -> None:
    """Raise InputError for an empty argument: an unset shell variable would count as an option that is not given."""
    for before, argument in pairwise(argv):
        if argument == "" or re.fullmatch(r"--[a-z-]+=", argument):
            raise InputError(f"the value after {argument or before} is empty; give one, or leave the option out")
