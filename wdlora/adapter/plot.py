"""A picture of how far an adapter moves its base."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..files import whole
from .compare import Movement, summary
from .names import BLOCK_MODULES, OUTER_MODULES, block_and_target

if TYPE_CHECKING:
    import numpy as np

INK, GREY = "#1f2933", "#7b8794"


def plot(moved: list[Movement], path: str | os.PathLike, title: str) -> None:
    """Draw two maps, module × block: median turn of the rows in degrees, median change of the magnitudes in %.

    `path` ends in .png, .svg or .pdf. Raises InputError on another ending.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = Path(path)
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(f"the picture {path} must end in .png, .svg or .pdf")
    places = [block_and_target(m.module) for m in moved]
    blocks = sorted({block for block, _ in places if block is not None})
    columns: list[int | None] = [*blocks, *([None] if any(block is None for block, _ in places) else [])]
    order = [*BLOCK_MODULES, *OUTER_MODULES]
    targets = sorted({t for _, t in places}, key=lambda t: (order.index(t) if t in order else len(order), t))
    maps = np.full((2, len(targets), len(columns)), np.nan)
    for m, (block, target) in zip(moved, places, strict=True):
        if np.isfinite(m.degrees).any():
            cell = targets.index(target), columns.index(block)
            maps[(0, *cell)] = np.nanmedian(m.degrees)
            maps[(1, *cell)] = np.nanmedian(np.abs(m.magnitude_percent))

    total = summary(moved)
    width = min(13.0, max(7.4, 3.0 + 0.16 * len(columns)))
    panel = max(1.1, 0.24 * len(targets) + 0.35)
    height = 2 * panel + 1.6
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 1, sharex=True)
    figure.subplots_adjust(
        left=1.45 / width, right=1 - 0.75 / width, top=1 - 0.78 / height, bottom=0.55 / height, hspace=0.4 / panel
    )
    figure.text(0.12 / width, 1 - 0.26 / height, title, fontsize=12, weight="bold", color=INK, va="center")
    headings = ["Direction: median turn of the rows", "Magnitude: median change of the rows"]
    if total["rows"]:
        headings[0] += (
            f"  ·  all rows {total['direction_degrees_median']:.2g}°, 95 % below {total['direction_degrees_p95']:.2g}°"
        )
        headings[1] += (
            f"  ·  all rows {total['magnitude_percent_median']:.2g} %, "
            f"95 % below {total['magnitude_percent_p95']:.2g} %"
        )
    for axis, values, unit, colours, heading in zip(
        axes, maps, ("°", " %"), ("viridis", "magma"), headings, strict=True
    ):
        _map(figure, axis, values, targets, columns, unit, colours)
        axis.set_title(heading, loc="left", fontsize=9, color=INK, pad=5)
    axes[1].set_xlabel("block", fontsize=9, color=INK)
    try:
        with whole(path) as temporary:
            figure.savefig(temporary, dpi=160, format=path.suffix[1:].lower())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


def _map(figure, axis, values: "np.ndarray", targets: list[str], columns: list, unit: str, colours: str) -> None:
    import numpy as np

    top = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    image = axis.imshow(values, aspect="auto", cmap=colours, vmin=0, vmax=top or 1.0, interpolation="nearest")
    axis.set_yticks(range(len(targets)), targets, fontsize=8, color=INK)
    step = max(1, -(-len(columns) // 30))
    shown = [i for i, block in enumerate(columns) if block is None or i % step == 0]
    axis.set_xticks(shown, ["outer" if columns[i] is None else str(columns[i]) for i in shown], fontsize=8, color=INK)
    axis.tick_params(length=0)
    axis.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(len(targets) + 1) - 0.5, minor=True)
    axis.grid(which="minor", color="white", linewidth=0.8)
    axis.tick_params(which="minor", length=0)
    for side in axis.spines.values():
        side.set_visible(False)
    if len(columns) <= 8:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                colour = "white" if value < 0.6 * top else INK
                axis.text(column, row, f"{value:.2g}", ha="center", va="center", fontsize=7.5, color=colour)
    bar = figure.colorbar(image, ax=axis, pad=0.012, fraction=0.03, aspect=12, format=f"{{x:g}}{unit}")
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2, color=GREY, labelcolor=INK)
