"""Several processes train as one, whatever accelerate was told."""

import json
import os
import shutil
import subprocess
import sys
from itertools import islice

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from tests.training.runs import SMALL, job
from training.cache import Cache
from training.config import load_preset
from training.examples import phantom_examples
from training.loop import FineTune
from training.models import ModelSource
from training.objective import batch_loss
from training.optimiser import learning_rate_factor
from training.pipeline import finetune
from training.prepare import Preparer, batches
from training.processes import accelerator_for
from training.sides import parts_of, sides_of


def test_what_accelerate_launch_sets_for_precision_and_accumulation_is_not_taken(monkeypatch):
    AcceleratorState._reset_state(True)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    try:
        found = accelerator_for(torch.device("cpu"))
        assert (found.mixed_precision, found.gradient_accumulation_steps) == ("no", 1)
    finally:
        AcceleratorState._reset_state(True)


@pytest.mark.parametrize(
    ("variable", "told"), [("ACCELERATE_MIXED_PRECISION", "accelerate launch"), ("TORCHELASTIC_RUN_ID", "torchrun")]
)
def test_a_launcher_that_started_one_process_is_named(monkeypatch, caplog, variable, told):
    for name in ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    accelerator_for(torch.device("cpu"))
    assert not caplog.records
    monkeypatch.setenv(variable, "no")
    accelerator_for(torch.device("cpu"))
    assert f"{told} has started one process: for several on one machine use torchrun" in caplog.text


@pytest.mark.slow
def test_two_processes_train_on_the_mean_of_their_gradients(cache, tmp_path):
    """`torch.distributed` with gloo, beside the same sums made by hand in one process; 1e-6 of float32 rounding."""
    fields = SMALL | {"batch_size": 1, "steps": 3, "ema_decay": 0.0}
    line = f"finetune --preset miniature --model miniature --data phantoms:2 --device cpu --cache {cache}"
    command_line = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "training"),
        *(*line.split(), "--out", str(tmp_path / "two"), "--set", *(f"{k}={v}" for k, v in fields.items())),
    ]
    single = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command_line, capture_output=True, text=True, timeout=300, env=single)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("Adapter:") == 1

    config = load_preset("miniature", fields)
    examples = phantom_examples(2, config.seed)
    learned = sides_of(examples, parts_of(examples, config, True, [])).learned
    model = ModelSource("miniature").load("fp32", "cpu")
    store = Cache(cache)
    views = Preparer(model, store, config, learned).prepare(learned, config.views, "encoding")
    run = FineTune(config, model, views, store, tmp_path / "one", None, Accelerator(cpu=True))
    order = list(islice(batches(views, 1, config.seed), 6))
    for step in range(3):
        for group in run.optimiser.param_groups:
            group["lr"] = config.learning_rate * learning_rate_factor(step, config)
        for rank in range(2):
            entropy = np.random.SeedSequence([config.seed, step, rank, 0]).generate_state(1, np.uint64)[0]
            generator = torch.Generator().manual_seed(int(entropy >> 1))
            batch = run._batch(order[2 * step + rank], generator)
            (batch_loss(run.transformer, batch, config, generator) / 2).backward()
        torch.nn.utils.clip_grad_norm_(run.parameters.values(), config.max_grad_norm)
        run.optimiser.step()
        run.optimiser.zero_grad()
    state = load_file(max((tmp_path / "two" / "checkpoints").iterdir()) / "parameters.safetensors")
    assert all(torch.allclose(state[name], value, atol=1e-6) for name, value in run.parameters.items())
    assert len(list((tmp_path / "two" / "tensorboard").iterdir())) == 1

    # One process that adds up two batches sees the same pictures with the same noise: to float32's rounding.
    finetune(job(tmp_path / "added", cache, **fields, accumulation=2))
    added = load_file(max((tmp_path / "added" / "checkpoints").iterdir()) / "parameters.safetensors")
    assert all(torch.allclose(state[name], added[name], atol=1e-6) for name in added)
    logs = [[json.loads(line) for line in (tmp_path / name / "log.jsonl").open()] for name in ("two", "added")]
    for ours, theirs in zip(*logs, strict=True):
        if "loss" in ours:
            for name in ("step_loss", "gradient_norm", "learning_rate"):
                assert ours[name] == pytest.approx(theirs[name], rel=1e-4), name
            assert (ours["processes"], theirs["processes"]) == (2, 1)
    assert "step 1 of 3, loss" in done.stderr and "2 processes" in done.stderr
    assert json.loads((tmp_path / "two" / "config.json").read_text())["processes"] == 2

    # Killed after its second step and resumed by two processes, it ends where it ended.
    shutil.rmtree(max((tmp_path / "two" / "checkpoints").iterdir()))
    again = subprocess.run([*command_line, "--resume"], capture_output=True, text=True, timeout=300, env=single)
    assert again.returncode == 0, again.stderr[-2000:]
    resumed = load_file(max((tmp_path / "two" / "checkpoints").iterdir()) / "parameters.safetensors")
    assert state.keys() == resumed.keys() and all(torch.equal(state[name], resumed[name]) for name in state)
    assert max(float(value.detach().abs().max()) for name, value in run.parameters.items() if "lora_B" in name) > 1e-4
