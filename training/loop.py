"""The fine-tune itself: an adapter trained on prepared examples, checkpointed and resumable.

Order, noise, noise levels and dropped prompts of a step follow from the seed and the step's number alone, so
a run that was killed and resumed computes what the uninterrupted run computes.
"""

import contextlib
import hashlib
import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from peft import LoraConfig
from torch import Tensor
from tqdm import tqdm

from training.cache import Cache
from training.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from training.config import TrainingConfig
from training.monitor import Monitor
from training.objective import flow_loss, interpolate, noise_levels, token_weights
from training.optimiser import Average, build_optimiser, learning_rate_factor
from training.prepare import Batch, Prepared, batches, load_batch
from training.stopping import STOP_FILE, Unjudged, requests_to_stop
from wdlora.errors import InputError
from wdlora.files import write_text
from wdlora.layer import inject, norms_kept
from wdlora.qwen.denoiser import compute_dtype, velocity
from wdlora.qwen.latents import pack


class Diverged(InputError):
    """The loss is no finite number any more."""


class FineTune:
    """One run in the folder `out`.

    `model` is a loaded `wdlora.qwen.QwenImageEdit`, whose transformer receives the adapter; `views` are the
    prepared training examples in `cache`; `monitor` judges the run as it goes. `run` returns True when the
    last step was made, False when it was stopped before.
    """

    def __init__(
        self,
        config: TrainingConfig,
        model: Any,
        views: list[Prepared],
        cache: Cache,
        out: Path,
        monitor: Monitor | None = None,
        accelerator: Accelerator | None = None,
    ) -> None:
        if not views:
            raise InputError("There is nothing to train on.")
        self.config, self.views, self.cache, self.out, self.monitor = config, views, cache, out, monitor
        self.accelerator = accelerator or Accelerator()
        self.base, self.variant = model.hashes.get("transformer"), model.variant
        self.transformer = prepare_transformer(model.transformer, config)
        self.device = next(self.transformer.parameters()).device
        self.parameters = {n: p for n, p in self.transformer.named_parameters() if p.requires_grad}
        self.optimiser = build_optimiser(self.parameters, config)
        self.average = Average(self._copies(), config.ema_decay) if config.ema_decay else None
        self.step = 0
        self.stopped = False
        self.wrapped = self.transformer
        if self.accelerator.num_processes > 1:
            self.wrapped = self.accelerator.prepare_model(self.transformer)
        self.dtype = compute_dtype(self.transformer)

    @property
    def trained(self) -> dict[str, Tensor]:
        """The parameters that are written: the averaged ones where averaging is on."""
        return self.average.values if self.average else {n: p.detach() for n, p in self.parameters.items()}

    def resume(self) -> bool:
        """Continue from the newest checkpoint of `out`, if there is one; says whether there was.

        Raises InputError if it was made with another configuration or other data, or if the processes do not all
        see it.
        """
        found = list_checkpoints(self.out / "checkpoints")
        mine = torch.tensor([len(found), int(found[-1].name.rpartition("-")[2]) if found else -1], device=self.device)
        if len({tuple(pair) for pair in self.accelerator.gather(mine).reshape(-1, 2).tolist()}) > 1:
            raise InputError(f"The processes see different checkpoints in {self.out}: let them share the folder.")
        if not found:
            return False
        values, state, facts = load_checkpoint(found[-1])
        for name, mine in self._facts().items():
            if facts.get(name) != mine:
                raise InputError(f"{found[-1].name} was made with another {name}; resume with the same, or start anew.")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(values[name])
        self.optimiser.load_state_dict(state)
        if self.average:
            self.average.steps = facts["average_steps"]
            for name, value in self.average.values.items():
                value.copy_(values[f"average/{name}"])
        self.step = facts["step"]
        return True

    def run(self) -> bool:
        """Train up to the configured number of steps; see the class."""
        config, main = self.config, self.accelerator.is_main_process
        self.out.mkdir(parents=True, exist_ok=True)
        stop_file = self.out / STOP_FILE
        if main:
            stop_file.unlink(missing_ok=True)
            self._truncate_log()
        self.transformer.train()
        stream = self.stream()
        recent: deque[float] = deque(maxlen=50)
        spent, first = 0.0, self.step
        with (
            requests_to_stop(self),
            tqdm(
                total=config.steps, initial=self.step, desc="fine-tune", unit="step", disable=None if main else True
            ) as bar,
        ):
            if main and self.monitor and self._due() and not self._judged():
                self._judge()
            stopping = False
            while self.step < config.steps and not stopping:
                start = time.monotonic()
                loss = self.advance(stream)
                spent += time.monotonic() - start
                recent.append(loss)
                bar.update()
                stopping = self._agreed(self.stopped or stop_file.exists())
                if not main:
                    continue
                seconds = spent / (self.step - first)
                facts = {"loss": float(np.mean(recent)), "seconds_a_step": seconds} | memory(self.device)
                shown = {"loss": f"{facts['loss']:.4f}"}
                if "peak_memory_gb" in facts:
                    shown["peak"] = f"{facts['peak_memory_gb']:.1f} GB"
                bar.set_postfix(shown, refresh=False)
                last = self.step == config.steps or stopping
                if self.step % config.log_every == 0 or last:
                    self.log(facts | {"eta_seconds": seconds * (config.steps - self.step), "step_loss": loss})
                if self.step % config.save_every == 0 or last:
                    self.save()
                if self.monitor and self._due():
                    self._judge()
        stop_file.unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()  # a process that ends before the checkpoint is whole ends the others
        return self.step >= config.steps

    def _agreed(self, stop: bool) -> bool:
        """Whether any process wants to stop, so that all make the same number of steps."""
        if self.accelerator.num_processes == 1:
            return stop
        wanting = self.accelerator.reduce(torch.tensor(int(stop), device=self.device), "sum")
        return bool(wanting.item())

    def advance(self, stream: Iterator[list[Prepared]]) -> float:
        """One optimiser step over `accumulation` batches of `stream`; returns the mean loss.

        Raises Diverged where the loss or its gradient is not finite, before anything has changed.
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
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), limit))
        if not np.isfinite([total, norm]).all():
            raise Diverged(
                f"At step {self.step + 1} the loss is {total} and its gradient's norm {norm}; lower learning_rate and "
                "start again."
            )
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.average:
            self.average.update(self.parameters)
        self.step += 1
        return total

    def stream(self) -> Iterator[list[Prepared]]:
        """This process's share of the batches, from the current step on."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        start = self.step * self.config.accumulation * world + rank
        return islice(batches(self.views, self.config.batch_size, self.config.seed), start, None, world)

    def _generator(self, part: int) -> torch.Generator:
        entropy = [self.config.seed, self.step, part, self.accelerator.process_index]
        return torch.Generator().manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1))

    def _batch(self, views: list[Prepared], generator: torch.Generator) -> Batch:
        """Read a batch; prompts are dropped one by one, references for the whole batch."""
        config = self.config
        possible = all("plain+reference" in view.texts for view in views)
        kept = torch.rand(1, generator=generator).item() >= config.reference_dropout
        ending = "+reference" if possible and kept else ""
        dropped = (torch.rand(len(views), generator=generator) < config.prompt_dropout).tolist()
        return load_batch(self.cache, views, [("empty" if drop else "plain") + ending for drop in dropped])

    def _facts(self) -> dict[str, Any]:
        data = "".join(view.pictures + "".join(view.texts.values()) for view in self.views)
        return {
            "configuration": self.config.course(),
            "data": hashlib.sha256(data.encode()).hexdigest(),
            "number of processes": self.accelerator.num_processes,
            "base model": self.base,
            "variant of the model": self.variant,
            "kind of optimiser": type(self.optimiser).__name__,
        }

    def save(self) -> None:
        """Write a checkpoint of the current step."""
        values = {name: parameter.detach() for name, parameter in self.parameters.items()}
        facts = self._facts()
        if self.average:
            values |= {f"average/{name}": value for name, value in self.average.values.items()}
            facts["average_steps"] = self.average.steps
        save_checkpoint(
            self.out / "checkpoints", self.step, values, self.optimiser, facts, self.config.keep_checkpoints
        )

    def log(self, facts: dict[str, Any]) -> None:
        """Append a line to log.jsonl."""
        with open(self.out / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": self.step} | facts) + "\n")
        if self.monitor:
            self.monitor.scalars(self.step, facts)

    def _truncate_log(self) -> None:
        """Drop what a killed run logged after the checkpoint from which this one continues."""
        path = self.out / "log.jsonl"
        if path.exists():
            lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
            kept = [line for line in lines if json.loads(line)["step"] <= self.step] if self.step else []
            write_text(path, "".join(line + "\n" for line in kept))

    def _due(self) -> bool:
        """Whether the current step is one after which the run is judged."""
        every = self.config.sample_every
        return self.step in (0, self.config.steps) or bool(every and self.step % every == 0)

    def _judged(self) -> bool:
        """Whether the log holds a judgement of the current step; a run may have been killed before it."""
        path = self.out / "log.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return any("loss" not in line and line["step"] == self.step for line in map(json.loads, lines))

    def _judge(self) -> None:
        """Judge, unless somebody wants the run to stop: then it is made up for where the run goes on."""
        assert self.monitor is not None

        def watch() -> None:
            if self.stopped or (self.out / STOP_FILE).exists():
                raise Unjudged

        with contextlib.suppress(Unjudged), self.averaged():
            self.log(self.monitor.judge(self.transformer, self.step, watch))

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the transformer carry the averaged parameters for a while, in evaluation mode."""
        kept = self._copies()
        self._load(self.trained)
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


def prepare_transformer(transformer: Any, config: TrainingConfig) -> Any:
    """Freeze a transformer and inject the configured adapter, whose initialisation follows from the seed."""
    transformer.requires_grad_(False)
    if config.gradient_checkpointing:
        transformer.enable_gradient_checkpointing()
    adapter = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha if config.alpha is not None else config.rank,
        target_modules=config.target_modules,
        use_dora=config.method != "lora",
        **_matched_ranks(transformer, config),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        inject(transformer, adapter, norm_gradient=config.norm_gradient)
    if config.method == "magnitude":
        for name, parameter in transformer.named_parameters():
            parameter.requires_grad_("lora_magnitude_vector" in name)
    return transformer


def _matched_ranks(transformer: Any, config: TrainingConfig) -> dict[str, Any]:
    """Rank and alpha patterns that give plain LoRA the parameters which WDLoRA spends on magnitudes.

    One rank more in a layer costs in + out numbers; every other layer is taken first, until the next one would
    leave the count further from WDLoRA's than stopping. alpha/rank stays the same everywhere.
    """
    if config.extra_rank == "none":
        return {}
    layers = {
        name: module
        for name, module in transformer.named_modules()
        if any(name == end or name.endswith(f".{end}") for end in config.target_modules)
    }
    missing = sum(module.out_features for module in layers.values())
    scaling = (config.alpha if config.alpha is not None else config.rank) / config.rank
    ranks = dict.fromkeys(layers, config.rank)
    spread = [*list(layers)[::2], *list(layers)[1::2]]
    while missing > 0:
        for name in spread:
            cost = layers[name].in_features + layers[name].out_features
            if missing < cost / 2:
                missing = 0
                break
            ranks[name] += 1
            missing -= cost
    return {"rank_pattern": ranks, "alpha_pattern": {name: scaling * rank for name, rank in ranks.items()}}


def batch_loss(transformer: Any, batch: Batch, config: TrainingConfig, generator: torch.Generator) -> Tensor:
    """The objective of one batch, with noise and noise levels drawn from `generator` on the CPU."""
    device = batch.target.device
    sigma = noise_levels(len(batch.target), config, generator).to(device)
    noise = torch.randn(batch.target.shape, generator=generator).to(device)
    x = interpolate(batch.target, noise, sigma)
    prediction = velocity(transformer, x, sigma, batch.conditioning, batch.references)
    weights = token_weights(batch.nerves, config.foreground_weight, config.background_weight)
    return flow_loss(pack(prediction), pack(batch.target), pack(noise), weights)


def memory(device: torch.device) -> dict[str, float]:
    """Peak memory in GB: the device's on CUDA, else the process's."""
    if device.type == "cuda":
        return {"peak_memory_gb": torch.cuda.max_memory_allocated(device) / 1e9}
    try:
        import resource
    except ImportError:  # Windows
        return {}
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9}
