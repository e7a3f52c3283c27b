"""The layer among what training puts around it: other adapters, checkpointing, autocast, the compiler."""

import copy

import peft
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.layer.small_layers import (
    agree,
    config,
    data,
    outcome,
    parts,
    reference,
    small,
    train_a_little,
)
from wdlora.errors import InputError
from wdlora.layer import inject


@pytest.mark.parametrize("use_dora", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_dropout_and_several_adapters_as_in_peft(dropout, use_dora):
    """The same seed and weights through peft's own layers: 1e-6 in float32, one after the other and together."""
    ours, theirs = small(), small()
    for name in ("one", "two"):
        inject(ours, config(use_dora, lora_dropout=dropout), name)
        peft.inject_adapter_in_model(config(use_dora, lora_dropout=dropout), theirs, name)
        train_a_little(ours, name, seed=len(name + name[0]) + ord(name[0]))
    theirs[0].load_state_dict(ours[0].state_dict())
    x, _ = data()
    for active in (["one"], ["two"], ["one", "two"]):
        ours[0].set_adapter(active)
        theirs[0].set_adapter(active)
        torch.manual_seed(0)
        found = ours(x)
        torch.manual_seed(0)
        torch.testing.assert_close(found, theirs(x), rtol=1e-5, atol=2e-6)
    for model in (ours, theirs):
        model[0].set_scale("two", 0.25)
    torch.manual_seed(0)
    found = ours(x)
    torch.manual_seed(0)
    torch.testing.assert_close(found, theirs(x), rtol=1e-5, atol=2e-6)
    ours[0].enable_adapters(False)
    torch.testing.assert_close(ours(x), small()(x), rtol=0, atol=0)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_gradient_checkpointing_changes_nothing(use_reentrant):
    model = inject(small(), config())
    train_a_little(model)
    x, dy = data()
    expected = outcome(model, x, dy)
    model.zero_grad()
    x = x.clone().requires_grad_()
    y = checkpoint(model, x, use_reentrant=use_reentrant)
    y.backward(dy)
    a, b, m, _ = parts(model[0])
    for found, one in zip((y, x.grad, a.grad, b.grad, m.grad), expected, strict=True):
        assert torch.equal(found, one)


def test_autocast_is_bfloat16_around_a_float32_norm():
    model = inject(small(), config())
    x, dy = data()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(x), small()(x))
    train_a_little(model)
    expected = reference(model[0], x, dy)
    leaf = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = model(leaf)
        assert y.dtype == torch.bfloat16
        gain = model[0].lora_variant["default"].gain(model[0], "default")
    assert gain.dtype == torch.float32
    y.backward(dy.bfloat16())
    a, b, m, _ = parts(model[0])
    agree([y.detach(), leaf.grad, a.grad, b.grad, m.grad], expected, 2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("dtype, backend", [(torch.float32, "inductor"), (torch.bfloat16, "aot_eager")], ids=str)
def test_compiled_without_a_graph_break(dtype, backend):
    model = inject(small(dtype), config())
    train_a_little(model)
    x, dy = data(dtype)
    expected = outcome(model, x, dy)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    model.zero_grad()
    leaf = x.clone().requires_grad_()
    y = compiled(leaf)
    y.backward(dy)
    a, b, m, _ = parts(model[0])
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    agree([y.detach(), leaf.grad, a.grad, b.grad, m.grad], [e.double() for e in expected], tolerance)


def test_the_norm_follows_a_base_that_is_replaced():
    """‖W‖² is kept, but not longer than W: after loading, casting or writing, the gain is that of the new weight."""
    model = inject(small(), config())
    train_a_little(model)
    x, dy = data()
    model(x)
    model[0].get_base_layer().load_state_dict({k: 2 * v for k, v in small()[0].state_dict().items()})
    agree(outcome(model, x, dy), reference(model[0], x, dy), 2e-6)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(x), model(x))


def test_what_cannot_be_adapted_is_named():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Linear(4, 4))
    with pytest.raises(InputError, match=r"0 \(Conv2d\)"):
        inject(model, config(False))
    with pytest.raises(InputError, match="already carry adapters"):
        inject(peft.inject_adapter_in_model(config(), small()), config(), "other")
    with pytest.raises(InputError, match="already has an adapter named 'default'"):
        inject(inject(small(), config()), config())
    for name, value in (
        ("bias", "all"),
        ("init_lora_weights", "pissa"),
        ("modules_to_save", ["1"]),
        ("target_parameters", ["0.weight"]),
    ):
        with pytest.raises(InputError, match=name):
            inject(small(), config(use_dora=False, **{name: value}))
    mixed = nn.Sequential(nn.Linear(128, 8), nn.Conv2d(3, 3, 3)).requires_grad_(False)
    both = peft.LoraConfig(r=2, target_modules=["0", "1"])
    with pytest.raises(InputError, match=r"only linear layers can be adapted, but the targets include 1 \(Conv2d\)"):
        inject(mixed, both)
    inject(mixed, peft.LoraConfig(r=2, target_modules=["0"]))  # nothing was left behind
    with pytest.raises(InputError, match="lora_bias"):
        inject(small(), config(lora_bias=True, use_dora=False))
    with pytest.raises(InputError, match="LoraConfig"):
        inject(small(), peft.IA3Config(target_modules=["0"], feedforward_modules=[]))
