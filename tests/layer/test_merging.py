"""Merging the adapter into its base, and out of it again."""

import peft
import pytest
import torch

from tests.layer.small_layers import config, data, parts, small, train_a_little
from wdlora.decomposition import compose
from wdlora.errors import InputError
from wdlora.layer import inject


@pytest.mark.parametrize("use_dora", [True, False])
@pytest.mark.parametrize("storage, tolerance", [("float64", 1e-13), ("float32", 2e-6), ("bfloat16", 1e-2)])
def test_merged_equals_unmerged(storage, tolerance, use_dora):
    """Two adapters, merged with and without peft's safety copy, and taken out again."""
    model = small(getattr(torch, storage))
    original = model[0].weight.clone()
    for name in ("one", "two"):
        inject(model, config(use_dora), name)
        train_a_little(model, name, seed=ord(name[0]))
    module = model[0]
    module.set_adapter(["one", "two"])
    x, _ = data(original.dtype)
    expected = model(x).double()
    for safe in (False, True):
        module.merge(safe_merge=safe)
        assert (model(x).double() - expected).norm() <= tolerance * expected.norm()
        module.unmerge()
        assert (module.get_base_layer().weight - original).norm() <= tolerance * original.norm()
        assert (model(x).double() - expected).norm() <= 3 * tolerance * expected.norm()


def test_merging_one_adapter_is_compose():
    model = inject(small(torch.bfloat16), config())
    train_a_little(model)
    expected = compose(model[0].get_base_layer().weight.data, *parts(model[0]))
    model[0].merge()
    assert torch.equal(model[0].get_base_layer().weight, expected)


@pytest.mark.parametrize("storage", ["nf4", "int8"])
def test_merging_into_a_quantised_base(storage):
    """As near as peft's requantisation allows: the merged weight is compose()'s, quantised again."""
    model = inject(small(storage=storage), config())
    train_a_little(model)
    base = model[0].get_base_layer()
    weight = peft.utils.integrations.dequantize_module_weight(base).float()
    expected = compose(weight, *parts(model[0]))
    model[0].merge()
    merged = peft.utils.integrations.dequantize_module_weight(model[0].get_base_layer()).float()
    assert (merged - expected).norm() <= (0.12 if storage == "nf4" else 0.01) * expected.norm()


def test_a_row_erased_by_its_magnitude_is_not_silently_lost():
    model = inject(small(), config())
    with torch.no_grad():
        parts(model[0])[2][3] = 0.0
    model[0].merge()
    with pytest.raises(InputError, match="1 of its magnitudes are 0"):
        model[0].unmerge()
