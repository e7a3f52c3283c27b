"""Agreement of a biomarker measured on pictures with the one measured on the masks they were painted from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

RESAMPLES = 2000


@dataclass(frozen=True)
class Agreement:
    """Slope and bias of measured against true values; each (value, low, high) with a 95 % bootstrap interval.

    `bias` is the mean difference in the biomarker's unit, `bias_percent` the same in percent of the true mean; 95 % of
    the pairs differ within `limits`, bias ± 1.96 SD (Bland & Altman 1986).
    """

    slope: tuple[float, float, float]
    bias: tuple[float, float, float]
    bias_percent: tuple[float, float, float]
    mean_absolute_error: float
    limits: tuple[float, float]
    n: int


def agreement(true: NDArray, measured: NDArray) -> Agreement:
    """Compare paired values [n]: least-squares slope of `measured` on `true`, and bias.

    Intervals are percentiles of a bootstrap over pairs (Efron 1979). Raises InputError below three pairs, on
    values that are not finite, and where the true values are all the same.
    """
    true, measured = np.asarray(true, float), np.asarray(measured, float)
    if true.shape != measured.shape or true.ndim != 1 or len(true) < 3:
        raise InputError(f"agreement needs at least 3 pairs of values, not {true.shape} and {measured.shape}")
    if not (np.isfinite(true).all() and np.isfinite(measured).all()):
        raise InputError("agreement needs finite values; leave out images in which the biomarker is undefined")
    if np.ptp(true) == 0:
        raise InputError(f"all true values are {true[0]:g}; a slope needs different ones")
    generator = np.random.default_rng(0)
    picks = generator.integers(len(true), size=(RESAMPLES, len(true)))
    x, y = true[picks], measured[picks]
    centred = x - x.mean(1, keepdims=True)
    spread, level = (centred**2).sum(1), x.mean(1)
    # A draw of one and the same value has no slope, and one of zeros no percentage.
    slopes = np.divide((centred * y).sum(1), spread, where=spread > 0, out=np.full(RESAMPLES, np.nan))
    biases = (y - x).mean(1)
    percents = np.divide(100 * biases, level, where=level != 0, out=np.full(RESAMPLES, np.nan))
    slope = float(np.polyfit(true, measured, 1)[0])
    bias = float((measured - true).mean())
    reach = 1.96 * float((measured - true).std(ddof=1))

    def interval(value: float, samples: NDArray) -> tuple[float, float, float]:
        low, high = np.nanpercentile(samples, (2.5, 97.5))
        return value, float(low), float(high)

    return Agreement(
        interval(slope, slopes),
        interval(bias, biases),
        interval(100 * bias / float(true.mean()), percents),
        float(np.abs(measured - true).mean()),
        (bias - reach, bias + reach),
        len(true),
    )
