"""The fine-tune on the miniature: what it writes, and that its steps are those that were asked for."""

import dataclasses
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from tests.training.runs import SMALL, job
from training.adaptation import prepare_transformer
from training.cache import Cache
from training.config import load_preset
from training.examples import pair_references, phantom_examples
from training.loop import Diverged, FineTune
from training.models import ModelSource
from training.objective import batch_loss
from training.optimiser import learning_rate_factor
from training.pipeline import finetune
from training.prepare import Preparer, batches
from wdlora.adapter import Adapter
from wdlora.qwen.denoiser import velocity
from wdlora.qwen.encode import Conditioning
from wdlora.qwen.patch import apply_adapter


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
    assert [record.message.split(":")[0] for record in caplog.records if record.name == "training.sides"] == [
        "Nobody is kept for validation, by the split or for want of patients"
    ] * warnings
    assert "validation_loss" not in (tmp_path / "out" / "log.jsonl").read_text()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "No patients were kept for validation." in card and "nan" not in card and "sheets/" not in card


@pytest.mark.slow
def test_a_run_that_ends_within_its_warm_up_is_told(cache, tmp_path, caplog):
    one = job(tmp_path / "out", cache, steps=1, warmup_steps=2, validation_share=0)
    assert finetune(dataclasses.replace(one, data="phantoms:1"))["finished"]
    (warning,) = [record.message for record in caplog.records if "warm-up of 2 steps" in record.message]
    assert "ends after 1:" in warning


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
    trained = ModelSource("miniature").load("fp32", "cpu", ("transformer",)).transformer
    prepare_transformer(trained, load_preset("miniature", SMALL))
    missing = trained.load_state_dict(averaged, strict=False)
    assert not missing.unexpected_keys
    assert (applied - before).abs().max() > 1e-4
    assert torch.allclose(applied, output(trained), atol=1e-5)


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


@pytest.mark.slow
@pytest.mark.parametrize("clipped", [1.0, 0.0])
def test_a_gradient_that_is_no_number_changes_nothing(cache, tmp_path, clipped):
    config = load_preset("miniature", SMALL | {"max_grad_norm": clipped})
    model, views = prepared(cache, config)
    run = FineTune(config, model, views, Cache(cache), tmp_path, None, Accelerator(cpu=True))
    poisoned = next(iter(run.parameters.values()))
    poisoned.register_hook(lambda gradient: gradient * float("nan"))
    before = {key: value.detach().clone() for key, value in run.parameters.items()}
    with pytest.raises(Diverged, match="gradient's norm nan"):
        run.advance(run.stream())
    assert run.step == 0 and all(torch.equal(value, before[key]) for key, value in run.parameters.items())


@pytest.mark.slow
@pytest.mark.parametrize("rate", [1e8, 1e30])
def test_weights_that_leave_every_size_end_the_run_before_anything_is_saved(cache, tmp_path, rate):
    """Eq. 6 divides by the norm, so that the loss of weights of 1e30 can be finite."""
    config = load_preset("miniature", SMALL | {"learning_rate": rate, "warmup_steps": 1, "save_every": 1})
    model, views = prepared(cache, config)
    run = FineTune(config, model, views, Cache(cache), tmp_path, None, Accelerator(cpu=True))
    with pytest.raises(Diverged, match=r"At step 1 a weight of the adapter has grown to .*; lower learning_rate"):
        run.run()
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.slow
def test_a_judgement_that_is_no_number_ends_the_run(cache, tmp_path):
    class Monitor:
        def judge(self, step, watch):
            return {"validation_loss": float("nan")}

    config = load_preset("miniature", SMALL)
    model, views = prepared(cache, config)
    run = FineTune(config, model, views, Cache(cache), tmp_path, Monitor(), Accelerator(cpu=True))
    with pytest.raises(Diverged, match=r"After step 0 the validation loss is nan"):
        run.run()
