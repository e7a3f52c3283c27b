"""A figure with its 95 % interval, its sample size, and why it is not defined where it is not."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Estimate:
    """A figure `value` with its 95 % interval `low` to `high` and the sample size `n` of each side behind it.

    NaN where the figure or its interval is not defined; `reason` then says why in one sentence.
    """

    value: float
    low: float
    high: float
    n: int
    reason: str = ""

    @property
    def defined(self) -> bool:
        """Whether there is a value."""
        return math.isfinite(self.value)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; NaN becomes None, and only then there is a `reason`."""
        values: dict[str, Any] = {name: _json(getattr(self, name)) for name in ("value", "low", "high")}
        values["n"] = self.n
        return values | ({"reason": self.reason} if self.reason else {})


def undefined(reason: str, n: int = 0) -> Estimate:
    """A figure that is not defined."""
    return Estimate(math.nan, math.nan, math.nan, n, reason)


def from_halves(values: ArrayLike, n: int, bounds: tuple[float, float] = (-math.inf, math.inf)) -> Estimate:
    """The mean of a figure over random halves of the samples, with the interval that they give.

    A half drawn without replacement varies about the whole sample's value as much as that does about the truth
    (Politis & Romano 1994): 1.96 SDs of the draws on either side, within the figure's `bounds`.
    """
    values = np.asarray(values, float)
    mean, half = float(values.mean()), 1.96 * float(values.std(ddof=1))
    return Estimate(mean, max(mean - half, bounds[0]), min(mean + half, bounds[1]), n)


def _json(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
