"""The plots of a report, as matplotlib figures in a light and a dark palette."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..fidelity import KEYS
from ..pillars import SetComparison
from ..sets import in_order
from .tables import DIGITS, LABELS, METRICS, decides, number_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Palette:
    """Colours of one theme; those of data are Okabe & Ito's (2008), which colour-blind readers tell apart."""

    ink: str
    soft: str
    grid: str
    paper: str
    real: str
    synthetic: str
    band: str
    verdicts: dict[str, str]
    cohorts: tuple[str, ...]


LIGHT = Palette(
    *("#1c2430", "#5b6776", "#d8dee6", "#ffffff", "#5b6776", "#0072b2", "#e4ebf2"),
    {"equivalent": "#00795a", "different": "#c0392b", "undecided": "#8a6d00"},
    ("#0072b2", "#d98200", "#b5478f", "#00795a", "#7a5c3e"),
)
DARK = Palette(
    *("#e6ebf2", "#9aa7b6", "#333d49", "#12171d", "#9aa7b6", "#56b4e9", "#26313c"),
    {"equivalent": "#3fc79a", "different": "#ff7b6b", "undecided": "#e0bf4a"},
    ("#56b4e9", "#f0a830", "#e08ac0", "#3fc79a", "#c8a582"),
)
MARKS = {"equivalent": "o", "different": "s", "undecided": "D"}


def distance_plot(found: SetComparison, palette: Palette = LIGHT) -> "Figure":
    """Every figure of pillar 1 with its interval, on the range of real against real."""
    shown = [key for key in KEYS if found.overall.figures[key].defined and found.overall.floor[key].defined]
    figure = _figure((7.6, 0.62 * max(len(shown), 1) + 0.5), palette)
    for row, key in enumerate(shown):
        one, floor = found.overall.figures[key], found.overall.floor[key]
        axes = figure.add_axes((0.2, 1 - (row + 0.72) / (len(shown) + 0.35), 0.56, 0.34 / (len(shown) + 0.35)))
        _plain(axes, palette)
        axes.axvspan(floor.low, floor.high, color=palette.band, lw=0, zorder=0)
        axes.plot([floor.value] * 2, (0, 1), color=palette.real, lw=1.5)
        axes.plot((one.low, one.high), (0.5, 0.5), color=palette.synthetic, lw=2)
        axes.plot(one.value, 0.5, "o", color=palette.synthetic, ms=7)
        reach = max(one.high, floor.high) - min(one.low, floor.low)
        axes.set_xlim(min(one.low, floor.low) - 0.06 * reach, max(one.high, floor.high) + 0.06 * reach)
        axes.set_ylim(0, 1)
        axes.set_yticks([])
        axes.tick_params(labelsize=8)
        axes.text(
            -0.03, 0.5, LABELS[key], transform=axes.transAxes, ha="right", va="center", fontsize=10, color=palette.ink
        )
        digits = DIGITS.get(key, 3)
        beside = f"{number_text(one.value, digits)}   real {number_text(floor.value, digits)}"
        axes.text(1.03, 0.5, beside, transform=axes.transAxes, ha="left", va="center", fontsize=9, color=palette.ink)
    _footer(figure, f"{found.reader.extractor.name}, n = {found.overall.figures['kid'].n} a side", palette)
    return figure


def forest_plot(found: SetComparison, palette: Palette = LIGHT) -> "Figure":
    """Table V as a forest plot: differences in per cent of the real mean, on the margin of ±10 %."""
    rows = [one for one in found.biomarkers if one.difference.defined and one.margin > 0]
    figure = _figure((8.6, 0.31 * len(rows) + 1.1), palette)
    axes = figure.add_axes((0.27, 0.75 / (0.31 * len(rows) + 1.1), 0.4, 1 - 1.0 / (0.31 * len(rows) + 1.1)))
    _plain(axes, palette)
    axes.axvspan(-10, 10, color=palette.band, lw=0, zorder=0)
    axes.axvline(0, color=palette.soft, lw=1)
    reach = 15.0
    for y, one in enumerate(reversed(rows)):
        scale, colour = 10 / one.margin, palette.verdicts[one.verdict]
        value, low, high = (x * scale for x in (one.difference.value, one.difference.low, one.difference.high))
        if np.isfinite(low):
            axes.plot((low, high), (y, y), color=colour, lw=1.1)
            axes.plot([x * scale for x in one.inner], (y, y), color=colour, lw=3, solid_capstyle="butt")
            reach = max(reach, abs(low), abs(high))
        axes.plot(value, y, MARKS[one.verdict], color=colour, ms=6)
        place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 9}
        axes.text(-0.02, y, f"{one.cohort}  {METRICS[one.metric][0]}", ha="right", color=palette.ink, **place)
        note = one.verdict if one.verdict != "undecided" else f"undecided: {_short(one)}"
        axes.text(1.02, y, note, ha="left", color=colour, **place)
    axes.set_xlim(-min(reach, 120) * 1.04, min(reach, 120) * 1.04)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_yticks([])
    axes.set_xlabel(
        "synthetic − real, % of the real mean (thick: 90 %, thin: 95 % interval)", fontsize=9, color=palette.soft
    )
    _footer(figure, f"traced by {found.reader.tracer}, rules {found.reader.rules}", palette)
    return figure


