"""A run that starts from an adapter, one that goes on with other steps, and what is taken out of a checkpoint."""

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from tests.training.runs import job
from training.models import ModelSource
from training.pipeline import finetune
from training.record import plans_of
from training.starting import split_beside
from wdlora.adapter import Adapter
from wdlora.cli import main
from wdlora.dataset.split import read_split, write_split
from wdlora.errors import InputError


def judged(out):
    return {
        line["step"]: line["validation_loss"]
        for line in map(json.loads, (out / "log.jsonl").read_text().splitlines())
        if "validation_loss" in line
    }


def started(out, cache, adapter, **changes):
    return dataclasses.replace(job(out, cache, **changes), init_adapter=adapter)


@pytest.fixture(scope="module")
def plain(cache, tmp_path_factory):
    """A plain LoRA of a few steps, scaled by 1/2."""
    out = tmp_path_factory.mktemp("plain") / "out"
    finetune(job(out, cache, method="lora", alpha=1, learning_rate=0.02))
    return out


@pytest.mark.slow
def test_the_first_picture_is_the_files(finished, cache, tmp_path):
    """The validation loss before the first step is that after the last step of the other run, to the bit."""
    out, _ = finished
    for name, start in (("file", out / "adapter.safetensors"), ("checkpoint", out / "checkpoints" / "step-000006")):
        finetune(started(tmp_path / name, cache, start, steps=1, warmup_steps=0, ema_decay=0))
        assert judged(tmp_path / name)[0] == judged(out)[6] != judged(out)[0]
        assert judged(tmp_path / name)[1] != judged(out)[6]
    assert "Begun from: adapter.safetensors, SHA-256" in (tmp_path / "file" / "README.md").read_text()


@pytest.mark.slow
def test_a_plain_lora_becomes_weight_decomposed_with_the_same_picture(plain, cache, tmp_path):
    """m = ‖W₀ + sBA‖ beside torch's own norm: 1e-6. The losses are sums of float32 in another order: 1e-5."""
    out = tmp_path / "out"
    finetune(
        started(out, cache, plain / "adapter.safetensors", steps=1, warmup_steps=0, learning_rate=1e-9, ema_decay=0)
    )
    assert judged(out)[0] == pytest.approx(judged(plain)[6], rel=1e-5)
    assert judged(out)[0] != pytest.approx(judged(plain)[0], rel=1e-5)
    base = ModelSource("miniature").load("fp32", "cpu", ("transformer",)).transformer
    found, given = Adapter.load(out / "adapter.safetensors"), Adapter.load(plain / "adapter.safetensors")
    assert {layer.scaling for layer in given.layers.values()} == {0.5}
    for name, layer in given.layers.items():
        changed = base.get_submodule(name).weight + layer.scaling * layer.lora_b @ layer.lora_a
        own = found.layers[name]
        assert torch.allclose(own.magnitude, torch.linalg.vector_norm(changed, dim=1), rtol=1e-6)
        assert torch.allclose(own.scaling * own.lora_b @ own.lora_a, 0.5 * layer.lora_b @ layer.lora_a, atol=1e-7)


@pytest.mark.slow
def test_what_does_not_fit_is_refused_in_a_sentence(finished, plain, cache, tmp_path):
    trained = finished[0] / "adapter.safetensors"
    for changes, sentence in (
        ({"rank": 4}, r"has rank 2 in .* and this run 4: set rank=2, or start again"),
        ({"targets": "attention"}, r"adapts other layers than this run: \d+ differ, .* in the adapter alone"),
        ({"method": "lora"}, "has magnitudes, which a plain LoRA does not hold: train with method=wdlora"),
    ):
        with pytest.raises(InputError, match=sentence):
            finetune(started(tmp_path / "out", cache, trained, **changes))
    with pytest.raises(InputError, match=r"absent\.safetensors does not exist"):
        finetune(started(tmp_path / "early", tmp_path / "nothing", tmp_path / "absent.safetensors"))
    with pytest.raises(InputError, match=r"has rank 2 in .* and this run 4"):
        finetune(started(tmp_path / "early", tmp_path / "nothing", trained, rank=4))
    assert not (tmp_path / "early").exists() and not (tmp_path / "nothing").exists()  # before anything is encoded
    copied = tmp_path / "copied"
    shutil.copytree(finished[0], copied)
    with pytest.raises(InputError, match=r"was not begun from .* leave out --init-adapter to continue"):
        finetune(started(copied, cache, plain / "adapter.safetensors", resume=True))


@pytest.mark.slow
def test_killed_before_its_first_checkpoint_it_must_be_told_again_where_it_began(finished, cache, tmp_path):
    out, trained = tmp_path / "out", finished[0] / "adapter.safetensors"
    finetune(started(out, cache, trained, steps=2))
    whole = load_file(out / "adapter.safetensors")
    shutil.rmtree(out / "checkpoints")
    with pytest.raises(InputError, match=r"begun from adapter\.safetensors and has no checkpoint yet: name it again"):
        finetune(job(out, cache, resume=True, steps=2))
    finetune(started(out, cache, trained, resume=True, steps=2))
    again = load_file(out / "adapter.safetensors")
    assert whole.keys() == again.keys() and all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.slow
def test_steps_may_change_where_a_run_goes_on(finished, cache, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    assert finetune(job(out, cache, resume=True, steps=9))["step"] == 9
    assert max(judged(out)) == 9 and plans_of(out) in (out / "README.md").read_text()
    assert "6 from step 0 on, 9 from step 6 on" in plans_of(out)
    with pytest.raises(InputError, match="is at step 9 already: set steps to more than 7"):
        finetune(job(out, cache, resume=True, steps=7))


@pytest.mark.slow
def test_an_adapter_is_taken_out_of_a_checkpoint_with_its_alpha(plain, finished, tmp_path):
    for run, alpha in ((plain, 1.0), (finished[0], 2.0)):
        place = sorted((run / "checkpoints").iterdir())[-2]
        assert {"adapter.safetensors", "adapter_not_averaged.safetensors"} <= {file.name for file in place.iterdir()}
        assert main(["convert", str(place), str(tmp_path / f"{alpha}.safetensors")]) == 0
        taken = Adapter.load(tmp_path / f"{alpha}.safetensors")
        assert {layer.alpha for layer in taken.layers.values()} == {alpha}
        state = load_file(place / "parameters.safetensors")
        last = Adapter.load(place / "adapter_not_averaged.safetensors")
        for name, layer in taken.layers.items():
            assert torch.equal(layer.lora_b, state[f"average/{name}.lora_B.default.weight"])
            assert torch.equal(last.layers[name].lora_b, state[f"{name}.lora_B.default.weight"])


@pytest.mark.slow
def test_who_was_held_out_of_the_first_run_is_held_out_of_the_next(finished, cache, tmp_path):
    out, trained = finished[0], finished[0] / "adapter.safetensors"
    first = read_split(out / "split.csv")
    assert split_beside(out / "checkpoints" / "step-000006") == split_beside(trained) == out / "split.csv"
    finetune(started(tmp_path / "out", cache, trained, steps=1, warmup_steps=0))
    assert read_split(tmp_path / "out" / "split.csv") == first
    write_split(tmp_path / "other.csv", {name: "test" if part == "train" else "train" for name, part in first.items()})
    other = dataclasses.replace(started(tmp_path / "two", cache, trained, steps=1), split=tmp_path / "other.csv")
    with pytest.raises(InputError, match="correct one of them"):
        finetune(other)
