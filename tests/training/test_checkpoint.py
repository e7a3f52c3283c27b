"""Checkpoints come back as they were written, for both optimisers, and torn ones are refused."""

import dataclasses
import sys
import types

import pytest
import torch

from training.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from training.config import TrainingConfig
from training.optimiser import Average, build_optimiser, learning_rate_factor
from wdlora.errors import InputError


def steps(parameters, optimiser, count, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimiser.step()


@pytest.mark.parametrize("name", ["adamw", "adam8bit"])
def test_a_resumed_optimiser_goes_on_bit_for_bit(tmp_path, name):
    config = dataclasses.replace(TrainingConfig(), optimiser=name, learning_rate=0.1)
    one = [torch.nn.Parameter(torch.ones(128, 64)) for _ in range(2)]  # 8-bit states share a table
    optimiser = build_optimiser(dict(zip("ab", one, strict=True)), config)
    steps(one, optimiser, 3, 0)
    path = save_checkpoint(tmp_path, 3, {"a": one[0], "b": one[1]}, optimiser, {"note": "x"}, keep=2)
    parameters, state, facts = load_checkpoint(path)
    two = [torch.nn.Parameter(parameters[name]) for name in "ab"]
    resumed = build_optimiser(dict(zip("ab", two, strict=True)), config)
    resumed.load_state_dict(state)
    for parameters, each in ((one, optimiser), (two, resumed)):
        steps(parameters, each, 3, 1)
    assert all(map(torch.equal, one, two))
    assert facts == {"note": "x", "step": 3}


def test_only_the_newest_are_kept_and_torn_ones_are_named(tmp_path):
    parameter = torch.nn.Parameter(torch.ones(2))
    optimiser = build_optimiser({"a": parameter}, dataclasses.replace(TrainingConfig(), optimiser="adamw"))
    for step in (5, 10, 1000000):
        save_checkpoint(tmp_path, step, {"p": parameter}, optimiser, {}, keep=2)
    left = list_checkpoints(tmp_path)
    assert [path.name for path in left] == ["step-000010", "step-1000000"]
    (left[1] / "parameters.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match="step-1000000"):
        load_checkpoint(left[1])


@pytest.mark.parametrize("name", ["parameters.safetensors", "optimiser.safetensors", "state.json", "sha256.json"])
def test_a_flipped_bit_anywhere_in_a_checkpoint_is_noticed(tmp_path, name):
    parameter = torch.nn.Parameter(torch.ones(3))
    optimiser = build_optimiser({"a": parameter}, dataclasses.replace(TrainingConfig(), optimiser="adamw"))
    steps([parameter], optimiser, 1, 0)
    path = save_checkpoint(tmp_path, 5, {"p": parameter}, optimiser, {"note": "x"}, keep=2)
    load_checkpoint(path)
    right = (path / name).read_bytes()
    for bit in range(0, 8 * len(right), 13):
        changed = bytearray(right)
        changed[bit // 8] ^= 1 << bit % 8
        (path / name).write_bytes(changed)
        if name == "sha256.json" and changed.split() == right.split():
            continue
        with pytest.raises(InputError, match=r"step-000005 cannot be read"):
            load_checkpoint(path)


def test_a_checkpoint_can_be_read_by_whoever_the_umask_allows(tmp_path):
    parameter = torch.nn.Parameter(torch.ones(2))
    optimiser = build_optimiser({"a": parameter}, dataclasses.replace(TrainingConfig(), optimiser="adamw"))
    (tmp_path / "ordinary").mkdir()
    path = save_checkpoint(tmp_path, 1, {"p": parameter}, optimiser, {}, keep=2)
    assert path.stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_what_a_killed_run_left_unfinished_goes_with_the_next_checkpoint(tmp_path):
    parameter = torch.nn.Parameter(torch.ones(2))
    optimiser = build_optimiser({"a": parameter}, dataclasses.replace(TrainingConfig(), optimiser="adamw"))
    (tmp_path / ".writing-abc").mkdir()
    (tmp_path / ".writing-abc" / "parameters.safetensors").write_bytes(b"half")
    save_checkpoint(tmp_path, 1, {"p": parameter}, optimiser, {}, keep=2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


class _Missing(torch.optim.AdamW):
    """bitsandbytes where its native library does not fit: it is built, and fails when it should step."""

    def step(self, closure=None):
        raise RuntimeError("Attempted to use the CUDA library,\nwhich is not there")


@pytest.mark.parametrize("package", [None, types.SimpleNamespace(AdamW8bit=_Missing)])
def test_where_8_bit_adam_cannot_run_torchs_takes_over_with_one_line(monkeypatch, caplog, package):
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", package)
    parameter = torch.nn.Parameter(torch.ones(128, 64))
    optimiser = build_optimiser({"a": parameter}, dataclasses.replace(TrainingConfig(), optimiser="adam8bit"))
    assert type(optimiser) is torch.optim.AdamW
    (record,) = caplog.records
    assert "8-bit Adam cannot run here" in record.message and "\n" not in record.message
    steps([parameter], optimiser, 1, 0)
    assert not torch.equal(parameter, torch.ones(128, 64))


def test_the_schedule_by_hand():
    config = dataclasses.replace(TrainingConfig(), steps=150, warmup_steps=50)
    assert learning_rate_factor(0, config) == pytest.approx(1 / 50)
    assert learning_rate_factor(49, config) == 1
    assert learning_rate_factor(100, config) == pytest.approx(0.5)
    assert learning_rate_factor(150, config) == pytest.approx(0)


def test_the_average_by_hand():
    average = Average({"v": torch.zeros(1)}, decay=0.5)
    average.update({"v": torch.ones(1)})  # decay min(.5, 2/11)
    assert average.values["v"].item() == pytest.approx(9 / 11)


@pytest.mark.parametrize("name", ["adamw", "adam8bit"])
def test_factors_decay_and_magnitudes_stay(name):
    """A step with no gradient: Adam moves nothing, and decay takes 0.5 · 0.1 of every factor."""
    config = dataclasses.replace(TrainingConfig(), optimiser=name, learning_rate=0.5, weight_decay=0.1)
    values = {key: torch.nn.Parameter(torch.full((3,), 2.0)) for key in ("q.lora_A.w", "q.lora_magnitude_vector.w")}
    optimiser = build_optimiser(values, config)
    for value in values.values():
        value.grad = torch.zeros(3)
    optimiser.step()
    assert [float(value.detach()[0]) for value in values.values()] == pytest.approx([1.9, 2.0])
