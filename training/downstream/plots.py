"""The plots of a downstream report: regimes with their intervals, and Fig. 8 of the paper."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from training.downstream.record import MAIN
from wdlora.evaluation.report.plots import Palette

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LABELS = {"accuracy": "accuracy of the diagnosis", "miou": "mIoU of the segmentation"}


def regime_plot(values: Mapping[str, Any], task: str, palette: Palette) -> "Figure":
    """Every regime's main figure with its interval; lines at chance and the ceiling, or at the shipped tracer."""
    found, main = values[task], MAIN[task]
    shown = [name for name in ("A0", "A", "B", "C", "S") if name in found]
    figure, axes = _figure((6.4, 0.42 * len(shown) + 1.0), palette)
    for row, name in enumerate(reversed(shown)):
        marks = [(found[name][main], 0.0, "o", palette.synthetic)]
        if task == "diagnosis" and name in found["probe"]:
            marks.append((found["probe"][name], -0.24, "s", palette.soft))
        for one, shift, shape, colour in marks:
            if one["value"] is not None:
                axes.plot((one["low"], one["high"]), [row + shift] * 2, color=colour, lw=1.8)
                axes.plot(one["value"], row + shift, shape, color=colour, ms=6)
    if task == "diagnosis":
        lines = {"chance": found["chance"], "ceiling": found["ceiling"]}
    else:
        lines = {"tracer": found["tracer"][main]["value"]}
    for name, place in lines.items():
        if place is not None and np.isfinite(place):
            axes.axvline(place, color=palette.soft, lw=1, ls="--", zorder=0)
            axes.annotate(
                name, (place, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=8,
                color=palette.soft,
            )  # fmt: skip
    axes.set_yticks(range(len(shown)), list(reversed(shown)))
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlabel(LABELS[main], fontsize=9, color=palette.ink)
    return figure


def rank_plot(rows: list[Mapping[str, Any]], task: str, palette: Palette) -> "Figure":
    """Bars of regime B by rank, a colour a method (the paper's Fig. 8), with intervals."""
    figure, axes = _figure((4.6, 3.0), palette)
    ranks, methods = sorted({row["rank"] for row in rows}), sorted({row["method"] for row in rows})
    for number, method in enumerate(methods):
        for row in (one for one in rows if one["method"] == method):
            one = row[task]["B"]
            if one["value"] is None:
                continue
            x = ranks.index(row["rank"]) + (number - (len(methods) - 1) / 2) * 0.36
            colour = (palette.soft, palette.synthetic)[method == "wdlora"]
            label = method if row["rank"] == min(r["rank"] for r in rows if r["method"] == method) else None
            axes.bar(x, one["value"], 0.32, color=colour, label=label)
            axes.plot((x, x), (one["low"], one["high"]), color=palette.ink, lw=1.2)
    axes.set_xticks(range(len(ranks)), [f"rank {rank}" for rank in ranks])
    axes.set_ylabel(LABELS[MAIN[task]], fontsize=9, color=palette.ink)
    axes.legend(fontsize=8, frameon=False, labelcolor=palette.ink)
    return figure


def _figure(size: tuple[float, float], palette: Palette) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, facecolor=palette.paper, layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor(palette.paper)
    for side, spine in axes.spines.items():
        spine.set_color(palette.grid)
        spine.set_visible(side in ("bottom", "left"))
    axes.tick_params(colors=palette.soft, labelsize=9)
    return figure, axes
