"""One adapted module of an adapter file."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Axis = Literal["output", "input"]


@dataclass
class AdapterLayer:
    """The factors of one module: W' = g ∘ (W + d·s·BA), g as in `wdlora.decomposition`.

    `lora_a` A [r, in], `lora_b` B [out, r], `scaling` s. `magnitude` is [out], or None for plain LoRA. A few
    trainers decompose over the input axis instead (one magnitude a column: `axis` is "input", `magnitude` [in]);
    `gain` and `compose` serve both exactly, the norm of W's columns being that of Wᵀ's rows.
    """

    lora_a: "Tensor"
    lora_b: "Tensor"
    magnitude: "Tensor | None" = None
    scaling: float = 1.0
    axis: Axis = "output"

    @property
    def rank(self) -> int:
        """r, the rows of A."""
        return self.lora_a.shape[0]

    @property
    def alpha(self) -> float:
        """s·r: what files call alpha."""
        return float(f"{self.scaling * self.rank:.12g}")

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in): the shape of the weight that this layer fits."""
        return self.lora_b.shape[0], self.lora_a.shape[1]

    @property
    def parameters(self) -> int:
        """The numbers in A, B and the magnitude."""
        magnitude = 0 if self.magnitude is None else self.magnitude.numel()
        return self.lora_a.numel() + self.lora_b.numel() + magnitude

    def by_rows(self, weight: "Tensor") -> "tuple[Tensor, Tensor, Tensor]":
        """W, A and B such that the decomposition runs over W's rows: transposed for the input axis."""
        a, b = self.lora_a.to(weight.device), self.lora_b.to(weight.device)
        return (weight, a, b) if self.axis == "output" else (weight.T, b.T, a.T)

    def gain(self, weight: "Tensor", direction_strength: float = 1.0, magnitude_strength: float = 1.0) -> "Tensor":
        """g from the pristine base weight [out, in]: fp32, [out, 1] or, over the input axis, [1, in]."""
        from ..decomposition import gain

        w, a, b = self.by_rows(weight)
        g = gain(w, a, b, self.magnitude, self.scaling, direction_strength, magnitude_strength)
        return g[:, None] if self.axis == "output" else g[None, :]

    def compose(self, weight: "Tensor", direction_strength: float = 1.0, magnitude_strength: float = 1.0) -> "Tensor":
        """The adapted weight [out, in] of a pristine base weight, in its storage dtype (paper Eq. 6 at 1/1)."""
        from ..decomposition import compose

        w, a, b = self.by_rows(weight)
        adapted = compose(w, a, b, self.magnitude, self.scaling, direction_strength, magnitude_strength)
        return adapted if self.axis == "output" else adapted.T
