"""fp8 and nf4 layers."""

import pytest
import torch
from torch import nn

from wdlora.errors import InputError
from wdlora.weights.linear import Float8Linear, dequantised, is_quantised, to_float8, to_nf4

CPU = torch.device("cpu")


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return nn.Linear(96, 64).requires_grad_(False)


def float8(linear, kind=torch.float8_e4m3fn, scale=None):
    return Float8Linear(linear.weight.to(kind), scale, linear.bias, torch.float32)


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("scale", [None, torch.tensor([0.25]), torch.rand(64) + 0.5])
def test_weight_is_codes_times_scale(linear, kind, scale):
    layer = float8(linear, kind, scale)
    factor = torch.ones(1) if scale is None else scale
    weight = linear.weight.to(kind).float() * (factor if factor.numel() == 1 else factor[:, None])
    assert torch.equal(layer.weight, weight)
    x = torch.randn(5, 96)
    assert torch.equal(layer(x), nn.functional.linear(x, weight, linear.bias))
    assert torch.equal(dequantised(layer), weight)


def test_gradient_passes_without_a_stored_weight(linear):
    layer = float8(linear)
    x = torch.randn(5, 96, requires_grad=True)
    y = layer(x)
    kept = y.grad_fn.saved_tensors if hasattr(y.grad_fn, "saved_tensors") else ()
    assert all(tensor.shape != (64, 96) for tensor in kept)
    (y * torch.arange(64.0)).sum().backward()
    assert torch.allclose(x.grad, torch.arange(64.0).expand(5, 64) @ layer.weight, rtol=1e-5)  # fp32


def test_a_cast_of_the_model_leaves_the_codes_alone(linear):
    layer = float8(linear, scale=torch.tensor(0.5))
    before = layer.codes.clone()
    assert layer.codes.element_size() == 1
    model = nn.Sequential(layer).to(torch.bfloat16)
    assert torch.equal(model[0].codes, before)
    assert model(torch.ones(1, 96, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_rounding_a_row_at_a_time(linear):
    linear.weight[3] *= 1000
    linear.weight[5] = 0
    codes, scale = to_float8(linear.weight)
    layer = Float8Linear(codes, scale, None, torch.float32)
    error = (layer.weight - linear.weight).norm(dim=1) / linear.weight.norm(dim=1).clamp_min(1e-9)
    assert float(error.max()) < 0.04  # half a unit of 3 mantissa bits is 2^-4 at most, 2.6 % on average
    assert float(layer.weight[5].abs().max()) == 0


def test_state_survives_saving(linear):
    layer = float8(linear, scale=torch.tensor(0.5))
    other = Float8Linear(torch.zeros(64, 96, dtype=torch.float8_e4m3fn), None, torch.zeros(64), torch.float32)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.weight, layer.weight)


def test_nf4_on_the_cpu(linear):
    layer = to_nf4(linear.weight, linear.bias, CPU, torch.float32)
    assert layer.weight.numel() == 64 * 96 // 2  # two values a byte
    weight = dequantised(layer)
    assert weight.shape == (64, 96)
    error = float((weight - linear.weight).norm() / linear.weight.norm())
    assert 0.02 < error < 0.12  # nf4's error on a uniform weight
    x = torch.randn(5, 96)
    assert torch.allclose(layer(x), nn.functional.linear(x, weight, linear.bias), atol=1e-5)  # fp32 compute


def test_which_layers_are_quantised(linear):
    assert not is_quantised(linear)
    assert is_quantised(float8(linear))
    assert is_quantised(to_nf4(linear.weight, None, CPU, torch.float32))
    assert dequantised(linear) is not None
    with pytest.raises(InputError, match="Conv2d"):
        dequantised(nn.Conv2d(1, 1, 1))
