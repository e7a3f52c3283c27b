"""The trainable layer against float64 autograd through the written-out Eq. 6, and what it must not do."""

import copy

import bitsandbytes as bnb
import peft
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from wdlora.decomposition import compose
from wdlora.errors import InputError
from wdlora.layer import inject

IN, OUT, RANK, TOKENS = 128, 192, 4, 20


def small(dtype=torch.float32, bias=True, storage="dense") -> nn.Sequential:
    """One linear layer in a model, frozen, its rows of different norms."""
    rng = torch.Generator().manual_seed(0)
    linear = nn.Linear(IN, OUT, bias=bias)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(OUT, IN, generator=rng) * torch.rand(OUT, 1, generator=rng))
        if bias:
            linear.bias.copy_(torch.randn(OUT, generator=rng))
    weight = linear.weight.data
    if storage in ("nf4", "nf4 nested"):
        nested = storage == "nf4 nested"
        quantised = bnb.nn.Linear4bit(IN, OUT, bias, torch.float32, compress_statistics=nested, quant_type="nf4")
        quantised.weight = bnb.nn.Params4bit(
            weight.clone(), requires_grad=False, quant_type="nf4", compress_statistics=nested
        )
    elif storage == "int8":
        quantised = bnb.nn.Linear8bitLt(IN, OUT, bias, has_fp16_weights=False)
        quantised.weight = bnb.nn.Int8Params(weight.clone(), requires_grad=False, has_fp16_weights=False)
    else:
        return nn.Sequential(linear.to(dtype)).requires_grad_(False)
    quantised.bias = linear.bias
    return nn.Sequential(quantised.to("cpu")).requires_grad_(False)


def config(use_dora=True, **changes) -> peft.LoraConfig:
    return peft.LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=["0"], use_dora=use_dora, **changes)


