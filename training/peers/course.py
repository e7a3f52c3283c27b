"""The training of a peer: its lessons one after the other, checkpointed, logged, judged and resumable.

A training that was stopped ends with the same result; on a CPU it is equal bit for bit. The batch and the random
numbers of a step follow from the recipe's seed and the step's number alone. Steps are counted through all lessons.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from training.clock import Clock
from training.downstream.learning import rate_factor
from training.optimiser import Average
from training.peers.data import PeerBatch
from training.peers.lesson import Peer, PeerLesson
from training.peers.recipe import PeerRecipe
from training.progress import Pace
from training.run_log import RunLog
from training.stopping import StopRequest, requests_to_stop
from wdlora.errors import InputError

CHECKPOINTS = "checkpoints"

Judge = Callable[[int], dict[str, float]]
"""Called after a step; gives the figures for the log."""


@dataclass(frozen=True)
class PeerCourse:
    """One training of `peer` in the folder `out`. `batches` gives the batch of a step, `identity` says what it is of.

    While `judge` is called, the peer carries what it would be written with: the averages, where the recipe averages.
    """

    peer: Peer
    recipe: PeerRecipe
    batches: Callable[[int], PeerBatch]
    out: Path
    device: torch.device
    identity: str
    judge: Judge

    def run(self) -> tuple[bool, float | None]:
        """Make all steps that are left; returns whether that was done, or it was stopped before, with a checkpoint, and
        the seconds that all took (see `Clock`), judgements included. They are None where another clock counted some.

        Raises InputError where the folder holds checkpoints of another recipe or other data, and where a loss is not
        finite.
        """
        self.peer.to(self.device)
        lessons = self.peer.lessons()
        total = sum(lesson.steps for lesson in lessons)
        stop, log, left = StopRequest(self.out), RunLog(self.out), self._left()
        left.began = left.clock()
        stop.clear()
        log.cut_after(left.step)
        with requests_to_stop(stop), Pace(left.step, total, self.device, title=lessons[0].name) as pace:
            first = 0
            for lesson in lessons:
                if left.step < first + lesson.steps and not stop:
                    _UnderWay(self, lesson, first, left, log, pace).run(stop, judged=lesson is lessons[-1])
                first += lesson.steps
        stop.clear()
        if left.step < total:
            return False, left.spent
        if not log.judged(total):
            log.append(total, self.judged(total))
        return True, left.spent

    def judged(self, step: int) -> dict[str, float]:
        """The figures of the peer as it is."""
        self.peer.eval()
        found = self.judge(step)
        self.peer.train()
        return found

    def _left(self) -> "_Left":
        """Where the newest checkpoint left the training; the peer carries what it holds."""
        clock = Clock(self.device)
        if (found := newest_checkpoint(self.out, self.identity)) is None:
            return _Left(0, 0.0, {}, {}, {}, clock)
        values, state, facts = found
        self.peer.load_state_dict({k.removeprefix("now/"): v for k, v in values.items() if k.startswith("now/")})
        seconds = facts["seconds"] if facts.get("clock") == clock.name else None  # earlier versions named no clock
        return _Left(int(facts["step"]), seconds, values, state, facts, clock)


def newest_checkpoint(out: Path, identity: str) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]] | None:
    """Values, optimiser and facts of the newest checkpoint of a training in `out`; None where there is none.

    Raises InputError where it is of another recipe or other data than `identity` says.
    """
    if not (found := list_checkpoints(out / CHECKPOINTS)):
        return None
    values, state, facts = load_checkpoint(found[-1])
    if facts.get("identity") != identity:
        raise InputError(
            f"{out} holds a training of another recipe or other data: go on with the same, or name another --out"
        )
    return values, state, facts


@dataclass
class _Left:
    """How far a training has come, and what its newest checkpoint held when it went on."""

    step: int
    seconds: float | None
    values: dict[str, Tensor]
    state: dict[str, Any]
    facts: dict[str, Any]
    clock: Clock
    began: float = 0.0

    @property
    def spent(self) -> float | None:
        """Seconds of all calls together, None where another clock counted some of them."""
        return None if self.seconds is None else self.seconds + self.clock() - self.began


class _UnderWay:
    """One lesson under way, with its optimiser and averages; `first` is the step that it begins with."""

    def __init__(
        self, course: PeerCourse, lesson: PeerLesson, first: int, left: _Left, log: RunLog, pace: Pace
    ) -> None:
        self.course, self.lesson, self.first, self.left, self.log, self.pace = course, lesson, first, left, log, pace
        recipe = course.recipe
        groups = [{"params": parameters, "lr": rate} for parameters, rate in lesson.groups]
        self.optimiser = torch.optim.Adam(groups, betas=(recipe.beta1, recipe.beta2))
        learning = {id(parameter) for parameters, _ in lesson.groups for parameter in parameters}
        named = course.peer.named_parameters()
        self.parameters = {name: parameter for name, parameter in named if id(parameter) in learning}
        begun = left.step > first
        if not begun:
            course.peer.begin(lesson.name, course.batches)
        copies = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.average = Average(copies, recipe.ema_decay) if recipe.ema_decay else None
        if begun:
            self.optimiser.load_state_dict(left.state)
            if self.average:
                self.average.steps = left.facts["average_steps"]
                for name, value in copies.items():
                    value.copy_(left.values[f"average/{name}"])

    def run(self, stop: StopRequest, judged: bool) -> None:
        """Go on to the lesson's end, or to where a stop is asked for."""
        recipe, left, end = self.course.recipe, self.left, self.first + self.lesson.steps
        self.course.peer.train()
        self.pace.begin(self.lesson.name)
        stopping = False
        while left.step < end and not stopping:
            with self.pace.timed():
                numbers = self._advance(left.step)
            left.step += 1
            self.pace.advance(numbers["loss"])
            self.pace.show()
            ended, stopping = left.step == end, bool(stop)  # asked once: it may come at any moment
            if ended and self.average:
                self._exchange()  # the averages are what the next lesson and the file take
            if left.step % recipe.log_every == 0 or ended or stopping:
                # its `loss` is the mean of the last steps, as in a fine-tune, and `step_loss` the lesson's own
                self.log.append(left.step, numbers | self.pace.facts() | {"lesson": self.lesson.name})
            if left.step % recipe.save_every == 0 or ended or stopping:
                self._save(ended)
            due = bool(recipe.sample_every) and left.step % recipe.sample_every == 0
            if judged and due and not ended and not stopping:
                self._judge()

    def _advance(self, step: int) -> dict[str, float]:
        course, recipe = self.course, self.course.recipe
        factor = 1.0 if recipe.schedule == "constant" else rate_factor(step - self.first, self.lesson.steps)
        for group, (_, rate) in zip(self.optimiser.param_groups, self.lesson.groups, strict=True):
            group["lr"] = rate * factor
        torch.manual_seed((recipe.seed << 32) + step)
        numbers = self.lesson.advance(course.batches(step).to(course.device), self.optimiser)
        if not np.isfinite(list(numbers.values())).all():
            raise InputError(f"the training diverged at step {step + 1}: lower learning_rate and start again")
        if self.average:
            self.average.update(self.parameters)
        return numbers

    @torch.no_grad()
    def _exchange(self) -> None:
        """Let the peer carry the averages, and the averages what it carried."""
        assert self.average is not None
        for name, value in self.average.values.items():
            kept = self.parameters[name].detach().clone()
            self.parameters[name].copy_(value)
            value.copy_(kept)

    def _save(self, ended: bool) -> None:
        course = self.course
        values = {f"now/{name}": value for name, value in course.peer.state_dict().items()}
        facts = {"identity": course.identity, "seconds": self.left.spent, "clock": self.left.clock.name}
        if self.average and not ended:
            values |= {f"average/{name}": value for name, value in self.average.values.items()}
            facts["average_steps"] = self.average.steps
        save_checkpoint(course.out / CHECKPOINTS, self.left.step, values, self.optimiser, facts, keep=1)

    def _judge(self) -> None:
        if self.average:
            self._exchange()
        self.log.append(self.left.step, self.course.judged(self.left.step))
        if self.average:
            self._exchange()
