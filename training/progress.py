"""How a run is going: the bar on a terminal, a line a minute elsewhere; loss, seconds a step, peak memory."""

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from wdlora.pace import LineAMinute

RECENT = 50
"""The loss that is shown and logged is the mean over so many steps."""


@dataclass(frozen=True)
class Pulse:
    """Of the last step: norm of the gradient before clipping, learning rate; and the number of processes."""

    gradient_norm: float
    learning_rate: float
    processes: int


class Pace:
    """Counts the steps of a run from `first` to `total`; `visible` is False where another process shows the bar, and
    `title` is what the bar says.
    """

    def __init__(
        self, first: int, total: int, device: torch.device, visible: bool = True, title: str = "fine-tune"
    ) -> None:
        self.first, self.step, self.total, self.device = first, first, total, device
        self._losses: deque[float] = deque(maxlen=RECENT)
        self._seconds = 0.0
        hidden = None if visible else True  # None: hidden where nobody watches a terminal
        self._bar = tqdm(total=total, initial=first, desc=title, unit="step", disable=hidden)
        self._lines = LineAMinute(visible)
        self._pulse: Pulse | None = None

    def __enter__(self) -> "Pace":
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.close()

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the seconds within as spent on training; judging and saving happen outside."""
        start = time.monotonic()
        yield
        self._seconds += time.monotonic() - start

    def begin(self, title: str) -> None:
        """Another part of the run begins: its losses are of another kind than those before, which no longer count."""
        self._losses.clear()
        self._bar.set_description(title)

    def advance(self, loss: float, pulse: Pulse | None = None) -> None:
        """One step has been made, with this loss."""
        self.step += 1
        self._pulse = pulse
        self._losses.append(loss)
        self._bar.update()

    def facts(self) -> dict[str, float]:
        """For the log: loss, seconds a step, peak memory where it is known, seconds left, loss and pulse of the last
        step.
        """
        seconds = self._seconds / (self.step - self.first)
        facts = {"loss": float(np.mean(self._losses)), "seconds_a_step": seconds} | peak_memory(self.device)
        facts |= {"eta_seconds": seconds * (self.total - self.step), "step_loss": self._losses[-1]}
        return facts | ({} if self._pulse is None else vars(self._pulse))

    def show(self) -> None:
        """Write loss and peak memory behind the bar; where there is none, the line of the minute to standard error."""
        self._lines.tell(self.line)
        postfix = {"loss": f"{float(np.mean(self._losses)):.4f}"}
        if memory := peak_memory(self.device):
            postfix["peak"] = f"{memory['peak_memory_gb']:.1f} GB"
        self._bar.set_postfix(postfix, refresh=False)

    def line(self) -> str:
        """Step, loss, rate, norm of the gradient, time left and peak memory, in a line."""
        facts = self.facts()
        told = [f"step {self.step} of {self.total}", f"loss {facts['loss']:.4f}"]
        if self._pulse is not None:
            told += [f"rate {self._pulse.learning_rate:.2e}", f"gradient norm {self._pulse.gradient_norm:.3g}"]
            told += [f"{self._pulse.processes} processes"] if self._pulse.processes > 1 else []
        minutes, seconds = divmod(round(facts["eta_seconds"]), 60)
        told += [f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left"]
        told += [f"peak {facts['peak_memory_gb']:.1f} GB"] if "peak_memory_gb" in facts else []
        return ", ".join(told)


def say(sentence: str) -> None:
    """Write what a run does now to standard error."""
    print(sentence, file=sys.stderr, flush=True)


def peak_memory(device: torch.device) -> dict[str, float]:
    """Peak memory in GB: the device's on CUDA, else the process's; empty where it is not known."""
    if device.type == "cuda":
        return {"peak_memory_gb": torch.cuda.max_memory_allocated(device) / 1e9}
    try:
        import resource
    except ImportError:  # Windows
        return {}
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9}
