"""How a running fine-tune is asked to stop, and ends with a checkpoint: by a signal or by a file."""

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

STOP_FILE = "stop"
"""A file of this name in the output folder ends the run after the current step, with a checkpoint."""

ECHO_S = 2.0
"""Requests to stop that follow the first one so soon are taken for the same."""


class Unjudged(Exception):
    """Somebody wants the run to stop in the middle of a judgement."""


class Stoppable(Protocol):
    """What ends after the current step once `stopped` is set."""

    stopped: bool


class StopRequest:
    """Whether somebody wants the run in a folder to end: by a signal (see `requests_to_stop`), or by the file."""

    def __init__(self, out: Path) -> None:
        self.stopped = False
        self._file = out / STOP_FILE

    def __bool__(self) -> bool:
        return self.stopped or self._file.exists()

    def clear(self) -> None:
        """Remove the file, so that it does not end the next run."""
        self._file.unlink(missing_ok=True)

    def end_judgement(self) -> None:
        """Raise `Unjudged` where somebody wants the run to end; called every few seconds of a judgement."""
        if self:
            raise Unjudged


@contextlib.contextmanager
def requests_to_stop(run: Stoppable) -> Iterator[None]:
    """Let Ctrl-C, a termination request and a closed terminal end the run after the current step.

    A second Ctrl-C ends it at once, but not the echo of the first: launchers and schedulers send one request twice.
    """
    asked: list[float] = []

    def stop(number: int, frame: Any) -> None:
        asked.append(time.monotonic())
        if number == signal.SIGINT and asked[-1] - asked[0] > ECHO_S:
            raise KeyboardInterrupt
        run.stopped = True

    previous = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if not hasattr(signal, name):  # Windows knows no closed terminal
            continue
        with contextlib.suppress(ValueError):  # not in the main thread
            previous[name] = signal.signal(getattr(signal, name), stop)
    try:
        yield
    finally:
        for name, handler in previous.items():
            signal.signal(getattr(signal, name), handler)
