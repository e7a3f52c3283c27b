"""The examples in docstrings are true."""

import doctest
import importlib

import pytest
import torch

from wdlora.adapter import Adapter

MODULES = (
    "wdlora.decomposition",
    "wdlora.adapter.file",
    "wdlora.anatomy.biomarkers.panel",
    "wdlora.anatomy.masks.sampler",
    "wdlora.anatomy.phantoms.phantom",
    "wdlora.anatomy.tracing.tracer",
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_docstring(name, tmp_path, monkeypatch):
    """They run where a user's adapter lies."""
    layer = "transformer.transformer_blocks.0.attn.to_q"
    tensors = {f"{layer}.lora_A.weight": torch.ones(2, 8), f"{layer}.lora_B.weight": torch.ones(8, 2)}
    tensors[f"{layer}.lora_magnitude_vector"] = torch.ones(8)
    Adapter.from_tensors(tensors, {"r": 2, "lora_alpha": 2, "use_dora": True}).save(tmp_path / "ccm.safetensors")
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted >= 3 and not found.failed
