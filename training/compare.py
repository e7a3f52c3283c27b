"""LoRA against WDLoRA, with the learning rate tuned for each.

Every arm (method and rank) gets the learning rate that is best for it on tuning seeds, from at least five values
that bracket the optimum, and is then trained on fresh seeds. A seed decides initialisation, order, noise and
dropped prompts, so arms are paired by seed. Compared is the validation loss of the last step.
"""

import copy
import dataclasses
import hashlib
import json
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from training.cache import Cache
from training.config import TrainingConfig
from training.loop import Diverged, FineTune
from training.prepare import EncodedView
from training.validation import validation_loss
from wdlora.errors import InputError
from wdlora.evaluation.interval import mean_interval

FACTOR = 2.0
"""Ratio of neighbouring learning rates."""

FIRST_TUNING_SEED = 100
"""Seeds from here on choose learning rates; those below are fresh."""


@dataclass(frozen=True)
class Arm:
    """A method at a rank; `matched` is plain LoRA with as many parameters as WDLoRA of that rank."""

    method: str
    rank: int

    @property
    def name(self) -> str:
        """E.g. `wdlora r4`."""
        return f"{self.method} r{self.rank}"

    def config(self, base: TrainingConfig, learning_rate: float, seed: int) -> TrainingConfig:
        """The configuration of one run."""
        changes: dict[str, Any] = {
            "method": "lora" if self.method == "matched" else self.method,
            "rank": self.rank,
            "alpha": float(self.rank),
            "extra_rank": "match_wdlora" if self.method == "matched" else "none",
            "learning_rate": learning_rate,
            "seed": seed,
        }
        return dataclasses.replace(base, **changes)


def arms(ranks: tuple[int, ...]) -> list[Arm]:
    """WDLoRA, LoRA and parameter-matched LoRA at every rank, and magnitudes alone."""
    return [Arm(m, rank) for rank in ranks for m in ("wdlora", "lora", "matched")] + [Arm("magnitude", 1)]


class MethodStudy:
    """Runs of the study, journalled in `out` so that it goes on where it was stopped.

    `shard` of `shards` takes every `shards`-th arm; several processes share a folder this way.
    """

    def __init__(
        self,
        model: Any,
        training: list[EncodedView],
        validation: list[EncodedView],
        cache: Cache,
        base: TrainingConfig,
        out: Path,
        shard: int = 0,
        shards: int = 1,
    ) -> None:
        self.model, self.training, self.validation, self.cache = model, training, validation, cache
        self.base, self.out, self.shard, self.shards = base, out, shard, shards
        out.mkdir(parents=True, exist_ok=True)
        self.done = {(r["arm"], r["learning_rate"], r["seed"]): r for r in read_results(out)}
        data = "".join(view.pictures + "".join(view.texts.values()) for view in (*training, *validation))
        facts = base.fingerprint() + str(model.hashes["transformer"]) + data
        self.fingerprint = hashlib.sha256(facts.encode()).hexdigest()
        for result in self.done.values():
            if result["base"] != self.fingerprint:
                raise InputError(f"{out} holds results of another configuration, model or data; name another folder.")

    def run(
        self, ranks: tuple[int, ...], rates: tuple[float, ...], tuning_seeds: range, seeds: range
    ) -> Iterator[dict[str, Any]]:
        """Tune and train this shard's arms, yielding every result as it comes."""
        for arm in arms(ranks)[self.shard :: self.shards]:
            best = yield from self.tune(arm, rates, tuning_seeds)
            for seed in seeds:
                yield self.train(arm, best, seed)

    def tune(self, arm: Arm, rates: tuple[float, ...], seeds: range) -> Generator[dict[str, Any], None, float]:
        """Try the rates, and further ones as long as the best lies at an end; returns the best."""
        tried = sorted(rates)
        means: dict[float, float] = {}
        while True:
            for rate in tried:
                if rate not in means:
                    results = []
                    for seed in seeds:
                        results.append(self.train(arm, rate, seed))
                        yield results[-1]
                    means[rate] = float(np.mean([r["validation_loss"] for r in results]))
            best = min(means, key=means.__getitem__)
            if tried[0] < best < tried[-1]:
                return best
            tried = [tried[0] / FACTOR, *tried] if best == tried[0] else [*tried, tried[-1] * FACTOR]

    def train(self, arm: Arm, learning_rate: float, seed: int) -> dict[str, Any]:
        """One run from the base model; diverged runs count with an infinite loss. Read from the journal if there."""
        key = (arm.name, learning_rate, seed)
        if key in self.done:
            return self.done[key]
        config = arm.config(self.base, learning_rate, seed)
        model = dataclasses.replace(self.model, transformer=copy.deepcopy(self.model.transformer))
        start = time.monotonic()
        run = FineTune(config, model, self.training, self.cache, self.out, None, Accelerator(cpu=True))
        stream = run.stream()
        try:
            while run.step < config.steps:
                run.advance(stream)
            with run.carrying(run.trained):
                loss = validation_loss(run.transformer, self.validation, self.cache, config)
            if not np.isfinite(loss):
                raise Diverged(f"the validation loss is {loss}")
        except Diverged:
            loss = float("inf")
        result = {
            "arm": arm.name,
            "learning_rate": learning_rate,
            "seed": seed,
            "validation_loss": loss,
            "parameters": sum(p.numel() for p in run.parameters.values()),
            "seconds": round(time.monotonic() - start, 1),
            "base": self.fingerprint,
        }
        path = self.out / f"results-{self.shard}-of-{self.shards}.jsonl"
        torn = path.exists() and not path.read_bytes().endswith(b"\n")  # a killed run's last line
        with open(path, "a", encoding="utf-8") as file:
            file.write("\n" * torn + json.dumps(result) + "\n")
        self.done[key] = result
        return result


