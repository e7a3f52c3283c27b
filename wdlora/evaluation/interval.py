"""The 95 % interval of a mean over independent runs."""

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError


def mean_interval(values: ArrayLike) -> tuple[float, float, float]:
    """Mean of values [n] with its 95 % interval by Student's t with n − 1 degrees of freedom: (mean, low, high).

    Raises InputError below two values.
    """
    from scipy import stats

    values = np.asarray(values, float)
    if values.ndim != 1 or len(values) < 2:
        raise InputError(f"an interval of a mean needs at least 2 values, not {values.size}")
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    mean = values.mean()
    return float(mean), float(mean - half), float(mean + half)
