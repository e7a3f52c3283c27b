"""A picture of how far an adapter moves its base."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..files import atomic_write
from ..plotting import pixels
from .movement import Movement, summary
from .names import BLOCK_MODULES, OUTER_MODULES, block_and_target

if TYPE_CHECKING:
    import numpy as np

    from .file import Adapter

INK, GREY = "#1f2933", "#7b8794"
WIDEST, NODE = 13.0, 5.4
"""Widths in inches: of a picture for paper, and of one that is read in a node some 450 pixels wide."""


def plot(moved: list[Movement], path: str | os.PathLike, title: str) -> None:
    """Draw two maps, module × block: median turn of the rows in degrees, median change of the magnitudes in %.

    `path` ends in .png, .svg or .pdf. Raises InputError on another ending.
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(f"the picture {path} must end in .png, .svg or .pdf")
    figure = _moved_figure(moved, title, WIDEST)
    try:
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=160, format=path.suffix[1:].lower())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


def moved_picture(moved: list[Movement], title: str, dpi: int = 120) -> "np.ndarray":
    """The same two maps as pixels, as narrow as a node: uint8 [H, W, 3]."""
    return pixels(_moved_figure(moved, title, NODE), dpi)


def size_picture(adapter: "Adapter", title: str, dpi: int = 120) -> "np.ndarray":
    """What can be drawn without a base, uint8 [H, W, 3]: the median length of the rows of sBA, module × block."""
    import numpy as np

    lengths = {}
    for name, layer in adapter.layers.items():
        a, b = layer.lora_a.float(), layer.lora_b.float()
        rows = ((b @ (a @ a.T)) * b).sum(1).clamp_min(0).sqrt() * abs(layer.scaling)
        lengths[name] = float(rows.median())
    targets, columns, cells = _grid(list(lengths))
    values = np.full((len(targets), len(columns)), np.nan)
    for name, value in lengths.items():
        values[cells[name]] = value
    figure, axes = _page(title, targets, columns, 1, NODE)
    _map(figure, axes[0], values, targets, columns, "", "viridis")
    axes[0].set_title("Size of the update: median length of the rows of sBA", loc="left", fontsize=9, color=INK, pad=5)
    axes[0].set_xlabel("block", fontsize=9, color=INK)
    return pixels(figure, dpi)


def _grid(modules: list[str]) -> tuple[list[str], list[int | None], dict[str, tuple[int, int]]]:
    """Kinds of module (rows), blocks (columns; None: outside the blocks), and every module's cell."""
    places = {module: block_and_target(module) for module in modules}
    blocks = sorted({block for block, _ in places.values() if block is not None})
    columns: list[int | None] = [*blocks, *([None] if any(block is None for block, _ in places.values()) else [])]
    order = [*BLOCK_MODULES, *OUTER_MODULES]
    targets = sorted({t for _, t in places.values()}, key=lambda t: (order.index(t) if t in order else len(order), t))
    return targets, columns, {m: (targets.index(t), columns.index(b)) for m, (b, t) in places.items()}


def _page(title: str, targets: list[str], columns: list[int | None], maps: int, widest: float) -> tuple[Any, Any]:
    """A figure with its title and `maps` axes below each other, at most `widest` inches wide."""
    from matplotlib.figure import Figure

    width = min(widest, max(7.4, 3.0 + 0.16 * len(columns)))
    panel = max(1.1, 0.24 * len(targets) + 0.35)
    heading = 0.5 if width > NODE else 0.65  # of one line or two
    height = maps * panel + heading * maps + 0.6
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.subplots(maps, 1, sharex=True, squeeze=False)[:, 0]
    figure.subplots_adjust(
        left=1.45 / width,
        right=1 - 0.75 / width,
        top=1 - 0.78 / height,
        bottom=0.55 / height,
        hspace=(heading - 0.1) / panel,
    )
    figure.text(0.12 / width, 1 - 0.26 / height, title, fontsize=12, weight="bold", color=INK, va="center")
    return figure, axes


def _moved_figure(moved: list[Movement], title: str, widest: float) -> Any:
    import numpy as np

    targets, columns, cells = _grid([m.module for m in moved])
    maps = np.full((2, len(targets), len(columns)), np.nan)
    for m in moved:
        if np.isfinite(m.degrees).any():
            maps[(0, *cells[m.module])] = np.nanmedian(m.degrees)
            maps[(1, *cells[m.module])] = np.nanmedian(np.abs(m.magnitude_percent))

    total = summary(moved)
    figure, axes = _page(title, targets, columns, 2, widest)
    between = "  ·  " if widest > NODE else "\n"
    headings = ["Direction: median turn of the rows", "Magnitude: median change of the rows"]
    if total["rows"]:
        headings[0] += (
            f"{between}all rows {total['direction_degrees_median']:.2g}°, "
            f"95 % below {total['direction_degrees_p95']:.2g}°"
        )
        headings[1] += (
            f"{between}all rows {total['magnitude_percent_median']:.2g} %, "
            f"95 % below {total['magnitude_percent_p95']:.2g} %"
        )
    for axis, values, unit, colours, heading in zip(
        axes, maps, ("°", " %"), ("viridis", "magma"), headings, strict=True
    ):
        _map(figure, axis, values, targets, columns, unit, colours)
        axis.set_title(heading, loc="left", fontsize=9, color=INK, pad=5)
    axes[1].set_xlabel("block", fontsize=9, color=INK)
    return figure


def _map(figure, axis, values: "np.ndarray", targets: list[str], columns: list, unit: str, colours: str) -> None:
    import numpy as np

    top = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    image = axis.imshow(values, aspect="auto", cmap=colours, vmin=0, vmax=top or 1.0, interpolation="nearest")
    axis.set_yticks(range(len(targets)), targets, fontsize=8, color=INK)
    step = max(1, -(-len(columns) // int(2.4 * figure.get_figwidth())))
    labelled = [i for i, block in enumerate(columns) if block is None or i % step == 0]
    axis.set_xticks(
        labelled, ["outer" if columns[i] is None else str(columns[i]) for i in labelled], fontsize=8, color=INK
    )
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