def read_results(out: Path) -> list[dict[str, Any]]:
    """All journalled runs under `out`; a torn last line is left out."""
    results = []
    for path in sorted(out.glob("results-*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                results.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return results


def ranks_and_seeds(results: list[dict[str, Any]]) -> tuple[tuple[int, ...], int]:
    """The ranks of which there are runs, and the number of fresh seeds that an arm has at the most."""
    ranks = {int(r["arm"].rpartition(" r")[2]) for r in results if not r["arm"].startswith("magnitude")}
    seeds = {r["seed"] for r in results if r["seed"] < FIRST_TUNING_SEED}
    return tuple(sorted(ranks)), len(seeds)


def best_rate(results: list[dict[str, Any]], arm: Arm) -> float | None:
    """The learning rate whose mean over an arm's tuning seeds is lowest; None without tuning runs."""
    tuned: dict[float, list[float]] = {}
    for r in results:
        if r["arm"] == arm.name and r["seed"] >= FIRST_TUNING_SEED:
            tuned.setdefault(r["learning_rate"], []).append(r["validation_loss"])
    return min(tuned, key=lambda rate: float(np.mean(tuned[rate])), default=None)


def report(results: list[dict[str, Any]], ranks: tuple[int, ...], seeds: range) -> str:
    """Markdown: each arm with its parameters, learning rate and loss, then paired differences; at least two seeds.

    Arms that have not all fresh seeds at their best rate yet are named below.
    """
    final: dict[str, tuple[float, np.ndarray, int]] = {}
    for arm in arms(ranks):
        rate = best_rate(results, arm)
        fresh = [r for r in results if r["arm"] == arm.name and r["seed"] in seeds and r["learning_rate"] == rate]
        if rate is not None and len(fresh) == len(seeds):
            losses = np.array([r["validation_loss"] for r in sorted(fresh, key=lambda r: r["seed"])])
            final[arm.name] = (rate, losses, fresh[0]["parameters"])
    absent = [arm.name for arm in arms(ranks) if arm.name not in final]
    tried = {name: sorted({r["learning_rate"] for r in results if r["arm"] == name}) for name in final}
    lines = [
        "| arm | parameters | learning rates tried | chosen | validation loss, mean ± SD |",
        "|---|---|---|---|---|",
    ]
    for name, (rate, losses, parameters) in final.items():
        spread = losses.std(ddof=1)
        lines.append(
            f"| {name} | {parameters:,} | {len(tried[name])}, {tried[name][0]:.2g}–{tried[name][-1]:.2g} | "
            f"{rate:.2g} | {losses.mean():.5f} ± {spread:.5f} |"
        )
    lines += ["", "| difference | n | mean | 95 % interval |", "|---|---|---|---|"]
    for rank in ranks:
        for two in (f"lora r{rank}", f"matched r{rank}", "magnitude r1"):
            one = f"wdlora r{rank}"
            if one in final and two in final:
                mean, low, high = mean_interval(final[one][1] - final[two][1])
                lines.append(f"| {one} − {two} | {len(seeds)} | {mean:+.5f} | {low:+.5f} to {high:+.5f} |")
    if absent:
        lines += ["", f"Not finished: {', '.join(absent)}."]
    return "\n".join(lines)
