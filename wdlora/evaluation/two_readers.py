"""Agreement of two readers of the same images, such as a tracer and an annotator, with patients as units."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

NORMAL = 1.96


@dataclass(frozen=True)
class TwoReaders:
    """One quantity by two readers; differences are the second reader's minus the first's, NaN where undefined.

    `bias` is the mean difference with its 95 % interval, `limits` bias ± 1.96 SD with theirs (Bland & Altman 1986; of
    several images a patient the SD is that of a new patient's image, 2007); `mean_absolute_error` the mean size of the
    differences. `icc` is ICC(2,1), absolute agreement of single readings (Shrout & Fleiss 1979), with its interval.
    `n` counts images and `units` what was resampled for the intervals: patients where they are known.
    """

    bias: tuple[float, float, float]
    limits: tuple[tuple[float, float, float], tuple[float, float, float]]
    mean_absolute_error: float
    icc: tuple[float, float, float]
    n: int
    units: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; NaN becomes None."""

        def plain(value: Any) -> Any:
            if isinstance(value, tuple | list):
                return [plain(one) for one in value]
            return value if not isinstance(value, float) or math.isfinite(value) else None

        return {name: plain(value) for name, value in asdict(self).items()}


def two_readers(first: ArrayLike, second: ArrayLike, units: ArrayLike, resamples: int = 2000) -> TwoReaders:
    """Compare readings [n] and [n] of one quantity; pairs in which one is not finite are left out.

    `units` [n] names the patient of every image. Intervals are percentiles of a seeded bootstrap over units, and NaN
    where there is one unit only.
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    kept = np.isfinite(a) & np.isfinite(b)
    a, b = a[kept], b[kept]
    _, unit = np.unique(np.asarray(units)[kept], return_inverse=True)
    if not len(a):
        nothing = (math.nan, math.nan, math.nan)
        return TwoReaders(nothing, (nothing, nothing), math.nan, nothing, 0, 0)
    value = _statistics(a, b, unit)
    count = int(unit.max()) + 1
    members = [np.flatnonzero(unit == k) for k in range(count)]
    rng = np.random.default_rng(0)
    drawn = np.full((resamples, len(value)), np.nan)
    for k in range(resamples if count > 1 else 0):
        chosen = [members[one] for one in rng.integers(count, size=count)]
        rows = np.concatenate(chosen)
        # A unit that is drawn twice is two units, or its spread between units would shrink.
        drawn[k] = _statistics(a[rows], b[rows], np.repeat(np.arange(count), [len(one) for one in chosen]))
    found = []
    for k, one in enumerate(value):
        usable = drawn[np.isfinite(drawn[:, k]), k]
        low, high = np.percentile(usable, (2.5, 97.5)) if len(usable) else (math.nan, math.nan)
        found.append((float(one), float(low), float(high)))
    bias, low_limit, high_limit, icc = found
    return TwoReaders(bias, (low_limit, high_limit), float(np.abs(b - a).mean()), icc, len(a), count)


def _statistics(a: NDArray, b: NDArray, unit: NDArray) -> tuple[float, float, float, float]:
    """Bias, both limits of agreement and ICC."""
    difference = b - a
    bias, reach = float(difference.mean()), NORMAL * spread_of_differences(difference, unit)
    return bias, bias - reach, bias + reach, icc_2_1(np.stack([a, b], 1))


def spread_of_differences(difference: NDArray, unit: NDArray) -> float:
    """SD of the differences [n] of single images of new units: between and within units together; NaN below two.

    From a one-way analysis of variance (Bland & Altman 2007, true values vary within units); with one image a unit it
    is the usual SD.
    """
    n = len(difference)
    if n < 2:
        return math.nan
    _, unit = np.unique(unit, return_inverse=True)
    size = np.bincount(unit)
    if len(size) == n or len(size) == 1:
        return float(difference.std(ddof=1))
    means = np.bincount(unit, difference) / size
    within = float(((difference - means[unit]) ** 2).sum()) / (n - len(size))
    between = float((size * (means - difference.mean()) ** 2).sum()) / (len(size) - 1)
    typical = (n - float((size**2).sum()) / n) / (len(size) - 1)
    return math.sqrt(max((between - within) / typical, 0.0) + within)


def icc_2_1(readings: ArrayLike) -> float:
    """ICC(2,1) of readings [n images, k readers]: two-way random effects, absolute agreement, single readings.

    NaN below two images and where nothing varies. Source: Shrout & Fleiss 1979, case 2.
    """
    x = np.asarray(readings, float)
    n, k = x.shape
    if n < 2 or np.ptp(x) == 0:
        return math.nan
    rows, columns = x.mean(1), x.mean(0)
    of_images = k * float(((rows - x.mean()) ** 2).sum()) / (n - 1)
    of_readers = n * float(((columns - x.mean()) ** 2).sum()) / (k - 1)
    rest = float(((x - rows[:, None] - columns[None] + x.mean()) ** 2).sum()) / ((n - 1) * (k - 1))
    whole = of_images + (k - 1) * rest + k * (of_readers - rest) / n
    return (of_images - rest) / whole if whole > 0 else math.nan
