"""What has happened to the jobs of a batch: one JSON object a line, on the disk before anything follows from it."""

import json
import os
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from ..locks import at_work


class Journal:
    """An append-only file of events. Opening it locks it: two batches cannot work in one folder.

    A line that a crash tore is left as it is and read as nothing. Raises InputError where another process has it.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._open = ExitStack()
        self._open.enter_context(at_work(self.path.parent))
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
        self._open.callback(os.close, self._file)
        self.events = read(self.path)
        if _torn(self.path):
            os.write(self._file, b"\n")

    def append(self, event: str, **fields: Any) -> None:
        """Add an event; when this returns it is on the disk."""
        entry = {"event": event, "time": round(time.time(), 3), **fields}
        line = json.dumps(entry, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        written = os.write(self._file, line)
        if written != len(line):
            raise OSError(f"{self.path}: the disk took {written} of {len(line)} bytes")
        os.fsync(self._file)
        self.events.append(entry)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()


def read(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The events of a journal, without lines that are no events."""
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    events = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("event"), str):
            events.append(entry)
    return events


def _torn(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
