"""Adapters on a loaded transformer: applied exactly, stacked, and taken off again bit for bit.

W' = g ∘ (W + d·s·BA), the gain g from the pristine base (`wdlora.decomposition`). Adapters act in the order in
which they were applied: one that follows a plain LoRA scales it instead of erasing it. Where a weight has 16 bits
or more it is replaced; fp8 and nf4 would round the update away, so there it is added on the fly,
y' = g ∘ (y − b + d·s·B(A x)) + b.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..weights.linear import dequantised, is_quantised

if TYPE_CHECKING:
    from ..adapter import Adapter, AdapterLayer


@dataclass(eq=False)
class Applied:
    """An adapter on a transformer; `detach` takes it off."""

    stack: "AdapterStack"
    adapter: "Adapter"
    direction_strength: float
    magnitude_strength: float

    def detach(self) -> None:
        """Take this adapter off; the others stay. Without any, the transformer is as it was loaded."""
        self.stack.remove(self)


def apply_adapter(
    transformer: nn.Module, adapter: "Adapter", direction_strength: float = 1.0, magnitude_strength: float = 1.0
) -> Applied:
    """Apply an adapter to a transformer after those that it already carries; returns a handle to detach it.

    Strengths 1/1 are the trained adapter, 0/0 the base. Raises InputError, leaving the transformer as it is, for
    modules that the transformer lacks or whose shape differs.
    """
    return AdapterStack.of(transformer).add(adapter, direction_strength, magnitude_strength)


@dataclass(eq=False)
class AdapterStack:
    """The adapters that a transformer carries, with what is needed to take them off."""

    transformer: nn.Module
    applied: list[Applied] = field(default_factory=list)
    _pristine: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, transformer: nn.Module) -> "AdapterStack":
        """The stack of a transformer; a new one where it carries no adapter yet."""
        stack = transformer.__dict__.get("_adapter_stack")
        if stack is None:
            stack = cls(transformer)
            transformer.__dict__["_adapter_stack"] = stack
        return stack

    def add(self, adapter: "Adapter", direction_strength: float = 1.0, magnitude_strength: float = 1.0) -> Applied:
        """Apply one more adapter."""
        for name, layer in adapter.layers.items():
            self._check(name, layer)
        entry = Applied(self, adapter, float(direction_strength), float(magnitude_strength))
        self.applied.append(entry)
        self._refresh(adapter.layers)
        return entry

    def remove(self, entry: Applied) -> None:
        """Take one adapter off. Raises InputError if it is not on."""
        if entry not in self.applied:
            raise InputError("this adapter is not applied to the transformer, so it cannot be detached")
        self.applied.remove(entry)
        self._refresh(entry.adapter.layers)

    def clear(self) -> None:
        """Take all adapters off."""
        for entry in list(self.applied):
            self.remove(entry)

    def _check(self, name: str, layer: "AdapterLayer") -> None:
        module = self._module(name)
        if module is None:
            raise InputError(f"the adapter changes {name}, which the transformer does not have: it fits another model")
        if not isinstance(module, nn.Linear):
            raise InputError(f"{name} is a {type(module).__name__} and cannot take an adapter: load the model again")
        shape = (module.out_features, module.in_features)
        if tuple(layer.shape) != shape:
            raise InputError(
                f"the adapter's layer for {name} has the shape {list(layer.shape)} but the transformer's is "
                f"{list(shape)}: it fits another model"
            )

    def _module(self, name: str) -> nn.Module | None:
        try:
            return self.transformer.get_submodule(name)
        except AttributeError:
            return None

    def _refresh(self, names: Any) -> None:
        """Bring the named modules into the state that the remaining adapters ask for."""
        for name in names:
            module: Any = self._module(name)
            terms = [
                (entry.adapter.layers[name], entry.direction_strength, entry.magnitude_strength)
                for entry in self.applied
                if name in entry.adapter.layers
            ]
            if is_quantised(module):
                _wrap(module, terms)
            else:
                self._patch(name, module, terms)

    @torch.no_grad()
    def _patch(self, name: str, module: Any, terms: list["Term"]) -> None:
        if name not in self._pristine:
            self._pristine[name] = module.weight.detach().to("cpu", copy=True)
        pristine = self._pristine[name].to(module.weight.device)
        module.weight.data.copy_(stacked(pristine, terms) if terms else pristine)
        if not terms:
            del self._pristine[name]


Term = tuple["AdapterLayer", float, float]


@torch.no_grad()
def stacked(pristine: Tensor, terms: list[Term]) -> Tensor:
    """A base weight [out, in] with (layer, direction, magnitude strength) terms applied in order.

    Every gain comes from `pristine`; the sum is kept in float32 and rounded once to the storage type.
    """
    from ..decomposition import apply_gain, compute_dtype

    weight = pristine.to(compute_dtype(pristine.dtype), copy=True)
    for layer, direction, magnitude in terms:
        if direction == 0 and magnitude == 0:
            continue
        rows, a, b = layer.by_rows(weight)
        gain = layer.gain(pristine, direction, magnitude).flatten()
        apply_gain(rows, a, b, gain, layer.scaling, direction, out=rows)
    return weight.to(pristine.dtype)


def _wrap(module: Any, terms: list[Term]) -> None:
    """Let a quantised layer add the terms to its output; without terms it is plain again."""
    if "_plain_forward" in module.__dict__:
        plain = module.__dict__.pop("_plain_forward")
        del module.__dict__["forward"]
        if plain is not None:
            module.__dict__["forward"] = plain
    active = [term for term in terms if term[1] != 0 or term[2] != 0]
    if active:
        plain = module.__dict__.get("forward")
        module.__dict__ |= {"_plain_forward": plain, "forward": on_the_fly(module, module.forward, active)}


def on_the_fly(module: Any, base: Callable[[Tensor], Tensor], terms: list[Term]) -> Callable[[Tensor], Tensor]:
    """The forward of a linear layer with terms applied in order, without touching its weight.

    `base` is the layer's own forward. Low-rank products and gains are computed in float32; the result has the
    type of the base's output. Gains come from the dequantised weight.
    """
    weight = dequantised(module)
    prepared = []
    for layer, direction, magnitude in terms:
        gain = None
        if layer.magnitude is not None:
            gain = layer.gain(weight, direction, magnitude).squeeze(1 if layer.axis == "output" else 0)
        a = layer.lora_a.to(weight.device, torch.float32)
        b = layer.lora_b.to(weight.device, torch.float32) * (layer.scaling * direction)
        prepared.append((layer.axis, gain, a, b))
    del weight

    def forward(x: Tensor) -> Tensor:
        inputs = x
        updates = []
        for axis, gain, a, b in reversed(prepared):
            factor = None if gain is None else gain.to(x.device)
            if axis == "input" and factor is not None:
                inputs = (inputs.float() * factor).to(x.dtype)
                factor = None
            product = nn.functional.linear(nn.functional.linear(inputs.float(), a.to(x.device)), b.to(x.device))
            updates.append((factor, product))
        output = base(inputs)
        bias = 0.0 if module.bias is None else module.bias.float()
        result = output.float() - bias
        for factor, product in reversed(updates):
            result = result + product
            if factor is not None:
                result = result * factor
        return (result + bias).to(output.dtype)

    return forward
