"""Two groups of measured images, biomarker by biomarker."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..plotting import pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEYS = ("cnfl", "cnfd", "cnbd", "ctbd", "cnfa", "cnfw")
"""The biomarkers that are compared, keys of `Biomarkers.to_dict()`."""


@dataclass(frozen=True)
class Contrast:
    """One biomarker in groups A and B.

    `difference` is mean B − mean A with its 95 % interval `low` to `high`: of independent images Welch's (1947; unequal
    variances), of pairs Student's of their differences. `effect` is Hedges' g (1981), the difference in pooled SDs,
    corrected for small samples (Borenstein et al. 2009, Eq. 4.22, with n − 1 degrees of freedom for pairs). Interval
    and effect are NaN where a group has fewer than two values and where nothing varies, the effect also for two pairs.
    """

    key: str
    n: tuple[int, int]
    mean: tuple[float, float]
    sd: tuple[float, float]
    difference: float
    low: float
    high: float
    effect: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; NaN becomes None."""
        return {
            "biomarker": self.key,
            "n": list(self.n),
            "mean": [_json(x) for x in self.mean],
            "sd": [_json(x) for x in self.sd],
            "difference": _json(self.difference),
            "difference_95": [_json(self.low), _json(self.high)],
            "hedges_g": _json(self.effect),
        }


def _json(value: float) -> float | None:
    return value if math.isfinite(value) else None


def contrast(key: str, a: "NDArray", b: "NDArray", paired: bool = False) -> Contrast:
    """Compare values [n] and [m] of one biomarker; values that are not finite are left out.

    `paired`: a[i] and b[i] belong together, such as a mask and the picture of it; a pair needs both. Raises InputError
    where a group has no value at all.
    """
    from scipy.stats import t

    a, b = np.asarray(a, float), np.asarray(b, float)
    if paired:
        both = np.isfinite(a) & np.isfinite(b)
        a, b = a[both], b[both]
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    if not len(a) or not len(b):
        raise InputError(
            f"{key} is defined in none of the images of {'the first' if not len(a) else 'the second'} group"
        )
    n, m = len(a), len(b)
    mean = float(a.mean()), float(b.mean())
    difference = mean[1] - mean[0]
    if min(n, m) < 2:
        sd = tuple(float(x.std(ddof=1)) if len(x) > 1 else math.nan for x in (a, b))
        return Contrast(key, (n, m), mean, (sd[0], sd[1]), difference, math.nan, math.nan, math.nan)
    va, vb = float(a.var(ddof=1)), float(b.var(ddof=1))
    error = float((b - a).var(ddof=1)) / n if paired else va / n + vb / m
    half = math.nan
    if error > 0:
        of_error = n - 1 if paired else error**2 / ((va / n) ** 2 / (n - 1) + (vb / m) ** 2 / (m - 1))
        half = float(t.ppf(0.975, of_error)) * math.sqrt(error)
    pooled = math.sqrt(((n - 1) * va + (m - 1) * vb) / (n + m - 2))
    freedom = n - 1 if paired else n + m - 2
    effect = (1 - 3 / (4 * freedom - 1)) * difference / pooled if pooled > 0 and freedom > 1 else math.nan
    spread = math.sqrt(va), math.sqrt(vb)
    return Contrast(key, (n, m), mean, spread, difference, difference - half, difference + half, effect)


def contrasts(a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]], paired: bool = False) -> list[Contrast]:
    """Compare two groups of `Biomarkers.to_dict()`, for every biomarker of `KEYS` that both define somewhere.

    `paired` as in `contrast`. Raises InputError for an empty group, for pairs of unequal number, and where groups were
    measured under different rules.
    """
    if not a or not b:
        raise InputError("a comparison needs at least one measured image in each group")
    if paired and len(a) != len(b):
        raise InputError(f"{len(a)} and {len(b)} images are not pairs: link groups of one size, or switch paired off")
    rules = [sorted({str(one.get("rules")) for one in group}) for group in (a, b)]
    if rules[0] != rules[1] or len(rules[0]) > 1:
        raise InputError(
            f"the groups were measured under different rules ({', '.join(rules[0] + rules[1])}): measure again"
        )
    found = []
    for key in KEYS:
        one, other = column(a, key), column(b, key)
        defined = np.isfinite(one), np.isfinite(other)
        if (defined[0] & defined[1]).any() if paired else defined[0].any() and defined[1].any():
            found.append(contrast(key, one, other, paired))
    return found


def column(group: Sequence[Mapping[str, Any]], key: str) -> "NDArray":
    """One biomarker of every image, float64 [n]; NaN where it is not defined."""
    return np.array([math.nan if one.get(key) is None else float(one[key]) for one in group])


def group_picture(
    a: Sequence[Mapping[str, Any]],
    b: Sequence[Mapping[str, Any]],
    names: tuple[str, str],
    labels: Mapping[str, str],
    dpi: int = 110,
) -> "np.ndarray":
    """A panel a biomarker, every image a dot beside its group's mean and SD: uint8 [H, W, 3].

    `labels` maps the keys to be shown to their panel's title.
    """
    from matplotlib.figure import Figure

    keys = [key for key in labels if all(np.isfinite(column(group, key)).any() for group in (a, b))]
    if not keys:
        raise InputError("none of the biomarkers is defined in both groups, so there is nothing to plot")
    columns = min(3, len(keys))
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(2.9 * columns + 0.3, 2.75 * rows + 0.2), facecolor="white", layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for place in axes.flat[len(keys) :]:
        place.set_visible(False)
    for place, key in zip(axes.flat, keys, strict=False):
        for x, (group, colour) in enumerate(zip((a, b), ("#2f6fb5", "#c2542d"), strict=True)):
            values = column(group, key)
            values = values[np.isfinite(values)]
            spread = np.linspace(-0.16, 0.16, len(values))[np.argsort(np.argsort((np.arange(len(values)) * 0.618) % 1))]
            place.plot(x + spread, values, "o", ms=3.4, color=colour, alpha=0.55, mew=0)
            sd = values.std(ddof=1) if len(values) > 1 else 0.0
            place.errorbar(x + 0.3, values.mean(), yerr=sd, fmt="D", ms=4.5, color=colour, capsize=3, lw=1.4)
        place.set_title(labels[key], fontsize=9, loc="left", color="#1f2933")
        place.set_xticks(
            [0, 1],
            [f"{name}\nn = {len(group)}" for name, group in zip(names, (a, b), strict=True)],
            fontsize=8,
            parse_math=False,
        )
        place.set_xlim(-0.45, 1.6)
        place.set_ylim(0, 1.08 * place.get_ylim()[1])
        place.tick_params(labelsize=8, color="#7b8794")
        for side in ("top", "right"):
            place.spines[side].set_visible(False)
    return pixels(figure, dpi)
