"""Storage and offload modes give the picture of the plain model."""

import dataclasses

import numpy as np
import pytest
import torch

from wdlora.errors import InputError
from wdlora.qwen.generate import generate
from wdlora.qwen.loading import load
from wdlora.qwen.memory import execution_device, pick_device, pick_dtype
from wdlora.qwen.sampling import Sampling
from wdlora.weights.linear import Float8Linear

PAINTED = {"prompt": "X", "seed": 3, "sampling": Sampling(2, 2.0)}


@pytest.fixture(scope="module")
def plain(files, mask):
    return generate(load(files.diffusers), mask, **PAINTED)


@pytest.mark.parametrize("offload", ["model", "block"])
def test_offloading_changes_nothing(files, mask, plain, offload):
    model = load(files.diffusers, offload=offload)
    assert np.array_equal(generate(model, mask, **PAINTED), plain)
    assert np.array_equal(generate(model, mask, **PAINTED), plain)  # every part found its way back
    assert execution_device(model.transformer) == torch.device("cpu")


@pytest.mark.parametrize(("storage", "closeness"), [("fp8", 3.0), ("nf4", 12.0)])
def test_quantised_storage_stays_close(files, mask, plain, storage, closeness):
    """Mean difference in grey levels; the model is random, so its picture reacts strongly."""
    model = load(files.diffusers, storage=storage)
    image = generate(model, mask, **PAINTED)
    difference = float(np.abs(image.astype(float) - plain.astype(float)).mean())
    assert 0 < difference < closeness


def test_fp8_storage_halves_the_blocks(files):
    full, small = (load(files.diffusers, storage=storage, dtype=torch.bfloat16) for storage in ("full", "fp8"))

    def size(model):
        blocks = model.transformer.transformer_blocks
        assert not list(blocks.buffers())  # diffusers' streams would leave those on the card
        return sum(t.nbytes for t in blocks.parameters())

    assert isinstance(small.transformer.transformer_blocks[0].attn.to_q, Float8Linear)
    assert size(small) < 0.58 * size(full)  # bytes, scales and the biases that stay in full
    assert type(small.transformer.proj_out) is torch.nn.Linear


def test_offload_combined_with_storage(files, mask):
    fp8 = generate(load(files.diffusers, storage="fp8"), mask, **PAINTED)
    assert np.array_equal(generate(load(files.diffusers, storage="fp8", offload="block"), mask, **PAINTED), fp8)
    nf4 = generate(load(files.diffusers, storage="nf4"), mask, **PAINTED)
    assert np.array_equal(generate(load(files.diffusers, storage="nf4", offload="model"), mask, **PAINTED), nf4)
    with pytest.raises(InputError, match="nf4 storage cannot be streamed"):
        load(files.diffusers, storage="nf4", offload="block")


def test_choices():
    cpu = torch.device("cpu")
    assert pick_device("cpu") == cpu
    for name in ("gpu", "cuda:x"):
        with pytest.raises(InputError, match=f"there is no device '{name}'"):
            pick_device(name)
    with pytest.raises(InputError, match="there is no device meta here"):
        pick_device("meta")
    assert pick_dtype(None, cpu) == torch.float32
    assert pick_dtype(None, torch.device("cuda")) == torch.bfloat16
    assert pick_dtype(torch.float16, cpu) == torch.float16


def test_a_card_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pick_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(InputError, match="there is no device cuda:7: PyTorch finds 1 CUDA devices"):
        pick_device("cuda:7")


def test_bfloat16_paints(files, mask, plain):
    image = generate(load(files.diffusers, dtype=torch.bfloat16), mask, **PAINTED)
    assert image.shape == plain.shape
    assert np.abs(image.astype(float) - plain.astype(float)).mean() < 3.0


def test_a_model_is_a_plain_record(files):
    model = load(files.diffusers)
    assert {f.name for f in dataclasses.fields(model)} >= {"transformer", "text_encoder", "vae", "tokenizer"}
