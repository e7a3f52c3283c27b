"""The trainable layer against float64 autograd through the written-out Eq. 6, and what it must not do."""

import peft
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.layer.small_layers import OUT, RANK, agree, config, data, outcome, parts, reference, small, train_a_little
from wdlora.layer import inject, norms_kept


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
    from wdlora.weights.rows import weight_rows

    rows = weight_rows(module.get_base_layer())
    assert (rows.piece(slice(3, 50)) - weight[3:50]).abs().max() <= 1e-6
    assert (rows.at(torch.tensor([7, 190, 3])) - weight[[7, 190, 3]]).abs().max() <= 1e-6
    model.eval()(x)  # where bitsandbytes repacks 4-bit weights for inference, rows must stay readable
    assert (weight_rows(module.get_base_layer()).piece(slice(0, OUT)) - weight).abs().max() <= 1e-6


@pytest.mark.parametrize("scale", ["one number", "one a row"])
def test_fp8_base_equals_its_dequantised_twin(scale):
    """Codes times scale are exact in float32, so the twins differ by the order of sums only: 2e-6."""
    from wdlora.weights.linear import Float8Linear, to_float8
    from wdlora.weights.rows import weight_rows

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
    kept = model[0]._kept_weight_sq
    model(x)
    assert model[0]._kept_weight_sq is kept, "‖W‖² is computed once"


@pytest.mark.parametrize(
    ("dtype", "storage"), [(torch.float32, "dense"), (torch.bfloat16, "dense"), (torch.float32, "nf4")]
)
def test_norms_that_are_kept_change_no_bit_and_are_forgotten_after(dtype, storage):
    model = inject(small(dtype, storage=storage), config())
    train_a_little(model)
    x, dy = data(dtype)
    plain = outcome(model, x, dy)
    module = model[0]
    with norms_kept(model):
        for _ in range(2):
            assert all(torch.equal(a, b) for a, b in zip(outcome(model, x, dy), plain, strict=True))
        (norm,) = module._norms.values()
        with torch.no_grad():
            module.lora_magnitude_vector["default"].weight.mul_(2)
        assert not torch.equal(model(x), plain[0])
        assert next(iter(module._norms.values())) is norm
    with torch.no_grad():
        module.lora_magnitude_vector["default"].weight.div_(2)
        module.lora_B["default"].weight.mul_(3)
    anew = model(x)
    with norms_kept(model):
        assert torch.equal(model(x), anew) and not torch.equal(next(iter(module._norms.values())), norm)


def test_norms_with_a_gradient_are_not_kept():
    model = inject(small(), config(), norm_gradient=True)
    train_a_little(model)
    x, dy = data()
    plain = outcome(model, x, dy)
    with norms_kept(model):
        for _ in range(2):
            assert all(torch.equal(a, b) for a, b in zip(outcome(model, x, dy), plain, strict=True))
        assert model[0]._norms == {}


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


@pytest.mark.parametrize("ratio", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_the_quick_norm_of_16_bit_weights(dtype, ratio):
    """5e-5 while training (half of QUICK_TOLERANCE, which bounds the square), whether or not BA is aligned with W."""
    from wdlora.layer.function import norm_constant, norm_exact, quick_product
    from wdlora.weights.rows import weight_rows

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
