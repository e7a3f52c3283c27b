"""The fine-tune as a process of its own: started by file, watched through its log, stopped cleanly on every system.

A crash or an out-of-memory there does not take ComfyUI down.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..wdlora.errors import InputError
from ..wdlora.temporaries import visible

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("diffusers", "transformers", "peft", "accelerate")
STOP_FILE = "stop"
"""`training` ends after the step in which it finds a file of this name in its folder, with a checkpoint."""

LOG, OUTPUT, RESULT = "log.jsonl", "training.log", "result.json"
GRACE_S = 180.0
"""How long a run may take to finish its step and write its checkpoint before it is ended."""


def presets() -> list[str]:
    """Names of the training presets."""
    return [path.stem for path in visible(ROOT / "training" / "presets", "*.toml")]


def require_packages(names: Sequence[str] = NEEDED) -> None:
    """Raise InputError with the line that installs them where packages for training are missing."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise InputError(
            f"training needs {', '.join(missing)}, which {are} not installed: run "
            f'"{sys.executable}" -m pip install -r "{ROOT / "requirements-train.txt"}"'
        )


class TrainingProcess:
    """A running `training finetune` that writes into `out`; `arguments` are those after `finetune`."""

    def __init__(self, arguments: Sequence[str], out: Path):
        self.out = out
        out.mkdir(parents=True, exist_ok=True)
        (out / STOP_FILE).unlink(missing_ok=True)
        self._before = self._stamp()
        command = [sys.executable, str(ROOT / "training" / "__main__.py"), "finetune", *arguments, "--json"]
        flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        with open(out / RESULT, "wb") as output, open(out / OUTPUT, "wb") as errors:
            self._process = subprocess.Popen(
                [*command, "--out", str(out)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=out,
                creationflags=flags,
            )

    def running(self) -> bool:
        """Whether it is still going on."""
        return self._process.poll() is None

    def changed(self) -> bool:
        """Whether the log was written since the last question, and since the start."""
        now = self._stamp()
        if now in (self._before, None):
            return False
        self._before = now
        return True

    def log(self) -> list[dict[str, Any]]:
        """All lines of the log that are complete."""
        entries = []
        with suppress(FileNotFoundError):
            for line in (self.out / LOG).read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):
                    entries.append(json.loads(line))
        return entries

    def result(self) -> dict[str, Any]:
        """What a finished run says of itself. Raises InputError with its own sentence where it failed."""
        status = self._process.wait()
        printed = (self.out / RESULT).read_text(encoding="utf-8", errors="replace").splitlines()
        if status in (0, 130) and printed:
            with suppress(ValueError):
                return json.loads(printed[-1])
        raise InputError(self._failure(status))

    def stop(self, began: bool) -> None:
        """End the run: after its current step, with a checkpoint, where it `began` to train; else at once."""
        until = time.monotonic() + (GRACE_S if began else 0)
        while self.running() and time.monotonic() < until:
            (self.out / STOP_FILE).touch()
            time.sleep(0.1)
        for end in (self._process.terminate, self._process.kill):
            if self.running():
                end()
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(10)
        (self.out / STOP_FILE).unlink(missing_ok=True)

    def _stamp(self) -> tuple[int, int] | None:
        try:
            state = os.stat(self.out / LOG)
        except FileNotFoundError:
            return None
        return state.st_size, state.st_mtime_ns

    def _failure(self, status: int) -> str:
        lines = (self.out / OUTPUT).read_text(encoding="utf-8", errors="replace").splitlines()
        lines = [line.strip() for line in lines if line.strip()]
        own = [line.split(" finetune: ", 1)[1] for line in lines if " finetune: " in line]
        if status == 2 and own:
            return own[-1]
        last = lines[-1][:300] if lines else "it said nothing"
        memory = any("out of memory" in line.lower() for line in lines[-20:]) or status == -9
        hint = "; it ran out of memory: take a preset for a smaller card, or a smaller size" if memory else ""
        return f"training ended with status {status}{hint} ({last}); everything it said is in {self.out.name}/{OUTPUT}"
