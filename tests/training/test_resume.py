"""A fine-tune that was killed or stopped goes on as if it had not been, and only as itself."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training.runs import SMALL, job
from training import monitor, stopping
from training.config import load_preset
from training.job import TrainingJob
from training.models import ModelSource
from training.pipeline import finetune
from wdlora.errors import InputError
from wdlora.files import sha256, write_json
from wdlora.qwen.miniature_files import miniature_files


@pytest.mark.slow
def test_killed_and_resumed_is_bit_for_bit_the_uninterrupted_run(finished, cache, tmp_path):
    out, _ = finished
    killed = tmp_path / "killed"
    line = (
        f"finetune --preset miniature --model miniature --data phantoms:2 --device cpu --cache {cache} --out {killed}"
    )
    fields = [f"{key}={value}" for key, value in SMALL.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "training", *line.split(), "--set", *fields],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stop_at = int(np.random.default_rng(int.from_bytes(os.urandom(4), "big")).integers(2, 6))
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        log = killed / "log.jsonl"
        if log.exists() and f'{{"step": {stop_at}, "loss"' in log.read_text():
            break
        time.sleep(0.01)
    assert process.poll() is None, "the run ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "adapter.safetensors").exists()
    result = finetune(job(killed, cache, resume=True))
    assert result["finished"]
    mine, theirs = load_file(killed / "adapter.safetensors"), load_file(out / "adapter.safetensors")
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine), f"killed at step {stop_at}"
    steps = [json.loads(line)["step"] for line in (killed / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


@pytest.mark.slow
def test_ctrl_c_saves_and_tensorboard_holds_what_the_log_holds(finished, cache, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out, _ = finished
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    for name in ("loss", "validation_loss", "traced_dice"):
        expected = [(line["step"], pytest.approx(line[name])) for line in log if name in line]
        assert expected and [(event.step, event.value) for event in events.Scalars(name)] == expected

    sheets = [event.step for event in events.Images("sheet")]
    assert sheets == [line["step"] for line in log if "validation_loss" in line]

    stopped = tmp_path / "stopped"
    line = f"finetune --preset miniature --model miniature --data phantoms:2 --device cpu --cache {cache}"
    process = subprocess.Popen(
        [sys.executable, "-m", "training", *line.split(), "--out", str(stopped), "--set"]
        + [f"{key}={value}" for key, value in (SMALL | {"save_every": 100}).items()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if (stopped / "log.jsonl").exists() and '{"step": 2, "loss"' in (stopped / "log.jsonl").read_text():
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=240)[0]
    (left,) = (stopped / "checkpoints").iterdir()
    step = int(left.name.removeprefix("step-"))
    assert process.returncode == 130 and 2 <= step < 6
    assert f"Stopped after step {step}; add --resume to go on." in printed
    assert finetune(job(stopped, cache, resume=True, save_every=100))["finished"]
    mine, theirs = load_file(stopped / "adapter.safetensors"), load_file(out / "adapter.safetensors")
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_a_judgement_that_a_kill_prevented_is_made_on_resuming(finished, cache, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(finished[0], copied)
    (copied / "adapter.safetensors").unlink()
    lines = (copied / "log.jsonl").read_text().splitlines()
    assert "validation_loss" in lines[-1]
    (copied / "log.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    assert finetune(job(copied, cache, resume=True))["judgement"] == json.loads(lines[-1])
    assert (copied / "log.jsonl").read_text().splitlines() == lines


@pytest.mark.slow
def test_resuming_with_another_configuration_or_over_a_run_is_refused(finished, cache):
    out, _ = finished
    with pytest.raises(InputError, match="already holds a run"):
        finetune(job(out, cache))
    with pytest.raises(InputError, match=r"begun with another learning_rate \(.* then, 0.001 now\)"):
        finetune(job(out, cache, resume=True, learning_rate=1e-3))
    with pytest.raises(InputError, match=r"begun with another data \(.*phantom 2.* then, .*phantom 1.* now\)"):
        finetune(dataclasses.replace(job(out, cache, resume=True), phantom=1))


@pytest.mark.slow
def test_what_only_shows_or_keeps_may_change_on_resuming(finished, cache, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(finished[0], copied)
    adapter = load_file(copied / "adapter.safetensors")
    for name in ("adapter.safetensors", "checkpoints/step-000006"):
        path = copied / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    changes = {"save_every": 3, "sample_steps": 1, "log_every": 2, "gradient_checkpointing": True}
    assert finetune(job(copied, cache, resume=True, **changes))["finished"]
    again = load_file(copied / "adapter.safetensors")
    assert all(torch.allclose(again[name], value, atol=1e-6) for name, value in adapter.items())
    assert json.loads((copied / "config.json").read_text())["save_every"] == 3


class Asked:
    """Stands for a run: what the handler of signals touches."""

    stopped = False


def test_a_request_to_stop_that_comes_twice_is_one_request(monkeypatch):
    clock = iter([10.0, 10.02, 10.5, 13.0])
    monkeypatch.setattr(stopping.time, "monotonic", lambda: next(clock))
    before = signal.getsignal(signal.SIGTERM)
    run = Asked()
    with stopping.requests_to_stop(run):
        for name in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(name)
        assert run.stopped
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows knows no closed terminal")
def test_a_closed_terminal_is_a_request_to_stop():
    run = Asked()
    with stopping.requests_to_stop(run):
        signal.raise_signal(signal.SIGHUP)
    assert run.stopped


@pytest.mark.slow
def test_a_stop_ends_a_judgement_which_is_made_up_for_on_resuming(finished, cache, tmp_path, monkeypatch):
    out = tmp_path / "stopped"
    plain = monitor.paint_view

    def paint_view(*given, **options):
        (out / stopping.STOP_FILE).touch()  # as the node does while a picture is painted
        return plain(*given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(monitor, "paint_view", paint_view)
        result = finetune(job(out, cache))
    assert result["step"] == 1 and not result["finished"] and not (out / "sheets").exists()
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-000001"]
    assert finetune(job(out, cache, resume=True))["finished"]
    mine, theirs = (load_file(folder / "adapter.safetensors") for folder in (out, finished[0]))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_resuming_on_another_base_or_with_another_optimiser_is_refused(finished, cache, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(finished[0], copied)
    files = miniature_files()
    weights = load_file(files.transformer)
    weights["proj_out.bias"][0] += 1
    save_file(weights, tmp_path / "other.safetensors")
    other = ModelSource(
        None, str(tmp_path / "other.safetensors"), str(files.text_encoder), str(files.vae), str(files.tokenizer), "edit"
    )
    with pytest.raises(InputError, match="was made with another base model"):
        finetune(dataclasses.replace(job(copied, cache, resume=True), model=other))
    facts = max((copied / "checkpoints").iterdir()) / "state.json"
    facts.write_text(facts.read_text().replace('"AdamW"', '"AdamW8bit"'))
    with pytest.raises(InputError, match=r"cannot be read \(state.json changed after the checkpoint was written\)"):
        finetune(job(copied, cache, resume=True))
    hashes = json.loads(facts.with_name("sha256.json").read_text())
    write_json(facts.with_name("sha256.json"), hashes | {"state.json": sha256(facts)})
    with pytest.raises(InputError, match="was made with another kind of optimiser"):
        finetune(job(copied, cache, resume=True))


def test_resuming_where_no_run_is_comes_before_anything_is_loaded(tmp_path):
    missing = str(tmp_path / "missing.safetensors")
    source = ModelSource(transformer=missing, text_encoder=missing, vae=missing)
    config = load_preset("miniature", SMALL)
    with pytest.raises(InputError, match="holds no run to resume"):
        finetune(TrainingJob(config, "miniature", source, tmp_path / "out", "phantoms:2", device="cpu", resume=True))
