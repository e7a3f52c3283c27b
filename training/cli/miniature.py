"""Train the miniature: a complete Qwen-Image-Edit of a few million parameters, from nothing, on a CPU.

The stages are the VAE, a tokenizer and text encoder, the MMDiT, the files, and their measured figures. The same command
continues where it was stopped. All stages together take three to four hours on a CPU.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from training.cli.recipe_options import check_recipe_options
from training.miniature import STAGES

EXAMPLE = "python -m training miniature --out miniature"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished files")
    parser.add_argument("--work", type=Path, help="folder for checkpoints (default: OUT.work)")
    parser.add_argument(
        "--stage",
        action="append",
        choices=STAGES,
        help="run only this stage; may be repeated (default: all of them)",
    )
    parser.add_argument("--seed", type=int, help="seed of all random numbers (default: that of the shipped files)")
    parser.add_argument(
        "--pace",
        type=float,
        default=1.0,
        help="multiplies the steps and minutes of all stages; below 1 for a trial (default: 1)",
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1, the fastest at this size)")


def run(args: argparse.Namespace) -> None:
    """Run the recipe."""
    from wdlora.files import check_writable

    check_recipe_options(args)
    check_writable(args.out / "metrics.json")
    import torch  # PyTorch and more: seconds, after what can be refused without them

    from training.miniature.recipe import Recipe
    from training.miniature.recipe import run as run_recipe

    torch.set_num_threads(args.threads)
    recipe = Recipe() if args.seed is None else Recipe(seed=args.seed)
    if args.pace != 1:
        recipe = dataclasses.replace(
            recipe, **{name: _paced(getattr(recipe, name), args.pace) for name in ("vae", "text", "mmdit")}
        )
    out = args.out.resolve()  # "." has no name
    work = args.work or out.with_name(out.name + ".work")
    files = run_recipe(work, out, recipe, tuple(args.stage or STAGES))
    print(f"{files.folder}")


def _paced(stage: Any, pace: float) -> Any:
    from training.miniature.runner import Budget

    budgets = {}
    for field in dataclasses.fields(stage):
        if isinstance(budget := getattr(stage, field.name), Budget):
            minutes = None if budget.minutes is None else budget.minutes * pace
            steps = max(1, round(budget.steps * pace))
            budgets[field.name] = dataclasses.replace(budget, steps=steps, minutes=minutes)
    return dataclasses.replace(stage, **budgets)
