"""Train the tracer's network on phantoms alone; no real image is used for training.

Draws phantoms, trains, chooses the probability above which a nerve is drawn, and writes network.safetensors,
recipe.json and metrics.json. The same command continues where it was stopped. The whole training takes half an hour on
two CPU cores.

The level of "visible" is chosen on phantoms too, or, with --choose-on, on images with annotations; recipe.json states
which. `trace(…, segmenter="OUT/network.safetensors")` uses the file.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from training.cli.recipe_options import check_recipe_options
from wdlora.errors import InputError

if TYPE_CHECKING:
    from training.tracer.recipe import TracerRecipe

EXAMPLE = "python -m training tracer --out tracer --workers 2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished files")
    parser.add_argument("--work", type=Path, help="folder for phantoms and checkpoints (default: OUT.work)")
    parser.add_argument("--seed", type=int, help="seed of weights and crops (default: that of the shipped file)")
    parser.add_argument(
        "--pace",
        type=float,
        default=1.0,
        help="multiplies the numbers of phantoms and of steps; below 1 for a trial (default: 1)",
    )
    parser.add_argument(
        "--choose-on",
        type=Path,
        metavar="DIR",
        help='images with annotations of everything that can be seen, on which the level of "visible" is chosen',
    )
    parser.add_argument("--pixel-size-um", metavar="SIZE", help="µm per pixel of the images of --choose-on")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of the training (default: 2)")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw phantoms (default: 1)")


def run(args: argparse.Namespace) -> None:
    """Run the recipe."""
    from wdlora.files import check_writable

    check_recipe_options(args, ("threads", "workers"))
    check_writable(args.out / "recipe.json")
    if args.pixel_size_um and not args.choose_on:
        raise InputError("--pixel-size-um belongs to --choose-on: name its folder, or leave it out")
    import torch  # PyTorch and more: seconds, after what can be refused without them

    from training.tracer.annotated import annotated_images
    from training.tracer.recipe import TracerRecipe, train_tracer
    from wdlora.evaluation.workers import Crew

    chosen_on = (args.choose_on.name, annotated_images(args.choose_on, args.pixel_size_um)) if args.choose_on else None
    torch.set_num_threads(args.threads)
    recipe = TracerRecipe() if args.seed is None else TracerRecipe(seed=args.seed)
    out = args.out.resolve()  # "." has no name
    work = args.work or out.with_name(out.name + ".work")
    with Crew(args.workers) as crew:
        print(train_tracer(out, work, _paced(recipe, args.pace), crew, chosen_on))


def _paced(recipe: "TracerRecipe", pace: float) -> "TracerRecipe":
    if pace == 1:
        return recipe
    budget = recipe.budget
    counts = {name: max(2, round(getattr(recipe, name) * pace)) for name in ("frames", "held_out", "usual", "judged")}
    paced = dataclasses.replace(budget, steps=max(1, round(budget.steps * pace)))
    return dataclasses.replace(recipe, budget=paced, **counts)
