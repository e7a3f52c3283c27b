"""Three cohorts from mask to measured picture, on a CPU, with this package alone.

Fine-tunes the miniature on phantoms, then runs the shipped workflow `ccm_synthesis` for each cohort: mask, picture,
trace, biomarkers. Writes pictures, a contact sheet, the biomarkers and a report that opens without a network. A later
run into the same folder, with the same steps and phantoms, uses the existing fine-tune.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ..errors import InputError

EXAMPLE = "python -m wdlora demo --out demo"

ADAPTER = "demo.safetensors"

STANDARD_ERROR = 2  # where the fine-tune prints: standard output holds the biomarkers alone


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to write, and how much to do."""
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything (default: demo)")
    parser.add_argument("--steps", type=int, default=300, help="steps of the fine-tune (default: %(default)s)")
    parser.add_argument(
        "--phantoms", type=int, default=24, help="phantoms of each cohort for the fine-tune (default: %(default)s)"
    )
    parser.add_argument("--pictures", type=int, default=2, help="pictures of each cohort (default: %(default)s)")
    parser.add_argument(
        "--size", type=int, default=384, help="side of the pictures in pixels, a multiple of 32 (default: %(default)s)"
    )
    parser.add_argument(
        "--sampler-steps", type=int, default=12, help="steps of Heun's method for each picture (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the biomarkers as JSON")


def run(args: argparse.Namespace) -> None:
    """Run the demonstration."""
    _check(args)
    from ..cohorts import COHORTS
    from ..demo.pictures import paint_cohorts, typical_seeds
    from ..demo.report import table_text, write_report
    from ..files import write_json

    start = time.monotonic()
    seeds = {name: typical_seeds(name, args.pictures, args.size) for name in COHORTS}
    training = args.out / f"finetune-{args.steps}-steps-{args.phantoms}-phantoms"
    adapter = training / "adapter.safetensors"
    begun = adapter.exists() or (training / "checkpoints").exists()
    what = f"the miniature, {args.steps} steps on {len(COHORTS) * args.phantoms} phantoms"
    if adapter.exists():
        _say(f"1 of 2: an earlier run has fine-tuned {what}: {training}")
    else:
        _say(f"1 of 2: {'going on with fine-tuning' if begun else 'fine-tuning'} {what}")
        start_finetune(training, args.steps, args.phantoms)
    host = args.out / "host"
    (host / "models" / "loras").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(adapter, host / "models" / "loras" / ADAPTER)
    _say(f"2 of 2: running workflows/ccm_synthesis.json, {args.pictures} pictures a cohort")
    painted = paint_cohorts(host, ADAPTER, seeds, args.size, args.sampler_steps)
    biomarkers = [
        {"cohort": one.cohort, "seed": one.seed, "mask": one.of_mask, "picture": one.of_picture} for one in painted
    ]
    write_json(args.out / "biomarkers.json", biomarkers)
    facts = {
        "judgement": _judgement(training),
        "steps": args.steps,
        "folder": training.name,
        "data": str(host),
        "begun": begun,
    }
    page = write_report(painted, args.out, facts, time.monotonic() - start)
    if args.json:
        print(json.dumps(biomarkers))
        return
    print(table_text(painted))
    print(f"\nReport: {page}")
    print(f"The same graph in a browser: python -m wdlora serve --data {host}, then open workflows/ccm_synthesis.json")


def _check(args: argparse.Namespace) -> None:
    """Raise InputError, before the work, on values that a later part would stumble over."""
    least = {"steps": 1, "phantoms": 2, "pictures": 1, "sampler_steps": 1}  # a phantom to learn from, one to judge by
    for name, low in least.items():
        if getattr(args, name) < low:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(args, name)}; give {low} or more")
    if args.size % 32 or not 160 <= args.size <= 1024:
        raise InputError(f"--size is {args.size}; give a multiple of 32 from 160 to 1024")


def start_finetune(out: Path, steps: int, phantoms: int) -> None:
    """Start the training program as a process of its own; it resumes where an earlier one was stopped.

    Raises InputError where it fails.
    """
    program = Path(__file__).parents[2] / "training" / "__main__.py"
    command = [sys.executable, str(program), "finetune", "--preset", "miniature", "--model", "miniature"]
    command += ["--data", f"phantoms:{phantoms}", "--out", str(out)]
    if (out / "checkpoints").exists():
        command.append("--resume")
    command += ["--set", f"steps={steps}", f"sample_every={steps}", "sample_cfg=1"]
    try:
        # At the miniature's size one thread is faster than two, by far where the machine has other work.
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        status = subprocess.run(command, check=False, env=environment, stdout=STANDARD_ERROR).returncode
    except OSError as error:
        raise InputError(f"the fine-tune could not be started: {error}") from None
    if status:
        raise InputError(f"the fine-tune ended with status {status}; its messages are above")


def _judgement(folder: Path) -> dict[str, Any] | None:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return next((line for line in reversed(lines) if "validation_loss" in line), None)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
