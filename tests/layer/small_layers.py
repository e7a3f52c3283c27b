"""Small adapted layers, and Eq. 6 written out in float64 autograd."""

import bitsandbytes as bnb
import peft
import torch
from torch import nn
from torch.nn import functional as F

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
