"""An adapter's effect on one weight, in the two forms in which ComfyUI takes it (the maths is `wdlora.decomposition`).

A weight patch sees the weight as the patches before it left it, so the gain cannot be taken from there: it is
fixed from the pristine base (docs/reference/dora-in-comfyui.md). `Gain` takes it from the first weight that it is shown
and remembers it; `patching.py` shows it the base before any patch.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...wdlora.adapter import AdapterLayer

if TYPE_CHECKING:
    from torch import Tensor


class Gain:
    """The gain of one layer at its strengths; [out], or [in] where the layer is decomposed over the input axis."""

    def __init__(self, layer: AdapterLayer, direction_strength: float, magnitude_strength: float):
        self._layer = layer
        self._strengths = (direction_strength, magnitude_strength)
        self._value: Tensor | None = None

    def of(self, pristine: "Tensor | Callable[[], Tensor]") -> "Tensor":
        """The gain in float32; `pristine` is the base weight [out, in], or gives it, and is read once only."""
        if self._value is None:
            base = pristine() if callable(pristine) else pristine
            # Kept in main memory: one number per row would else stay on the accelerator while the model is elsewhere.
            self._value = self._layer.gain(base, *self._strengths).flatten().cpu()
        return self._value


def adapt(
    weight: "Tensor", a: "Tensor", b: "Tensor", gain: "Tensor", scaling: float, direction: float, axis: Any
) -> None:
    """W ← g ∘ (W + d·s·BA) in place, in float32 by rows whatever W's type, on W's device."""
    from ...wdlora.decomposition import apply_gain

    rows, a, b = AdapterLayer(a, b, None, scaling, axis).by_rows(weight)
    apply_gain(rows, a, b, gain.to(weight.device), scaling, direction, out=rows)


class Wrapper:
    """An adapter layer as ComfyUI's weight wrapper: applied to the dequantised weight at every use.

    `pristine` gives the base weight [out, in] on a device; it is asked once, at the first use.
    """

    def __init__(self, layer: AdapterLayer, gain: Gain, direction_strength: float, pristine: "Callable[[Any], Tensor]"):
        self._layer = layer
        self._gain = gain
        self._direction = direction_strength
        self._pristine = pristine

    def __call__(self, weight: "Tensor") -> "Tensor":
        """The adapted weight, in the type of `weight`, which is left as it is: it may be ComfyUI's own copy."""
        adapted = weight.clone()
        layer = self._layer
        gain = self._gain.of(lambda: self._pristine(weight.device))
        adapt(adapted, layer.lora_a, layer.lora_b, gain, layer.scaling, self._direction, layer.axis)
        return adapted
