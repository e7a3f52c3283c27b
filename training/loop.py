"""The fine-tune itself: an adapter trained on encoded examples, checkpointed and resumable.

Order, noise, noise levels and dropped prompts of a step follow from the seed and the step's number alone, so
a run that was killed and resumed computes what the uninterrupted run computes.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from training.adaptation import prepare_transformer
from training.best import BestAdapter
from training.cache import Cache
from training.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from training.config import TrainingConfig
from training.monitor import Monitor
from training.objective import batch_loss
from training.optimiser import Average, build_optimiser, learning_rate_factor
from training.output import ADAPTER, NOT_AVERAGED, make_adapter
from training.prepare import Batch, EncodedView, batches, load_batch
from training.progress import Pace, Pulse
from training.run_log import RunLog
from training.stopping import StopRequest, Unjudged, requests_to_stop
from wdlora.adapter.metadata import Metadata
from wdlora.errors import InputError
from wdlora.layer import norms_kept
from wdlora.qwen.denoiser import transformer_dtype

LARGEST_WEIGHT = 1e6
"""Factors and magnitudes of an adapter are of the order of 1 to 100; what is so much larger paints nothing."""


class Diverged(InputError):
    """The loss is no longer finite, or a weight has left every sensible size."""


class FineTune:
    """One run in the folder `out`.

    `model` is a loaded `wdlora.qwen.QwenImageEdit`, whose transformer receives the adapter; `views` are the
    encoded training examples in `cache`; `monitor` judges the run as it goes. `origins` are the metadata of the
    adapters that every checkpoint holds, and of the best one; without them none are written. `run` returns True when
    the last step was made, False when it was stopped before.
    """

    def __init__(
        self,
        config: TrainingConfig,
        model: Any,
        views: list[EncodedView],
        cache: Cache,
        out: Path,
        monitor: Monitor | None = None,
        accelerator: Accelerator | None = None,
        origins: Metadata | None = None,
    ) -> None:
        if not views:
            raise InputError("There is nothing to train on.")
        self.config, self.views, self.cache, self.out, self.monitor = config, views, cache, out, monitor
        self.accelerator = accelerator or Accelerator()
        self.main = self.accelerator.is_main_process
        self.base, self.variant = model.hashes.get("transformer"), model.variant
        self.transformer = prepare_transformer(model.transformer, config)
        self.device = next(self.transformer.parameters()).device
        self.parameters = {n: p for n, p in self.transformer.named_parameters() if p.requires_grad}
        self.optimiser = build_optimiser(self.parameters, config)
        self.average = Average(self._copies(), config.ema_decay) if config.ema_decay else None
        self.step, self.pulse = 0, Pulse(0.0, 0.0, self.accelerator.num_processes)
        self.log, self.stop, self.origins = RunLog(out), StopRequest(out), origins
        self.best = BestAdapter(out, self.log)
        self.wrapped = self.transformer
        if self.accelerator.num_processes > 1:
            self.wrapped = self.accelerator.prepare_model(self.transformer)
        self.dtype = transformer_dtype(self.transformer)

    def run(self) -> bool:
        """Train up to the configured number of steps; see the class."""
        self._begin()
        stream = self.stream()
        with requests_to_stop(self.stop), Pace(self.step, self.config.steps, self.device, self.main) as pace:
            if self.main and not self.log.judged(self.step):
                self._judge_if_due()
            stopping = False
            while self.step < self.config.steps and not stopping:
                with pace.timed():
                    loss = self.advance(stream)
                pace.advance(loss, self.pulse)
                stopping = self._agreed(bool(self.stop))
                if self.main:
                    pace.show()
                    self._keep(pace, last=self.step == self.config.steps or stopping)
                    self._judge_if_due()
        self.stop.clear()
        self.accelerator.wait_for_everyone()  # a process that ends before the checkpoint is whole ends the others
        return self.step >= self.config.steps

    def advance(self, stream: Iterator[list[EncodedView]]) -> float:
        """One optimiser step over `accumulation` batches of `stream`; returns the mean loss, over all processes.

        Raises Diverged where the loss or its gradient is not finite, before anything has changed, and where the step
        has made a weight larger than `LARGEST_WEIGHT`, before anything is saved.
        """
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * learning_rate_factor(self.step, config)
        total = 0.0
        limit = config.max_grad_norm or float("inf")
        with norms_kept(self.transformer):
            for part in range(config.accumulation):
                generator = self._generator(part)
                batch = self._batch(next(stream), generator).to(self.device, self.dtype)
                last = part == config.accumulation - 1
                synchronise = contextlib.nullcontext() if last else self.accelerator.no_sync(self.wrapped)
                with synchronise:
                    loss = batch_loss(self.wrapped, batch, config, generator) / config.accumulation
                    self.accelerator.backward(loss)
                total += loss.item()
        total = self._mean(total)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), limit))
        if not np.isfinite([total, norm]).all():
            raise Diverged(
                f"At step {self.step + 1} the loss is {total} and its gradient's norm {norm}; lower learning_rate and "
                "start again."
            )
        self.pulse = Pulse(norm, self.optimiser.param_groups[0]["lr"], self.accelerator.num_processes)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self._check_weights()
        if self.average:
            self.average.update(self.parameters)
        self.step += 1
        return total

    def _check_weights(self) -> None:
        norms = torch._foreach_norm([p.detach() for p in self.parameters.values()], float("inf"))
        largest = float(torch.stack([norm.float() for norm in norms]).max())
        if not largest <= LARGEST_WEIGHT:
            raise Diverged(
                f"At step {self.step + 1} a weight of the adapter has grown to {largest:.3g}; lower learning_rate "
                f"(now {self.config.learning_rate:g}) and start again."
            )

    def stream(self) -> Iterator[list[EncodedView]]:
        """This process's share of the batches, from the current step on."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        start = self.step * self.config.accumulation * world + rank
        return islice(batches(self.views, self.config.batch_size, self.config.seed), start, None, world)

    def _generator(self, part: int) -> torch.Generator:
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        entropy = [self.config.seed, self.step, part * world + rank, 0]  # as one process with more parts would draw
        return torch.Generator().manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1))

    def _batch(self, views: list[EncodedView], generator: torch.Generator) -> Batch:
        """Read a batch; prompts are dropped one by one, references for the whole batch."""
        config = self.config
        possible = all("plain+reference" in view.texts for view in views)
        kept = torch.rand(1, generator=generator).item() >= config.reference_dropout
        ending = "+reference" if possible and kept else ""
        dropped = (torch.rand(len(views), generator=generator) < config.prompt_dropout).tolist()
        return load_batch(self.cache, views, [("empty" if drop else "plain") + ending for drop in dropped])

    def _begin(self) -> None:
        """Make the folder ready; of what was there, keep the log up to the current step."""
        self.out.mkdir(parents=True, exist_ok=True)
        if self.main:
            self.stop.clear()
            self.log.cut_after(self.step)
            self.best.restore()
        self.transformer.train()

    def _agreed(self, stop: bool) -> bool:
        """Whether any process wants to stop, so that all make the same number of steps."""
        if self.accelerator.num_processes == 1:
            return stop
        wanting = self.accelerator.reduce(torch.tensor(int(stop), device=self.device), "sum")
        return bool(wanting.item())

    def _mean(self, loss: float) -> float:
        """The mean over all processes."""
        if self.accelerator.num_processes == 1:
            return loss
        return float(self.accelerator.reduce(torch.tensor(loss, device=self.device), "mean"))

    def _keep(self, pace: Pace, last: bool) -> None:
        """Log and save where the current step is one after which that is done."""
        if self.step % self.config.log_every == 0 or last:
            self._note(pace.facts())
        if self.step % self.config.save_every == 0 or last:
            self.save()

    def _note(self, facts: dict[str, Any]) -> None:
        """Log facts of the current step, and send them to TensorBoard."""
        self.log.append(self.step, facts)
        if self.monitor:
            self.monitor.scalars(self.step, facts)

    def _judge_if_due(self) -> None:
        """Judge before the first step, after the last and every so many between them.

        Not where somebody wants the run to stop: then it is made up for where the run goes on.
        """
        every = self.config.sample_every
        due = self.step in (0, self.config.steps) or bool(every and self.step % every == 0)
        if due and self.monitor:
            with contextlib.suppress(Unjudged), self.carrying(self.trained):
                facts = self.monitor.judge(self.step, self.stop.end_judgement)
                if not np.isfinite(facts.get("validation_loss", 0.0)):  # without held-out patients there is none
                    raise Diverged(
                        f"After step {self.step} the validation loss is {facts['validation_loss']}; lower "
                        "learning_rate and start again."
                    )
                if self.step and self.origins and "validation_loss" in facts:
                    self.best.offer(facts["validation_loss"], self.write_adapter)
                self._note(facts)

    @property
    def trained(self) -> dict[str, Tensor]:
        """The parameters that are written: the averaged ones where averaging is on."""
        return self.average.values if self.average else {n: p.detach() for n, p in self.parameters.items()}

    def write_adapter(self, path: Path) -> None:
        """Write what was trained so far as an adapter, averaged where averaging is on, whole or not at all."""
        self._write(path, self.trained)

    def _write(self, path: Path, values: dict[str, Tensor]) -> None:
        assert self.origins is not None
        make_adapter(self.transformer, values, self.origins.replace(step=self.step)).save(path)

    @contextlib.contextmanager
    def carrying(self, values: dict[str, Tensor]) -> Iterator[None]:
        """Let the transformer carry other values of its parameters for a while, in evaluation mode."""
        kept = self._copies()
        self._load(values)
        self.transformer.eval()
        try:
            with norms_kept(self.transformer):
                yield
        finally:
            self._load(kept)
            self.transformer.train()

    def _copies(self) -> dict[str, Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def _load(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])

    def save(self) -> None:
        """Write a checkpoint of the current step."""
        values = {name: parameter.detach() for name, parameter in self.parameters.items()}
        facts = self._facts()
        if self.average:
            values |= {f"average/{name}": value for name, value in self.average.values.items()}
            facts["average_steps"] = self.average.steps
        folder, keep = self.out / "checkpoints", self.config.keep_checkpoints
        save_checkpoint(folder, self.step, values, self.optimiser, facts, keep, self._beside)

    def _beside(self, folder: Path) -> None:
        """Put the adapter of the current step, and the best one, into the folder of a checkpoint."""
        if self.origins:
            self.write_adapter(folder / ADAPTER)
            if self.average:
                plain = {name: value.detach() for name, value in self.parameters.items()}
                self._write(folder / NOT_AVERAGED, plain)
            self.best.keep(folder)

    def start_from(self, values: dict[str, Tensor]) -> None:
        """Let the parameters, and their average, begin at other values than the seed's."""
        self._load(values)
        if self.average:
            for name, value in self.average.values.items():
                value.copy_(values[name])

    def resume(self) -> bool:
        """Continue from the newest checkpoint of `out`, if there is one; says whether there was.

        Raises InputError if it was made with another configuration or other data, or if the processes do not all
        see it.
        """
        found = list_checkpoints(self.out / "checkpoints")
        seen = torch.tensor([len(found), int(found[-1].name.rpartition("-")[2]) if found else -1], device=self.device)
        if len({tuple(pair) for pair in self.accelerator.gather(seen).reshape(-1, 2).tolist()}) > 1:
            raise InputError(f"The processes see different checkpoints in {self.out}: let them share the folder.")
        if not found:
            return False
        values, state, facts = load_checkpoint(found[-1])
        for name, mine in self._facts().items():
            if facts.get(name) != mine:
                raise InputError(
                    f"{found[-1].name} was made with another {name}; resume with the same, or start again."
                )
        self._load(values)
        self.optimiser.load_state_dict(state)
        if self.average:
            self.average.steps = facts["average_steps"]
            for name, value in self.average.values.items():
                value.copy_(values[f"average/{name}"])
        self.step = facts["step"]
        if self.step > self.config.steps:
            raise InputError(f"The run is at step {self.step} already: set steps to more than {self.config.steps}.")
        return True

    def _facts(self) -> dict[str, Any]:
        """What a checkpoint must share with the run that goes on from it."""
        data = "".join(view.pictures + "".join(view.texts.values()) for view in self.views)
        return {
            "configuration": self.config.learning_fingerprint(),
            "data": hashlib.sha256(data.encode()).hexdigest(),
            "number of processes": self.accelerator.num_processes,
            "base model": self.base,
            "variant of the model": self.variant,
            "kind of optimiser": type(self.optimiser).__name__,
        }
