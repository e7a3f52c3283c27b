"""Numbers of several pictures in one, and pictures as the tracer takes them."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from wdlora.evaluation.interval import mean_interval


def grey(image: Tensor) -> np.ndarray:
    """A picture in 0..1 as uint8 [H, W]."""
    return (image.numpy() * 255).round().astype(np.uint8)


def mean(values: Sequence[float] | np.ndarray) -> float:
    """The mean as a plain number."""
    return float(np.mean(values))


def half_width(values: np.ndarray) -> float:
    """Half the width of the mean's 95 % interval."""
    middle, low, _ = mean_interval(values)
    return middle - low
