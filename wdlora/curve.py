"""The curve of a training run, from the lines of its log."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .plotting import pixels

if TYPE_CHECKING:
    import numpy as np

Point = tuple[int, float]


def curve(log: Sequence[Mapping[str, Any]]) -> dict[str, list[Point]]:
    """(step, value) of `loss`, averaged over 50 steps as it is logged, and `validation_loss`; finite values only."""
    found: dict[str, list[Point]] = {"loss": [], "validation_loss": []}
    for line in log:
        for name, points in found.items():
            value = line.get(name)
            if isinstance(value, int | float) and math.isfinite(value) and isinstance(line.get("step"), int):
                points.append((line["step"], float(value)))
    return found


def curve_picture(log: Sequence[Mapping[str, Any]], title: str, dpi: int = 110) -> "np.ndarray":
    """Loss by step, and the validation loss where it was taken: uint8 [H, W, 3]."""
    from matplotlib.figure import Figure

    points = curve(log)
    picture = Figure(figsize=(5.6, 3.2), facecolor="white", layout="constrained")
    axis = picture.subplots()
    if points["loss"]:
        axis.plot(*zip(*points["loss"], strict=True), color="#2f6fb5", lw=1.5, label="loss, mean of 50 steps")
    if points["validation_loss"]:
        axis.plot(
            *zip(*points["validation_loss"], strict=True), "D-", color="#c2542d", ms=4, lw=1, label="validation loss"
        )
    if any(points.values()):
        axis.legend(fontsize=8, frameon=False)
    axis.set_title(title, fontsize=10, loc="left", color="#1f2933")
    axis.set_xlabel("step", fontsize=9)
    axis.tick_params(labelsize=8, color="#7b8794")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    return pixels(picture, dpi)
