"""What a run was begun and went on with: `config.json` in its folder."""

import json
from pathlib import Path
from typing import Any

from training.config import TrainingConfig
from wdlora.adapter.file import file_to_read
from wdlora.errors import InputError
from wdlora.files import sha256, write_json

FILE = "config.json"


def record(out: Path, config: TrainingConfig, origin: dict[str, Any], start: Path | None, step: int) -> None:
    """Write the configuration with its `origin`, the adapter that was started from, and every number of steps that the
    run went on with, from which `step` on.
    """
    held = read_record(out) if step else {}
    began = held.get("init_adapter")
    if not step and start is not None:
        file = file_to_read(start)
        began = {"file": file.name, "sha256": sha256(file)}
    plans = held.get("plans") or ([{"from_step": 0, "steps": held["steps"]}] if "steps" in held else [])
    if not plans or plans[-1]["steps"] != config.steps:
        plans = [*plans, {"from_step": step, "steps": config.steps}]
    write_json(out / FILE, origin | {"init_adapter": began, "plans": plans} | config.to_dict())


def read_record(out: Path) -> dict[str, Any]:
    """What was recorded; empty where nothing can be read."""
    try:
        held = json.loads((out / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def check_start(out: Path, start: Path | None) -> None:
    """Raise InputError where a run that goes on was begun from another adapter than is named now, or from one that is
    not named and no checkpoint stands for.
    """
    began = read_record(out).get("init_adapter")
    given = None if start is None else sha256(file_to_read(start))
    if given is not None and given != (began or {}).get("sha256"):
        raise InputError(f"{out} was not begun from {start}: leave out --init-adapter to continue, or start a new run")
    if began and given is None and not any((out / "checkpoints").glob("step-*")):
        raise InputError(
            f"{out} was begun from {began['file']} and has no checkpoint yet: name it again with --init-adapter"
        )


def plans_of(out: Path) -> str:
    """A line for the card on how many steps were planned when."""
    plans = read_record(out).get("plans") or []
    if len(plans) < 2:
        return ""
    told = ", ".join(f"{plan['steps']} from step {plan['from_step']} on" for plan in plans)
    return f"\n- Steps: {told}; the rate followed each plan's schedule"


def processes_of(out: Path) -> str:
    """A line for the card on how many processes trained."""
    return f"\n- Processes: {read_record(out).get('processes', 1)}"


def start_of(out: Path) -> str:
    """A line for the card on the adapter that the run was begun from."""
    began = read_record(out).get("init_adapter")
    return f"\n- Begun from: {began['file']}, SHA-256 {began['sha256']}" if began else ""