def train_a_little(model: nn.Module, adapter="default", seed=1, size=0.1) -> None:
    """Move B and the magnitude away from their start."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if f".{adapter}" not in name:
                continue
            noise = torch.randn(parameter.shape, generator=rng).to(parameter)
            if "lora_B" in name:
                parameter.copy_(size * noise)
            elif "magnitude" in name:
                parameter.mul_(1 + 0.1 * noise)


def parts(module, adapter="default"):
    magnitude = module.lora_magnitude_vector[adapter].weight if adapter in module.lora_magnitude_vector else None
    return module.lora_A[adapter].weight, module.lora_B[adapter].weight, magnitude, module.scaling[adapter]


def data(dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(2)
    shapes = (2, TOKENS // 2, IN), (2, TOKENS // 2, OUT)
    return tuple(torch.randn(s, generator=rng, dtype=torch.float64).to(dtype) for s in shapes)


def reference(module, x, dy, detached=True) -> list[torch.Tensor]:
    """Output and gradients (x, A, B, m) of Eq. 6 with BA written out, by autograd in float64."""
    a, b, m, scaling = parts(module)
    x, a, b = (t.detach().double().requires_grad_() for t in (x, a, b))
    weight = module.get_base_layer().weight.double() + scaling * b @ a
    leaves = [x, a, b]
    if m is not None:
        m = m.detach().double().requires_grad_()
        leaves.append(m)
        norm = weight.norm(dim=1)
        weight = (m / (norm.detach() if detached else norm))[:, None] * weight
    bias = module.get_base_layer().bias
    y = F.linear(x, weight, None if bias is None else bias.double())
    return [y, *torch.autograd.grad(y, leaves, dy.double())]


def outcome(model, x, dy) -> list[torch.Tensor]:
    """The same five from the layer."""
    x = x.clone().requires_grad_()
    model.zero_grad()
    y = model(x)
    y.backward(dy)
    a, b, m, _ = parts(model[0])
    return [y.detach(), x.grad, a.grad, b.grad, *([] if m is None else [m.grad])]


def agree(found, expected, tolerance) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.double() - other).norm() <= tolerance * other.norm()


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-13), (torch.float32, 2e-6)], ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("kind", ["wdlora", "norm gradient", "plain"])
def test_output_and_gradients(kind, bias, dtype, tolerance):
    model = inject(small(dtype, bias), config(kind != "plain"), norm_gradient=kind == "norm gradient")
    train_a_little(model)
    x, dy = data(dtype)
    agree(outcome(model, x, dy), reference(model[0], x, dy, kind != "norm gradient"), tolerance)


@pytest.mark.parametrize("kind", ["wdlora", "norm gradient", "plain"])
def test_bfloat16_costs_its_own_rounding(kind):
    """1 %: a few roundings of 0.4 %, where sums over 20 tokens do not cancel."""
    model = inject(small(torch.bfloat16), config(kind != "plain"), norm_gradient=kind == "norm gradient")
    train_a_little(model)
    x, dy = data(torch.bfloat16)
    assert all(p.dtype == torch.float32 for n, p in model.named_parameters() if "lora_" in n)
    agree(outcome(model, x, dy), reference(model[0], x, dy, kind != "norm gradient"), 1e-2)


def test_a_gain_between_two_16_bit_numbers_acts():
    """1.003 is 1 in bfloat16. Rounded output shows it where 0.3 % is more than half a step: mantissas above 1.3."""
    model = inject(small(torch.bfloat16, bias=False), config())
    with torch.no_grad():
        parts(model[0])[2].mul_(1.003)
    x, _ = data(torch.bfloat16)
    base = small(torch.bfloat16, bias=False)(x)
    expected = (base.double() * 1.003).bfloat16()
    assert (expected != base).double().mean() > 0.4
    assert (model(x) == expected).double().mean() > 0.999


@pytest.mark.parametrize("use_dora", [True, False])
@pytest.mark.parametrize("storage", ["float64", "float32", "bfloat16", "float16", "nf4", "nf4 nested", "int8"])
def test_identity_at_initialisation_bit_for_bit(storage, use_dora):
    dense = getattr(torch, storage) if "float" in storage else None
    base = small(dense or torch.float32, storage="dense" if dense else storage)
    x, _ = data(dense or torch.float32)
    expected = base(x.clone().requires_grad_()).detach()
    model = inject(base, config(use_dora))
    assert torch.equal(model(x.clone().requires_grad_()), expected)
    wide = torch.float64 if dense == torch.float64 else torch.float32
    assert {p.dtype for n, p in model.named_parameters() if "lora_" in n} == {wide}


@pytest.mark.parametrize("storage", ["nf4", "nf4 nested", "int8"])
def test_quantised_base_equals_its_dequantised_twin(storage):
    """The same adapter on the dequantised weight; 2e-5 is bitsandbytes' own 8-bit product, 4 bit is below 2e-6."""
    model = inject(small(storage=storage), config())
    train_a_little(model)
    module = model[0]
    weight = peft.utils.integrations.dequantize_module_weight(module.get_base_layer()).float()
    twin = small()
    twin[0].weight.data.copy_(weight)
    twin = inject(twin, config())
    twin[0].load_state_dict({k: v for k, v in module.state_dict().items() if "lora_" in k}, strict=False)
    x, dy = data()
    for found, expected in zip(outcome(model, x, dy), outcome(twin, x, dy), strict=True):
        assert (found - expected).norm() <= 2e-5 * expected.norm()
    from wdlora.layer.storage import weight_rows

    rows = weight_rows(module.get_base_layer())
    assert (rows.piece(slice(3, 50)) - weight[3:50]).abs().max() <= 1e-6
    assert (rows.at(torch.tensor([7, 190, 3])) - weight[[7, 190, 3]]).abs().max() <= 1e-6
    model.eval()(x)  # where bitsandbytes repacks 4-bit weights for inference, rows must stay readable
    assert (weight_rows(module.get_base_layer()).piece(slice(0, OUT)) - weight).abs().max() <= 1e-6


@pytest.mark.parametrize("scale", ["one number", "one a row"])
def test_fp8_base_equals_its_dequantised_twin(scale):
    """Codes times scale are exact in float32, so the twins differ by the order of sums only: 2e-6."""
    from wdlora.layer.storage import weight_rows
    from wdlora.qwen.storage import Float8Linear, to_float8

    linear = small()[0]
    codes, scales = to_float8(linear.weight.data)
    if scale == "one number":
        codes, scales = linear.weight.data.to(torch.float8_e4m3fn), torch.tensor(1.5)
    base = Float8Linear(codes, scales, linear.bias.data, torch.float32)
    weight = base.dequantise(torch.float32)
    model = inject(nn.Sequential(base), config())
    train_a_little(model)
    twin = small()
    twin[0].weight.data.copy_(weight)
    twin = inject(twin, config())
    twin[0].load_state_dict({k: v for k, v in model[0].state_dict().items() if "lora_" in k}, strict=False)
    x, dy = data()
    for found, expected in zip(outcome(model, x, dy), outcome(twin, x, dy), strict=True):
        assert (found - expected).norm() <= 2e-6 * expected.norm()
    rows = weight_rows(base)
    assert torch.equal(rows.piece(slice(3, 50)), weight[3:50])
    assert torch.equal(rows.at(torch.tensor([7, 190, 3])), weight[[7, 190, 3]])
    model(x)
    kept = model[0]._weight_sq
    model(x)
    assert model[0]._weight_sq is kept, "‖W‖² is computed once"