def _short(one: Any) -> str:
    return decides(one.verdict, one.needed, "no margin" if one.reason else "")


def map_plot(found: SetComparison, palette: Palette = LIGHT) -> "Figure":
    """The map of images: real and synthetic side by side on one pair of axes, by cohort (the paper's Fig. 7)."""
    names = in_order(set(found.map.cohort.tolist()))
    figure = _figure((8.6, 4.3), palette)
    middle = (found.map.xy.min(0) + found.map.xy.max(0)) / 2
    half = 0.54 * float(np.ptp(found.map.xy, axis=0).max())
    for column, (title, synthetic) in enumerate((("real", False), ("synthetic", True))):
        axes = figure.add_axes((0.02 + 0.5 * column, 0.1, 0.46, 0.82))
        _plain(axes, palette, frame=True)
        axes.set_title(title, fontsize=11, color=palette.ink, loc="left")
        axes.plot(*found.map.xy[found.map.synthetic != synthetic].T, ".", ms=3, color=palette.grid, zorder=0)
        for number, name in enumerate(names):
            inside = (found.map.synthetic == synthetic) & (found.map.cohort == name)
            colour = palette.cohorts[number % len(palette.cohorts)]
            mark = "osDv^"[number % 5]
            axes.plot(
                *found.map.xy[inside].T, mark, ms=4, color=colour, mew=0, alpha=0.8, label=name or "cohort not known"
            )
        axes.set_xlim(middle[0] - half, middle[0] + half)
        axes.set_ylim(middle[1] - half, middle[1] + half)
        axes.set_xticks([])
        axes.set_yticks([])
    handles = axes.get_legend_handles_labels()
    legend = figure.legend(*handles, loc="lower center", ncols=len(names), frameon=False, fontsize=9)
    for label in legend.get_texts():
        label.set_color(palette.ink)
    _footer(figure, f"{found.reader.extractor.name}, {found.map.method}", palette)
    return figure


def copies_plot(found: SetComparison, palette: Palette = LIGHT) -> "Figure":
    """Similarity to the nearest original: synthetic images beside held-out ones, and the threshold."""
    images = found.copies.images
    figure = _figure((7.6, 2.9), palette)
    axes = figure.add_axes((0.09, 0.2, 0.88, 0.68))
    _plain(axes, palette)
    yardstick = "held-out real images" if found.copies.trained else "real images of other patients"
    edges = np.linspace(0, 1, 51).tolist()
    for values, colour, label in (
        (images.of_holdout, palette.real, yardstick),
        (images.found.similarity, palette.synthetic, "synthetic images"),
    ):
        known = np.clip(values[np.isfinite(values)], 0, 1)
        weights = np.full(len(known), 100 / max(len(known), 1))
        axes.hist(known, edges, weights=weights, histtype="stepfilled", color=colour, alpha=0.25)
        axes.hist(known, edges, weights=weights, histtype="step", color=colour, lw=1.6, label=label)
    axes.axvline(images.threshold, color=palette.verdicts["different"], lw=1.4, ls="--", label=f"99 % of {yardstick}")
    axes.set_xlim(0, 1)
    axes.set_xlabel("similarity to the nearest original (1: the same image)", fontsize=9, color=palette.soft)
    axes.set_ylabel("% of images", fontsize=9, color=palette.soft)
    legend = axes.legend(frameon=False, fontsize=9, loc="upper right")
    for label_text in legend.get_texts():
        label_text.set_color(palette.ink)
    _footer(figure, f"correlation at 48 × 48 pixels, n = {len(images.of_holdout)} and {images.n}", palette)
    return figure


PLOTS: dict[str, Callable[[SetComparison, Palette], "Figure"]] = {
    "distances": distance_plot,
    "biomarkers": forest_plot,
    "map": map_plot,
    "copies": copies_plot,
}


def _figure(size: tuple[float, float], palette: Palette) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=size, facecolor=palette.paper)


def _footer(figure: "Figure", made: str, palette: Palette) -> None:
    """What the figure was made with, so that it can stand alone."""
    figure.text(0.995, 0.01, made, ha="right", va="bottom", fontsize=7, color=palette.soft)


def _plain(axes: Any, palette: Palette, frame: bool = False) -> None:
    """Thin lines in the theme's colours."""
    axes.set_facecolor(palette.paper)
    for side, spine in axes.spines.items():
        spine.set_color(palette.grid)
        spine.set_visible(frame or side == "bottom")
    axes.tick_params(colors=palette.soft, labelsize=9)
