"""Fine-tune Qwen-Image-Edit, or the miniature, on corneal confocal microscopy images.

The data are a folder (images/, masks/ and dataset.csv with the columns file, cohort and patient) or phantoms.
Everything is written to the output folder: checkpoints, log, sample sheets, the adapter and a model card. Ctrl-C saves
the run and ends it; the same command with --resume continues where it stopped. On several GPUs or machines start it
with `accelerate launch -m training finetune …`.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from training.cli.device import add_device
from training.cli.recipe_options import overrides_of
from wdlora.anatomy.phantoms.versions import VERSION, VERSIONS
from wdlora.errors import InputError

EXAMPLE = "python -m training finetune --preset miniature --model miniature --data phantoms:64 --out runs/first"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--preset", required=True, help="name of a preset, or a TOML file; `list` shows them")
    parser.add_argument("--out", type=Path, help="folder of the run")
    parser.add_argument(
        "--data",
        default="phantoms:64",
        help="a data set folder, or phantoms:N with N of each cohort (default: %(default)s)",
    )
    parser.add_argument(
        "--appearance", choices=("cohort", "common"), help="appearance of the phantoms (default: cohort)"
    )
    parser.add_argument(
        "--phantom", type=int, choices=VERSIONS, help=f"version of the phantoms (default: {VERSION}; older figures: 1)"
    )
    parser.add_argument("--model", help="a diffusers folder, or `miniature`; or name single files:")
    parser.add_argument("--transformer", help="single file (ComfyUI's layout)")
    parser.add_argument("--text-encoder", help="single file")
    parser.add_argument("--vae", help="single file")
    parser.add_argument("--tokenizer", help="folder with the tokenizer, or a ComfyUI checkout")
    parser.add_argument("--variant", choices=("edit", "2509", "2511"), help="variant, if the files do not tell it")
    parser.add_argument(
        "--pixel-size-um",
        type=float,
        help="pixel size of the images, if dataset.csv does not tell it; phantoms have 1.0417",
    )
    parser.add_argument("--steps", metavar="N", help="optimiser steps, short for --set steps=N (default: the preset's)")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="change fields of the preset"
    )
    parser.add_argument(
        "--study",
        type=Path,
        metavar="TOML",
        help="cohorts of another disease, for phantoms (default: the preset's); a folder has its own in it",
    )
    parser.add_argument(
        "--init-adapter",
        type=Path,
        metavar="FILE",
        help="start from this adapter, or a checkpoint's folder, of the same rank; a plain LoRA becomes WDLoRA",
    )
    parser.add_argument(
        "--split",
        type=Path,
        metavar="CSV",
        help="held-out patients, as in split.csv of another run; new patients are drawn",
    )
    parser.add_argument("--cache", type=Path, help="folder of encoded examples (default: OUT/cache)")
    add_device(parser)
    parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from training.config import load_preset, preset_purpose, preset_study, presets
    from training.job import TrainingJob
    from training.models import ModelSource

    if args.preset == "list":
        for name in presets():
            config = load_preset(name)
            print(f"{name:14} {config.steps:4} steps, {config.precision}. {preset_purpose(name)}")
        return 0
    if args.out is None:
        raise InputError("Name the folder of the run with --out.")
    settings = [*args.set, *([f"steps={args.steps}"] if args.steps else [])]
    overrides = overrides_of(settings)
    config = load_preset(args.preset, overrides)
    job = TrainingJob(
        config=config,
        preset=Path(args.preset).stem + ("" if not overrides else " with " + ", ".join(settings)),
        out=args.out,
        data=args.data,
        appearance=args.appearance,
        phantom=args.phantom,
        model=ModelSource(args.model, args.transformer, args.text_encoder, args.vae, args.tokenizer, args.variant),
        pixel_size_um=args.pixel_size_um,
        cache=args.cache,
        device=args.device,
        resume=args.resume,
        split=args.split,
        init_adapter=args.init_adapter,
        study=args.study or preset_study(args.preset),
    )
    job.check_places()
    from training.pipeline import finetune  # PyTorch and more: seconds, after what can be refused without them

    result = finetune(job)
    if not result["main"]:
        pass  # the main process speaks for all
    elif args.json:
        print(json.dumps(result))
    elif result["finished"]:
        _tell(result, args.out)
    else:
        print(f"Stopped after step {result['step']}; add --resume to go on.")
    return 0 if result["finished"] or not result["main"] else 130


def _tell(result: dict[str, Any], out: Path) -> None:
    """Print what a finished run has written, and how its best adapter does on the test."""
    from training.card import CARD

    print(f"Adapter: {result['adapter']}")
    if result["best"]:
        print(f"Best by validation: {result['best']}")
    if test := result["test"]:
        print(
            f"On the test: Dice {test['traced_dice']:.3f} of traced pictures and masks, CNFL error "
            f"{test['traced_cnfl_error']:+.2f} mm/mm², {test['traced_pictures']} pictures ({test['adapter']})"
        )
    print(f"Every figure: {out / CARD}, pictures: {out / 'sheets'}")