def test_rows_that_cancel_do_not_disturb_training():
    model = inject(small(), config())
    train_a_little(model)
    module = model[0]
    a, b, _, scaling = parts(module)
    with torch.no_grad():
        module.get_base_layer().weight[:5] = (-scaling * b @ a)[:5] * (1 + 1e-3)
        module.get_base_layer().weight[5], b[5] = 0.0, 0.0
    x, dy = data()
    found, expected = outcome(model, x, dy), reference(module, x, dy)
    assert all(t.isfinite().all() for t in found)
    y, target = found[0][..., :5].double(), expected[0][..., :5]
    assert (y - target).norm() <= 1e-3 * target.norm()  # float32 activations of magnitude 1 that cancel to 1e-3
    torch.testing.assert_close(found[0][..., 6:].double(), expected[0][..., 6:], rtol=1e-5, atol=1e-5)


class Largest(TorchDispatchMode):
    """The most elements of any tensor made, and the memory views of the base weight aside."""

    def __init__(self, weight):
        super().__init__()
        self.weight, self.elements = weight.untyped_storage().data_ptr(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() != self.weight:
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("norm_gradient", [False, True])
def test_nothing_of_the_weights_size_is_made(norm_gradient, dtype, monkeypatch):
    """16 tokens through 1024², chunks of 64 rows: no tensor above 64·1024 elements, 1/16 of the weight."""
    monkeypatch.setattr("wdlora.decomposition.CHUNK_ELEMENTS", 64 * 1024)
    model = nn.Sequential(nn.Linear(1024, 1024, dtype=dtype)).requires_grad_(False)
    with Largest(model[0].weight) as at_injection:
        inject(model, config(), norm_gradient=norm_gradient)
    train_a_little(model)
    x = torch.randn(16, 1024, dtype=dtype, requires_grad=True)
    with Largest(model[0].weight) as seen:
        model(x).sum().backward()
    assert max(seen.elements, at_injection.elements) <= 64 * 1024
    with Largest(model[0].weight) as merging:
        model[0].merge()
    assert merging.elements <= 64 * 1024


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
    with pytest.raises(InputError, match="lora_bias"):
        inject(small(), config(lora_bias=True, use_dora=False))
    with pytest.raises(InputError, match="LoraConfig"):
        inject(small(), peft.IA3Config(target_modules=["0"], feedforward_modules=[]))


@pytest.mark.parametrize("ratio", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_the_quick_norm_of_16_bit_weights(dtype, ratio):
    """5e-5 while training (half of QUICK_TOLERANCE, which bounds the square), whether or not BA is aligned with W."""
    from wdlora.layer.function import norm_constant, norm_exact, quick_product
    from wdlora.layer.storage import weight_rows

    for aligned in (False, True):
        model = inject(small(dtype), config())
        rows = weight_rows(model[0].get_base_layer())
        a, b, _, scaling = (t.detach() if isinstance(t, torch.Tensor) else t for t in parts(model[0]))
        weight = rows.dense.double()
        if aligned:
            a = weight[:RANK].float()
            b = torch.linalg.lstsq(a.double().T, weight.T).solution.T.float().contiguous()
        else:
            b = torch.randn(b.shape, generator=torch.Generator().manual_seed(4))
        b *= ratio * weight.norm() / (scaling * b.double() @ a.double()).norm()
        exact = (weight + scaling * b.double() @ a.double()).norm(dim=1)
        arguments = rows, a, b, scaling, rows.row_sq()
        assert (norm_constant(*arguments) / exact - 1).abs().max() <= 5.1e-5
        assert (norm_exact(*arguments) / exact - 1).abs().max() <= 1e-6
        product = quick_product(rows.dense, a).double()
        expected = weight @ a.double().T
        assert (
            (product - expected).abs() <= torch.finfo(dtype).eps * expected.abs() + 1e-5 * expected.abs().max()
        ).all()
