"""The log of a run, `log.jsonl`: a line after every few steps, and one for every judgement."""

import json
from pathlib import Path
from typing import Any

from wdlora.files import write_text


class RunLog:
    """The log in a run's folder. Lines with a `loss` are of steps, the others of judgements."""

    def __init__(self, out: Path) -> None:
        self.path = out / "log.jsonl"

    def append(self, step: int, facts: dict[str, Any]) -> None:
        """Add the line of a step."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step} | facts) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        """All lines that are whole; none where there is no log."""
        return [json.loads(line) for line in self._whole()]

    def cut_after(self, step: int) -> None:
        """Drop what a killed run logged after the checkpoint of `step`, from which another one goes on."""
        if self.path.exists():
            kept = [line for line in self._whole() if json.loads(line)["step"] <= step] if step else []
            write_text(self.path, "".join(line + "\n" for line in kept))

    def judged(self, step: int) -> bool:
        """Whether there is a judgement of `step`; a run may have been killed before it."""
        return any("loss" not in line and line["step"] == step for line in self.lines())

    def _whole(self) -> list[str]:
        if not self.path.exists():
            return []
        return [line for line in self.path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
