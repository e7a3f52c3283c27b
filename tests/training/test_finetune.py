"""The fine-tune on the miniature: what it writes, resuming after a kill, and what it refuses."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file, save_file

from training.cache import Cache
from training.cli import finetune as command
from training.config import load_preset
from training.examples import pair_references, phantom_examples
from training.loop import FineTune, batch_loss
from training.models import ModelSource
from training.optimiser import learning_rate_factor
from training.pipeline import Job, accelerator_for, finetune
from training.prepare import Preparer, batches
from training.split import split_by_patient
from wdlora.adapter import Adapter
from wdlora.errors import InputError
from wdlora.qwen.denoiser import velocity
from wdlora.qwen.encode import Conditioning
from wdlora.qwen.miniature_files import miniature_files
from wdlora.qwen.patch import apply_adapter

SMALL = {
    "size": 64,
    "views": 1,
    "steps": 6,
    "batch_size": 2,
    "warmup_steps": 2,
    "sample_every": 0,
    "sample_steps": 2,
    "sample_cfg": 1,
    "save_every": 2,
    "log_every": 1,
    "rank": 2,
    "ema_decay": 0.9,
}


def job(out: Path, cache: Path, resume: bool = False, **changes) -> Job:
    config = load_preset("miniature", SMALL | changes)
    return Job(
        config, "miniature", ModelSource("miniature"), out, "phantoms:2", cache=cache, device="cpu", resume=resume
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def finished(cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    return out, finetune(job(out, cache))


@pytest.mark.slow
def test_a_run_leaves_everything_that_others_need(finished):
    out, result = finished
    assert result["finished"] and result["step"] == 6
    assert {path.name for path in out.iterdir()} >= {
        "adapter.safetensors",
        "config.json",
        "log.jsonl",
        "README.md",
        "sheets",
        "checkpoints",
    }
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert log[0]["step"] == 0 and np.isfinite(log[0]["validation_loss"])
    adapter = Adapter.load(out / "adapter.safetensors")
    assert (adapter.rank, adapter.metadata.base_model, adapter.metadata.prompt_version) == (2, "WDLoRA miniature", "1")
    assert adapter.row_norms is not None
    card = (out / "README.md").read_text()
    assert "not a medical device" in card and str(out) not in card
    assert [path.name for path in (out / "checkpoints").iterdir()] != []


@pytest.mark.slow
@pytest.mark.parametrize(("share", "warnings"), [(0.2, 1), (0, 0)])
def test_without_patients_to_judge_by_no_figure_is_given(cache, tmp_path, caplog, share, warnings):
    one = job(tmp_path / "out", cache, steps=1, warmup_steps=0, validation_share=share)
    result = finetune(dataclasses.replace(one, data="phantoms:1"))
    assert result["finished"] and result["judgement"] is None
    assert [record.message.split(":")[0] for record in caplog.records if record.name == "training.pipeline"] == [
        "No cohort has two patients, so none is kept for validation"
    ] * warnings
    assert "validation_loss" not in (tmp_path / "out" / "log.jsonl").read_text()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "No patients were kept for validation." in card and "nan" not in card and "sheets/" not in card


@pytest.mark.slow
def test_a_run_that_ends_within_its_warm_up_is_told(cache, tmp_path, caplog):
    one = job(tmp_path / "out", cache, steps=1, warmup_steps=2, validation_share=0)
    assert finetune(dataclasses.replace(one, data="phantoms:1"))["finished"]
    (said,) = [record.message for record in caplog.records if "warm-up of 2 steps" in record.message]
    assert "ends after 1:" in said


@pytest.mark.slow
def test_what_was_trained_is_what_is_painted(finished):
    """The written adapter on a fresh base gives the trained transformer's output: 1e-5 of float32 rounding."""
    out, _ = finished
    state = load_file(max((out / "checkpoints").iterdir()) / "parameters.safetensors")
    averaged = {name.removeprefix("average/"): value for name, value in state.items() if name.startswith("average/")}
    base = ModelSource("miniature").load("fp32", "cpu", ("transformer",)).transformer
    generator = torch.Generator().manual_seed(0)
    x, control = torch.randn(2, 1, 16, 1, 8, 8, generator=generator)
    text = Conditioning(torch.randn(1, 7, base.config.joint_attention_dim, generator=generator))
    sigma = torch.tensor([0.6])

    def output(transformer):
        with torch.no_grad():
            return velocity(transformer, x, sigma, text, [control])

    before = output(base)
    apply_adapter(base, Adapter.load(out / "adapter.safetensors"))
    applied = output(base)
    from training.loop import prepare_transformer

    trained = ModelSource("miniature").load("fp32", "cpu", ("transformer",)).transformer
    prepare_transformer(trained, load_preset("miniature", SMALL))
    missing = trained.load_state_dict(averaged, strict=False)
    assert not missing.unexpected_keys
    assert (applied - before).abs().max() > 1e-4
    assert torch.allclose(applied, output(trained), atol=1e-5)


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
def test_resuming_with_another_configuration_or_over_a_run_is_refused(finished, cache):
    out, _ = finished
    with pytest.raises(InputError, match="already holds a run"):
        finetune(job(out, cache))
    with pytest.raises(InputError, match="another configuration"):
        finetune(job(out, cache, resume=True, learning_rate=1e-3))


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
    with pytest.raises(InputError, match="was made with another kind of optimiser"):
        finetune(job(copied, cache, resume=True))


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
def test_ctrl_c_saves_and_tensorboard_holds_what_the_log_holds(finished, cache, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out, _ = finished
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    for name in ("loss", "validation_loss", "traced_dice"):
        expected = [(line["step"], pytest.approx(line[name])) for line in log if name in line]
        assert expected and [(event.step, event.value) for event in events.Scalars(name)] == expected

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
    said = process.communicate(timeout=240)[0]
    (left,) = (stopped / "checkpoints").iterdir()
    step = int(left.name.removeprefix("step-"))
    assert process.returncode == 130 and 2 <= step < 6
    assert f"Stopped after step {step}; add --resume to go on." in said
    assert finetune(job(stopped, cache, resume=True, save_every=100))["finished"]
    mine, theirs = load_file(stopped / "adapter.safetensors"), load_file(out / "adapter.safetensors")
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def prepared(cache: Path, config) -> tuple:
    """The miniature, and views of two phantoms a cohort in the cache."""
    model = ModelSource("miniature").load("fp32", "cpu")
    examples = pair_references(phantom_examples(2, config.seed))
    return model, Preparer(model, Cache(cache), config, examples).prepare(examples, 1, "encoding")


def advanced(cache: Path, out: Path, **changes) -> dict[str, torch.Tensor]:
    """What is trained after one step."""
    config = load_preset("miniature", SMALL | changes)
    model, views = prepared(cache, config)
    run = FineTune(config, model, views, Cache(cache), out, None, Accelerator(cpu=True))
    run.advance(run.stream())
    return {name: value.detach() for name, value in run.parameters.items()}


@pytest.mark.slow
def test_accumulation_takes_the_mean_of_its_batches(cache, tmp_path):
    """One step of two accumulated batches beside the same sum by hand: equal but for 1e-6 of float32 rounding."""
    found = advanced(cache, tmp_path, accumulation=2, batch_size=1)
    config = load_preset("miniature", SMALL | {"accumulation": 2, "batch_size": 1})
    model, views = prepared(cache, config)
    run = FineTune(config, model, views, Cache(cache), tmp_path, None, Accelerator(cpu=True))
    for part, drawn in enumerate(islice(batches(views, 1, config.seed), 2)):
        generator = run._generator(part)
        (batch_loss(run.transformer, run._batch(drawn, generator), config, generator) / 2).backward()
    torch.nn.utils.clip_grad_norm_(run.parameters.values(), config.max_grad_norm)
    for group in run.optimiser.param_groups:
        group["lr"] = config.learning_rate * learning_rate_factor(0, config)
    run.optimiser.step()
    assert all(torch.allclose(found[name], value, atol=1e-6) for name, value in run.parameters.items())
    single = advanced(cache, tmp_path, accumulation=1, batch_size=1)
    assert any(not torch.allclose(found[name], value, atol=1e-5) for name, value in single.items())


@pytest.mark.slow
def test_gradient_checkpointing_changes_nothing(cache, tmp_path):
    plain, spared = (advanced(cache, tmp_path, gradient_checkpointing=on) for on in (False, True))
    assert all(torch.allclose(spared[name], value, atol=1e-7) for name, value in plain.items())


def test_what_accelerate_launch_sets_for_precision_and_accumulation_is_not_taken(monkeypatch):
    AcceleratorState._reset_state(True)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    try:
        found = accelerator_for(torch.device("cpu"))
        assert (found.mixed_precision, found.gradient_accumulation_steps) == ("no", 1)
    finally:
        AcceleratorState._reset_state(True)


def test_resuming_where_no_run_is_comes_before_anything_is_loaded(tmp_path):
    missing = str(tmp_path / "missing.safetensors")
    source = ModelSource(transformer=missing, text_encoder=missing, vae=missing)
    config = load_preset("miniature", SMALL)
    with pytest.raises(InputError, match="holds no run to resume"):
        finetune(Job(config, "miniature", source, tmp_path / "out", "phantoms:2", device="cpu", resume=True))


def test_an_incomplete_transformer_is_named_before_anything_is_encoded(tmp_path):
    files = miniature_files()
    weights = load_file(files.transformer)
    weights.pop("transformer_blocks.1.attn.to_q.weight")
    save_file(weights, tmp_path / "torn.safetensors")
    torn = ModelSource(
        None, str(tmp_path / "torn.safetensors"), str(files.text_encoder), str(files.vae), str(files.tokenizer), "edit"
    )
    store = tmp_path / "cache"
    with pytest.raises(InputError, match=r"torn\.safetensors is incomplete"):
        finetune(dataclasses.replace(job(tmp_path / "out", store), model=torn))
    assert not store.exists()


def folder(path: Path, mask_size: int = 64, cohort: str = "Control") -> Path:
    for kind, size in (("images", 64), ("masks", mask_size)):
        (path / kind).mkdir(parents=True)
        for name in ("a", "b"):
            Image.fromarray(np.full((size, size), 90 if kind == "images" else 0, np.uint8)).save(
                path / kind / f"{name}.png"
            )
    (path / "dataset.csv").write_text(f"file,cohort,patient\na.png,{cohort},p1\nb.png,Control,p2\n")
    return path


def run(tmp_path, *arguments):
    import argparse

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(["--out", str(tmp_path / "out"), *arguments]))


