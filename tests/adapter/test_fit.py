"""Which layers of an adapter a model has, and what is said of another base."""

import pytest
import torch
from safetensors.torch import save_file

from wdlora.adapter import Adapter, AdapterLayer
from wdlora.adapter.fit import BASE_SAMPLE, base_sentence, fitting
from wdlora.errors import InputError

NAMES = [f"transformer_blocks.{i}.attn.to_q" for i in range(3 * BASE_SAMPLE)]


@pytest.fixture
def base():
    generator = torch.Generator().manual_seed(0)
    return {f"{name}.weight": torch.randn(8, 6, generator=generator) for name in NAMES}


def adapter_for(names):
    return Adapter({name: AdapterLayer(torch.ones(1, 6), torch.ones(8, 1)) for name in names})


def test_layers_that_the_model_lacks_are_left_out():
    adapter = adapter_for(NAMES[:3])
    adapter.row_norms = {name: torch.ones(8) for name in NAMES[:2]}
    fitted, unmatched = fitting(adapter, {NAMES[0]: (8, 6), NAMES[2]: torch.Size((8, 6))}.get, "small")
    assert list(fitted.layers) == [NAMES[0], NAMES[2]] and unmatched == (NAMES[1],)
    assert list(fitted.row_norms) == [NAMES[0]] and len(adapter.layers) == 3
    fitted, _ = fitting(adapter, {NAMES[2]: (8, 6)}.get, "small")
    assert fitted.row_norms is None


def test_another_model_is_named():
    adapter = adapter_for(NAMES[:2])
    with pytest.raises(InputError, match=f"small has none of its layers .such as {NAMES[0]}"):
        fitting(adapter, lambda name: None, "small")
    with pytest.raises(InputError, match=f"its layer {NAMES[1]} is .8, 6., that of small is .6, 8."):
        fitting(adapter, {NAMES[0]: (8, 6), NAMES[1]: (6, 8)}.get, "small")


@pytest.mark.parametrize("norms", [True, False], ids=["row norms", "hash alone"])
def test_the_own_base_needs_no_words_and_another_is_said(base, tmp_path, norms):
    save_file(base, tmp_path / "own.safetensors")
    save_file({name: 1.1 * weight for name, weight in base.items()}, tmp_path / "other.safetensors")
    adapter = adapter_for(NAMES)
    assert base_sentence(adapter, str(tmp_path / "other.safetensors")) == ""  # nothing is known
    adapter.record_base(tmp_path / "own.safetensors")
    if not norms:
        adapter.row_norms = None
    assert base_sentence(adapter, str(tmp_path / "own.safetensors")) == base_sentence(adapter, None) == ""
    sentence = base_sentence(adapter, str(tmp_path / "other.safetensors"))
    assert ("row norms differ by 10 %" if norms else "cannot be compared") in sentence
    assert len(adapter.layers) == len(NAMES)
