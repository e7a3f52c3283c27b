"""The best adapter of a run so far, by the validation loss, in `best.safetensors`."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from training.checkpoint import list_checkpoints
from training.output import ADAPTER
from training.run_log import RunLog
from wdlora.adapter import Adapter
from wdlora.errors import InputError
from wdlora.files import atomic_write

BEST = "best.safetensors"


class BestAdapter:
    """Keeps the adapter of the lowest validation loss in a run's folder; the first of equals.

    What was judged before the first step does not count. Each checkpoint holds the best of its time, so that a run
    which goes on from it finds what it had then, also where the killed one had found a better one since.
    """

    def __init__(self, out: Path, log: RunLog) -> None:
        self.path, self._checkpoints, self._log = out / BEST, out / "checkpoints", log

    def offer(self, loss: float, write: Callable[[Path], None]) -> None:
        """Write the adapter of the current step, which `loss` was found of and the log does not hold yet."""
        lowest = self._lowest()
        if lowest is None or loss < lowest[0]:
            write(self.path)

    def keep(self, folder: Path) -> None:
        """Put the best adapter, where there is one, into the folder of a checkpoint."""
        if self.path.exists():
            _link(self.path, folder / BEST)

    def restore(self) -> None:
        """Make the file that of the best step in the log, which was cut where the run goes on."""
        lowest = self._lowest()
        folders = list_checkpoints(self._checkpoints)[-1:] if lowest else []
        candidates = [self.path, *(folder / name for folder in folders for name in (BEST, ADAPTER))]
        for path in candidates:
            if lowest is not None and _step(path) == lowest[1]:
                if path is not self.path:
                    with atomic_write(self.path) as temporary:
                        shutil.copyfile(path, temporary)
                return
        self.path.unlink(missing_ok=True)

    def _lowest(self) -> tuple[float, int] | None:
        """The lowest validation loss in the log and its step."""
        judged = [line for line in self._log.lines() if "validation_loss" in line and line["step"]]
        return min(((line["validation_loss"], line["step"]) for line in judged), default=None)


def _step(path: Path) -> int | None:
    """After which step an adapter was written; None where there is none to be read."""
    with suppress(InputError, OSError):
        return Adapter.load(path).metadata.step
    return None


def _link(source: Path, target: Path) -> None:
    """The file under a second name, or its copy where the disk knows no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
