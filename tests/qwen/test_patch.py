"""Adapters on a transformer: exact, stackable, removable."""

from types import SimpleNamespace

import pytest
import torch

from wdlora.adapter.layer import AdapterLayer
from wdlora.errors import InputError
from wdlora.qwen.checkpoint import Checkpoint
from wdlora.qwen.patch import AdapterStack, apply_adapter, stacked
from wdlora.qwen.plans import plan_transformer
from wdlora.weights.linear import dequantised

CPU = torch.device("cpu")
NAMES = ["transformer_blocks.0.attn.to_q", "transformer_blocks.1.img_mlp.net.2"]


def adapter(model, seed, *, decomposed=True, axis="output", names=NAMES, rank=4):
    """An adapter of usual size: ‖BA‖ ≈ .05 ‖W‖, magnitudes 10 % off."""
    generator = torch.Generator().manual_seed(seed)
    layers = {}
    for name in names:
        weight = dequantised(model.get_submodule(name)).float()
        out, width = weight.shape
        a = torch.randn(rank, width, generator=generator)
        b = torch.randn(out, rank, generator=generator)
        b *= 0.05 * weight.norm() / (b @ a).norm()
        norms = weight.norm(dim=1 if axis == "output" else 0)
        magnitude = norms * (1 + 0.1 * torch.randn(norms.shape, generator=generator)) if decomposed else None
        layers[name] = AdapterLayer(a, b / 0.5, magnitude, 0.5, axis)
    return SimpleNamespace(layers=layers)


def equation_six(weight, layer, d=1.0, k=1.0):
    """W' = g ∘ (W + d·sBA) in float64, written down from the paper."""
    w = weight.double()
    v = w + d * layer.scaling * layer.lora_b.double() @ layer.lora_a.double()
    if layer.magnitude is None:
        return v
    dim = 1 if layer.axis == "output" else 0
    m0 = w.norm(dim=dim, keepdim=True)
    m = m0 + k * (layer.magnitude.double().unsqueeze(dim) - m0)
    return m / v.norm(dim=dim, keepdim=True) * v


def load(files, storage="full", dtype=torch.float32):
    return plan_transformer(Checkpoint(files.transformer), storage=storage).fill(CPU, dtype)


def answer(model, name, x):
    with torch.no_grad():
        return model.get_submodule(name)(x)


@pytest.mark.parametrize(("d", "k"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.3), (-0.5, 1.7), (0.0, 1.0)])
@pytest.mark.parametrize("axis", ["output", "input"])
def test_equation_six_at_every_strength(files, d, k, axis):
    model = load(files)
    one = adapter(model, 0, axis=axis)
    before = {name: model.get_submodule(name).weight.clone() for name in NAMES}
    apply_adapter(model, one, d, k)
    for name, layer in one.layers.items():
        wanted = equation_six(before[name], layer, d, k)
        error = (model.get_submodule(name).weight.double() - wanted).norm()
        assert float(error / (wanted - before[name].double()).norm()) < 3e-6  # fp32, against the update


def test_plain_lora(files):
    model = load(files)
    one = adapter(model, 0, decomposed=False)
    weight = model.get_submodule(NAMES[0]).weight.clone()
    apply_adapter(model, one, 0.7)
    wanted = equation_six(weight, one.layers[NAMES[0]], 0.7)
    assert torch.allclose(model.get_submodule(NAMES[0]).weight, wanted.float(), atol=1e-7)


def test_stack_keeps_the_gain_of_the_pristine_base(files):
    """g ∘ (W + U + sBA) with g from W alone: a LoRA below is scaled, not erased."""
    model = load(files)
    weight = model.get_submodule(NAMES[0]).weight.clone()
    below, above = adapter(model, 1, decomposed=False), adapter(model, 2)
    apply_adapter(model, below)
    apply_adapter(model, above)
    plain, wd = below.layers[NAMES[0]], above.layers[NAMES[0]]
    w = weight.double()
    update = plain.scaling * plain.lora_b.double() @ plain.lora_a.double()
    v = w + wd.scaling * wd.lora_b.double() @ wd.lora_a.double()
    gain = wd.magnitude.double()[:, None] / v.norm(dim=1, keepdim=True)
    wanted = gain * (v + update)
    error = (model.get_submodule(NAMES[0]).weight.double() - wanted).norm() / (wanted - w).norm()
    assert float(error) < 3e-6  # fp32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("storage", ["full", "fp8", "nf4"])