def test_bad_input_is_named_before_the_first_step(tmp_path):
    preset = ["--preset", "miniature", "--model", "miniature", "--device", "cpu"]
    sized = ["--pixel-size-um", "1.04"]
    with pytest.raises(InputError, match="unknown key stepz"):
        run(tmp_path, *preset, "--set", "stepz=3", "--set", "seed=1")
    with pytest.raises(InputError, match="KEY=VALUE"):
        run(tmp_path, *preset, "--set", "steps")
    with pytest.raises(InputError, match="steps is set twice, to 100 and to 200"):
        run(tmp_path, *preset, "--set", "steps=100", "rank=2", "--set", "steps=200")
    with pytest.raises(InputError, match="Name the model"):
        run(tmp_path, "--preset", "miniature")
    with pytest.raises(InputError, match="--pixel-size-um"):
        run(tmp_path, *preset, "--data", str(folder(tmp_path / "plain")))
    with pytest.raises(InputError, match="'Martian'"):
        run(tmp_path, *preset, *sized, "--data", str(folder(tmp_path / "cohort", cohort="Martian")))
    with pytest.raises(InputError, match="no data set folder"):
        run(tmp_path, *preset, *sized, "--data", str(tmp_path / "absent"))
    with pytest.raises(InputError, match="--appearance is of phantoms"):
        run(tmp_path, *preset, *sized, "--data", str(folder(tmp_path / "looks")), "--appearance", "common")
    with pytest.raises(InputError, match=r"Phantoms have 1\.0417 µm a pixel: leave out --pixel-size-um"):
        run(tmp_path, *preset, *sized, "--data", "phantoms:2")
    ignored = ["--variant", "2511", "--vae", "nope"]
    with pytest.raises(InputError, match="--model miniature has parts of its own: leave out --vae, --variant"):
        run(tmp_path, *preset, *ignored)
    with pytest.raises(InputError, match="takes a number"):
        run(tmp_path, *preset, "--data", "phantoms:many")
    with pytest.raises(InputError, match="same grid"):
        run(tmp_path, *preset, *sized, "--data", str(folder(tmp_path / "sizes", mask_size=32)), "--set", "size=64")
    other = tmp_path / "other.safetensors"
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(4, 4)}, other)
    with pytest.raises(InputError, match=r"other\.safetensors is not a Qwen-Image-Edit transformer: it holds"):
        run(
            tmp_path,
            "--preset",
            "miniature",
            "--transformer",
            str(other),
            "--text-encoder",
            str(other),
            "--vae",
            str(other),
        )
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_a_device_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no device 'gpu'"):
        run(tmp_path, "--preset", "miniature", "--model", "miniature", "--device", "gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_refused(tmp_path):
    with pytest.raises(InputError, match="CUDA"):
        run(tmp_path, "--preset", "miniature", "--model", "miniature", "--device", "cuda")


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
    learned, _ = map(pair_references, split_by_patient(examples, config.validation_share, config.seed))
    model = ModelSource("miniature").load("fp32", "cpu")
    store = Cache(cache)
    views = Preparer(model, store, config, learned).prepare(learned, config.views, "encoding")
    run = FineTune(config, model, views, store, tmp_path / "one", None, Accelerator(cpu=True))
    order = list(islice(batches(views, 1, config.seed), 6))
    for step in range(3):
        for group in run.optimiser.param_groups:
            group["lr"] = config.learning_rate * learning_rate_factor(step, config)
        for rank in range(2):
            entropy = np.random.SeedSequence([config.seed, step, 0, rank]).generate_state(1, np.uint64)[0]
            generator = torch.Generator().manual_seed(int(entropy >> 1))
            batch = run._batch(order[2 * step + rank], generator)
            (batch_loss(run.transformer, batch, config, generator) / 2).backward()
        torch.nn.utils.clip_grad_norm_(run.parameters.values(), config.max_grad_norm)
        run.optimiser.step()
        run.optimiser.zero_grad()
    state = load_file(max((tmp_path / "two" / "checkpoints").iterdir()) / "parameters.safetensors")
    assert all(torch.allclose(state[name], value, atol=1e-6) for name, value in run.parameters.items())
    assert len(list((tmp_path / "two" / "tensorboard").iterdir())) == 1

    # Killed after its second step and resumed by two processes, it ends where it ended.
    shutil.rmtree(max((tmp_path / "two" / "checkpoints").iterdir()))
    again = subprocess.run([*command_line, "--resume"], capture_output=True, text=True, timeout=300, env=single)
    assert again.returncode == 0, again.stderr[-2000:]
    resumed = load_file(max((tmp_path / "two" / "checkpoints").iterdir()) / "parameters.safetensors")
    assert state.keys() == resumed.keys() and all(torch.equal(state[name], resumed[name]) for name in state)
    assert max(float(value.detach().abs().max()) for name, value in run.parameters.items() if "lora_B" in name) > 1e-4
