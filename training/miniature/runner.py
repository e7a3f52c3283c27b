"""The training loop that all stages of the miniature share: a budget, a schedule, an average, checkpoints."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from training.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from training.optimiser import Average
from wdlora.errors import InputError
from wdlora.files import write_text


@dataclass(frozen=True)
class Budget:
    """What a stage may cost and how fast it learns.

    A stage ends after `steps`, or after `minutes` of wall-clock time where that comes first; the learning rate
    follows whichever of the two has advanced further, so a slow machine still ends with a small one.
    """

    steps: int
    minutes: float | None = None
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    final_fraction: float = 0.02
    average_decay: float = 0.998
    checkpoint_minutes: float = 3.0
    evaluate_every: int = 500

    def progress(self, step: int, seconds: float) -> float:
        """The share of the budget that is spent; the stage ends at 1."""
        return max(step / self.steps, 0.0 if self.minutes is None else seconds / 60 / self.minutes)


Loss = Callable[[int, float], tuple[Tensor, dict[str, float]]]
"""Called with the step and the progress 0..1; gives the loss and numbers for the log."""


def train(
    folder: Path,
    module: nn.Module,
    loss_at: Loss,
    budget: Budget,
    *,
    seed: int,
    evaluate: Callable[[Any], str] | None = None,
    early: dict[str, float] | None = None,
) -> Any:
    """Train `module` with AdamW until the budget is spent and return its running average.

    `early` names children whose learning rate reaches zero at that fraction of the budget; `loss_at` should
    take no gradient of them from there on.

    Checkpoints go to `folder`; a second call goes on from the newest. Random numbers of a step depend on
    `seed` and the step alone, so an interrupted run ends where an uninterrupted one of as many steps does.
    The log is `folder/log.txt`.
    """
    run = _Run(folder, module, budget, early or {})
    if run.done:
        return run.result()
    started, saved = time.monotonic() - run.spent, time.monotonic()
    running: dict[str, float] = {}
    with tqdm(total=budget.steps, initial=run.step, desc=folder.name, disable=None) as bar:
        while (progress := run.progress(time.monotonic() - started)) < 1:
            torch.manual_seed((seed << 32) + run.step)
            current = run.advance(loss_at, progress)
            running |= {name: 0.98 * running.get(name, value) + 0.02 * value for name, value in current.items()}
            bar.update()
            bar.set_postfix({name: f"{value:.4g}" for name, value in running.items()})
            if run.step % budget.evaluate_every == 0 or run.step == 50:
                numbers = " ".join(f"{name} {value:.5g}" for name, value in running.items())
                line = f"{run.step} {time.monotonic() - started:.0f}s {numbers}"
                if evaluate is not None:
                    line += " | " + evaluate(run.average)
                run.lines.append(line)
                bar.write(line)
            if time.monotonic() - saved > 60 * budget.checkpoint_minutes:
                run.spent = time.monotonic() - started
                run.save()
                saved = time.monotonic()
    if evaluate is not None:
        run.lines.append(f"{run.step} {run.spent:.0f}s end | {evaluate(run.average)}")
    run.done = True
    run.save()
    return run.result()


class _Run:
    """A stage in its folder: the module, its optimiser and running average, and how far they are."""

    def __init__(self, folder: Path, module: nn.Module, budget: Budget, early: dict[str, float]) -> None:
        self.folder, self.module, self.budget, self.early = folder, module, budget, early
        children = [list(module.get_submodule(name).parameters()) for name in early]
        listed = {id(parameter) for group in children for parameter in group}
        groups = [[p for p in module.parameters() if id(p) not in listed], *children]
        self.ends = [1.0, *early.values()]
        self.optimiser = torch.optim.AdamW(
            [{"params": group} for group in groups],
            lr=budget.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=0.01,
            fused=True,
        )
        self.average = copy.deepcopy(module).requires_grad_(False).eval()
        self.step, self.spent, self.lines, self.done = 0, 0.0, list[str](), False
        if found := list_checkpoints(folder):
            values, state, facts = load_checkpoint(found[-1])
            _load(module, values, "now.")
            _load(self.average, values, "average.")
            self.optimiser.load_state_dict(state)
            self.step, self.spent, self.lines = facts["step"], facts["seconds"], facts["log"]
            self.done = facts["done"]
        self.parameters = dict(module.named_parameters())
        self.moving = Average(dict(self.average.named_parameters()), budget.average_decay, self.step)

    def progress(self, seconds: float) -> float:
        """The share of the budget that is spent after `seconds` in all."""
        self.spent = seconds
        return self.budget.progress(self.step, seconds)

    def advance(self, loss_at: Loss, progress: float) -> dict[str, float]:
        """One step; the loss and the numbers for the log."""
        warm = min(1.0, (self.step + 1) / self.budget.warmup_steps)
        for group, end in zip(self.optimiser.param_groups, self.ends, strict=True):
            cosine = 0.5 * (1 + math.cos(math.pi * min(progress / end, 1.0)))
            least = self.budget.final_fraction if end == 1.0 else 0.0
            group["lr"] = self.budget.learning_rate * warm * (least + (1 - least) * cosine)
        loss, numbers = loss_at(self.step, progress)
        self.optimiser.zero_grad(set_to_none=True)
        if not loss.isfinite():
            raise InputError(f"{self.folder.name}: at step {self.step + 1} the loss is {float(loss)}; lower its rate")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        self.moving.update(self.parameters)
        return {"loss": loss.item()} | numbers

    def save(self) -> None:
        """Write the checkpoint and the log."""
        tensors = {f"now.{k}": v for k, v in self.module.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        facts = {"seconds": self.spent, "log": self.lines, "done": self.done}
        save_checkpoint(self.folder, self.step, tensors, self.optimiser, facts, keep=1)
        write_text(self.folder / "log.txt", "\n".join(self.lines) + "\n")

    def result(self) -> nn.Module:
        """The running average; children that have come to rest are as they are."""
        return _settle(self.average, self.module, self.early)


def progress_of(folder: Path, budget: Budget) -> float:
    """How much of its budget the newest checkpoint in `folder` has spent, 0..1; 0 without a checkpoint."""
    found = list_checkpoints(folder)
    if not found:
        return 0.0
    facts = load_checkpoint(found[-1])[2]
    return 1.0 if facts["done"] else budget.progress(facts["step"], facts["seconds"])


def restore(folder: Path, module: nn.Module, early: dict[str, float] | None = None) -> nn.Module:
    """Load the running average of the newest checkpoint into `module`, its `early` children as they rest."""
    parameters = load_checkpoint(list_checkpoints(folder)[-1])[0]
    now = copy.deepcopy(module)
    _load(now, parameters, "now.")
    _load(module, parameters, "average.")
    return _settle(module, now, early).eval()


def _settle(average: nn.Module, now: nn.Module, early: dict[str, float] | None) -> nn.Module:
    """Children that have come to rest need no average."""
    for name in early or {}:
        average.get_submodule(name).load_state_dict(now.get_submodule(name).state_dict())
    return average


def _load(module: nn.Module, parameters: dict[str, Tensor], prefix: str) -> None:
    module.load_state_dict({k.removeprefix(prefix): v for k, v in parameters.items() if k.startswith(prefix)})