def test_detached_bit_for_bit_in_any_order(files, dtype, storage):
    model = load(files, storage, dtype)
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items() if tensor is not None}
    x = torch.randn(3, 96).to(dtype)
    before = answer(model, NAMES[0], x)
    one, two = adapter(model, 1), adapter(model, 2, decomposed=False)
    first = apply_adapter(model, one)
    second = apply_adapter(model, two)
    both = answer(model, NAMES[0], x)
    first.detach()
    alone = answer(model, NAMES[0], x)
    second.detach()
    assert torch.equal(answer(model, NAMES[0], x), before)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in fresh.items())
    assert not torch.equal(both, alone)
    assert not torch.equal(alone, before)
    with pytest.raises(InputError, match="not applied"):
        first.detach()
    other = load(files, storage, dtype)
    apply_adapter(other, two)
    assert torch.equal(answer(other, NAMES[0], x), alone)


@pytest.mark.parametrize("storage", ["fp8", "nf4"])
@pytest.mark.parametrize("axis", ["output", "input"])
def test_on_the_fly_equals_the_patched_weight(files, storage, axis):
    """Quantised storage: the update is exact, measured against itself, where a re-rounded patch loses it."""
    model = load(files, storage)
    terms = [(adapter(model, 1, decomposed=False), 1.0, 1.0), (adapter(model, 2, axis=axis), 0.8, 1.2)]
    terms.append((adapter(model, 3), 1.0, 1.0))
    name = NAMES[1]
    module = model.get_submodule(name)
    base = dequantised(module)
    x = torch.randn(5, module.in_features)
    plain = answer(model, name, x)
    for one, d, k in terms:
        AdapterStack.of(model).add(one, d, k)
    weight = stacked(base, [(one.layers[name], d, k) for one, d, k in terms])
    wanted = torch.nn.functional.linear(x, weight, module.bias)
    error = (answer(model, name, x) - wanted).norm() / (wanted - plain).norm()
    assert float(error) < 1e-4  # fp32 activations; nf4's own product differs by 1e-6 of the output
    AdapterStack.of(model).clear()
    assert torch.equal(answer(model, name, x), plain)


def test_a_patch_of_bfloat16_is_rounded_once(files):
    model = load(files, dtype=torch.bfloat16)
    one = adapter(model, 0)
    layer = model.get_submodule(NAMES[0])
    wanted = equation_six(layer.weight.clone(), one.layers[NAMES[0]]).bfloat16()
    apply_adapter(model, one)
    differing = (layer.weight != wanted).float().mean()
    assert float(differing) < 1e-3  # float32 against float64 before the one rounding


@pytest.mark.parametrize("storage", ["full", "fp8", "nf4"])
def test_what_is_trained_is_what_is_painted(files, storage):
    """The trainable layer's output equals that of its factors applied here, on every storage."""
    import peft

    from wdlora.layer import inject

    trained, painted = load(files, storage), load(files, storage)
    name = NAMES[0]
    x = torch.randn(5, 96)
    base = answer(trained, name, x)
    inject(trained, peft.LoraConfig(r=4, target_modules=["to_q"], use_dora=True))
    layer = trained.get_submodule(name)
    assert torch.equal(layer(x), base)
    a, b, m = (layer.lora_A.default.weight, layer.lora_B.default.weight, layer.lora_magnitude_vector.default.weight)
    with torch.no_grad():
        b.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
        m.mul_(1.1)
    wanted = answer(trained, name, x)
    factors = AdapterLayer(a.detach(), b.detach(), m.detach(), layer.scaling["default"])
    apply_adapter(painted, SimpleNamespace(layers={name: factors}))
    error = (answer(painted, name, x) - wanted).norm() / (wanted - base).norm()
    assert float(error) < 3e-6  # fp32, against the update


def test_strengths_zero_are_the_base(files):
    for storage in ("full", "fp8"):
        model = load(files, storage)
        x = torch.randn(3, 96)
        before = answer(model, NAMES[0], x)
        apply_adapter(model, adapter(model, 0), 0.0, 0.0)
        assert torch.equal(answer(model, NAMES[0], x), before)


def test_adapters_of_other_models_are_refused_untouched(files):
    model = load(files)
    before = model.get_submodule(NAMES[0]).weight.clone()
    for change, message in [
        ({"transformer_blocks.9.attn.to_q": AdapterLayer(torch.ones(1, 96), torch.ones(96, 1))}, "does not have"),
        ({NAMES[1]: AdapterLayer(torch.ones(1, 96), torch.ones(96, 1))}, "fits another model"),
        ({"transformer_blocks.0": AdapterLayer(torch.ones(1, 96), torch.ones(96, 1))}, "cannot take an adapter"),
    ]:
        bad = adapter(model, 0)
        bad.layers |= change
        with pytest.raises(InputError, match=message):
            apply_adapter(model, bad)
        assert torch.equal(model.get_submodule(NAMES[0]).weight, before)
        assert not AdapterStack.of(model).applied


def test_gradients_pass_an_adapter_on_the_fly(files):
    model = load(files, "fp8")
    apply_adapter(model, adapter(model, 0))
    x = torch.randn(2, 96, requires_grad=True)
    model.get_submodule(NAMES[0])(x).sum().backward()
    assert float(x.grad.abs().sum()) > 0
