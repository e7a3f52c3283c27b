"""The biomarkers of one image as an annotated picture for a talk (after the paper's Fig. 6)."""

import math
from typing import Any

import numpy as np

from ...errors import InputError
from ...plotting import pixels
from .overlay import COLOURS, ELSEWHERE, ON_TRUNK
from .panel import Biomarkers, Nerve
from .units import UNITS

BACKGROUND, PANEL, EDGE, TEXT, QUIET = "#0e1116", "#161b22", "#30363d", "#f0f3f6", "#8b949e"
LINE_WIDTHS = {"free": 1.9, "branch": 1.9, "trunk": 2.6}

NUMBERS = (
    ("cnfl", "CNFL", "{:.2f}"),
    ("cnfd", "CNFD", "{:.2f}"),
    ("cnbd", "CNBD", "{:.2f}"),
    ("ctbd", "CTBD", "{:.2f}"),
    ("mean_width_um", "mean width", "{:.2f}"),
    ("cnfw", "CNFW", "{:.2f}"),
    ("cnfa", "CNFA", "{:.4f}"),
    ("cnfrd", "CNFrD", "{:.3f}"),
    ("tortuosity", "tortuosity", "{:.3f}"),
    ("curvature_per_mm", "curvature", "{:.2f}"),
)
"""What the picture says in numbers: key of the panel, label, format; the first four on cards."""

CAPTIONS = UNITS | {"tortuosity": "arc/chord"}


def annotated_picture(
    biomarkers: Biomarkers, mask: np.ndarray, image: np.ndarray | None = None, title: str | None = None
) -> np.ndarray:
    """Draw trunks, branches, free fibres, branch points, widths and the panel's numbers.

    `mask` [H, W] is the one that was measured; `image` [H, W] what it was traced on (without it the mask is
    shown). Returns uint8 [900, 1600, 3]. Raises InputError where the shapes differ.
    """
    from matplotlib.figure import Figure

    mask = np.asarray(mask) != 0
    if image is not None and np.shape(image) != mask.shape:
        raise InputError(f"the image's shape is {np.shape(image)} but the mask's is {mask.shape}: they must match")
    picture = Figure(figsize=(16, 9), dpi=100, facecolor=BACKGROUND)
    row_um, column_um = biomarkers.pixel_size_um
    extent = (-0.5, mask.shape[1] - 0.5, mask.shape[0] - 0.5, -0.5)
    options: dict[str, Any] = {"cmap": "gray", "extent": extent, "aspect": row_um / column_um}

    main = picture.add_axes((0.022, 0.045, 0.505, 0.865))
    if image is None:
        main.imshow(mask, vmin=0, vmax=2.6, interpolation="nearest", **options)
    else:
        low, high = np.percentile(image, (0.5, 99.7))
        main.imshow(image, vmin=low, vmax=max(high, low + 1), interpolation="bilinear", **options)
    _nerves(main, biomarkers)
    _scale_bar(main, mask.shape, column_um)

    widths = picture.add_axes((0.548, 0.045, 0.29, 0.5156))
    _width_map(picture, widths, biomarkers, mask, options)
    for axes in (main, widths):
        axes.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[])
        axes.set_anchor("NW" if axes is main else "SW")
        for spine in axes.spines.values():
            spine.set_edgecolor(EDGE)
    _headline(picture, biomarkers, title)
    _numbers(picture, biomarkers)
    return pixels(picture, 100)


def _nerves(axes: Any, biomarkers: Biomarkers) -> None:
    """Centrelines by kind, branch points, and the legend that counts them."""
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import Normal, Stroke

    dark = [Stroke(linewidth=4.2, foreground="#000000a0"), Normal()]
    for kind, colour in COLOURS.items():
        for nerve in biomarkers.nerves:
            if nerve.kind == kind:
                axes.plot(*nerve.path.T, color=colour, lw=LINE_WIDTHS[kind], solid_capstyle="round", path_effects=dark)
    on = biomarkers.branch_on_trunk
    for points, colour in ((biomarkers.branch_xy[on], ON_TRUNK), (biomarkers.branch_xy[~on], ELSEWHERE)):
        axes.plot(*points.T, "o", ms=8.5, mfc="none", mec="#000000", mew=3.4)
        axes.plot(*points.T, "o", ms=8.5, mfc="none", mec=colour, mew=1.8)

    def ring(colour: str) -> Line2D:
        return Line2D([], [], ls="", marker="o", mfc="none", mec=colour, mew=1.8, ms=8)

    count = {kind: sum(nerve.kind == kind for nerve in biomarkers.nerves) for kind in COLOURS}
    entries = [
        (Line2D([], [], color=COLOURS["trunk"], lw=3), f"trunks  {biomarkers.trunks}"),
        (Line2D([], [], color=COLOURS["branch"], lw=2.4), f"branches  {count['branch']}"),
        (Line2D([], [], color=COLOURS["free"], lw=2.4), f"free fibres  {count['free']}"),
        (ring(ON_TRUNK), f"branch points on trunks  {biomarkers.branch_points_on_trunks}"),
    ]
    if elsewhere := biomarkers.branch_points - biomarkers.branch_points_on_trunks:
        entries.append((ring(ELSEWHERE), f"others  {elsewhere}"))
    axes.legend(
        *zip(*entries, strict=True),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.005),
        ncols=len(entries),
        fontsize=11.5,
        labelcolor=TEXT,
        frameon=False,
        handlelength=1.4,
        columnspacing=1.6,
        borderaxespad=0.3,
    )


def _scale_bar(axes: Any, shape: tuple[int, ...], column_um: float) -> None:
    """A bar of a round length, about a quarter of the image."""
    target = shape[1] * column_um / 4
    power = 10 ** math.floor(math.log10(target))
    length_um = max(step * power for step in (1, 2, 5) if step * power <= target)
    right, bottom = shape[1] * 0.965, shape[0] * 0.962
    span = (right - length_um / column_um, right)
    axes.plot(span, (bottom, bottom), color="black", lw=7, solid_capstyle="butt")
    axes.plot(span, (bottom, bottom), color="white", lw=4, solid_capstyle="butt")
    box = {"boxstyle": "round,pad=0.25", "fc": "#000000a0", "ec": "none"}
    style: dict[str, Any] = {"color": "white", "ha": "center", "va": "bottom", "fontsize": 12, "bbox": box}
    axes.text(sum(span) / 2, bottom - 0.018 * shape[0], f"{length_um:g} µm", **style)


def local_widths(nerve: Nerve, distance: np.ndarray) -> np.ndarray:
    """float64 [n]: width in µm at each point of a nerve's path.

    The distance to the mask's edge gives the profile of the width, area over length its mean: read alone, the
    distance depends on a line's orientation. `distance` [H, W] is the distance transform of the mask.
    """
    from scipy.ndimage import gaussian_filter1d

    column, row = np.clip(np.rint(nerve.path).astype(int), 0, np.array(distance.shape[::-1]) - 1).T
    profile = gaussian_filter1d(np.maximum(distance[row, column], 0.5), 5.0, mode="nearest")
    return profile / profile.mean() * nerve.width_um


def _width_map(picture: Any, axes: Any, biomarkers: Biomarkers, mask: np.ndarray, options: dict[str, Any]) -> None:
    """Every pixel of the mask in the colour of the local width of its nerve."""
    from scipy.ndimage import distance_transform_edt
    from scipy.spatial import cKDTree

    axes.set_facecolor("black")
    axes.set_title("local width, µm", color=TEXT, fontsize=13, loc="left", pad=8)
    nerves = [nerve for nerve in biomarkers.nerves if np.isfinite(nerve.width_um)]
    values = np.full(mask.shape, np.nan)
    low, high = 0.0, 1.0
    if nerves:
        distance = distance_transform_edt(np.pad(mask, 8, mode="edge"))[8:-8, 8:-8]
        width = np.concatenate([local_widths(nerve, distance) for nerve in nerves])
        cell = np.argwhere(mask)
        away, nearest = cKDTree(np.concatenate([nerve.path for nerve in nerves])).query(cell[:, ::-1])
        near = away < 12
        values[tuple(cell[near].T)] = width[nearest[near]]
        low, high = (math.floor(2 * edge) / 2 for edge in np.percentile(width, (2, 98)))
        high = max(high + 0.5, low + 1)
    drawn = axes.imshow(values, vmin=low, vmax=high, interpolation="nearest", **(options | {"cmap": "plasma"}))
    if nerves:
        bar = picture.colorbar(drawn, cax=picture.add_axes((0.846, 0.045, 0.011, 0.5156)))
        bar.outline.set_edgecolor(EDGE)
        bar.ax.tick_params(colors=QUIET, labelsize=10.5, length=0)


def _headline(picture: Any, biomarkers: Biomarkers, title: str | None) -> None:
    """Title and, small, what the numbers rest on."""
    height, width = biomarkers.shape
    row_um, column_um = biomarkers.pixel_size_um
    title = title or "Corneal nerve biomarkers"
    picture.text(0.022, 0.945, title, color=TEXT, fontsize=21, weight="bold", va="center", parse_math=False)
    basis = f"{width * column_um:.0f} × {height * row_um:.0f} µm   ·   rules {biomarkers.rules}   ·   research use only"
    picture.text(0.978, 0.945, basis, color=QUIET, fontsize=12, va="center", ha="right")


def _fitting_size(texts: list[str], width: float) -> float:
    """The one size in points, at most 27, at which each of `texts` in bold is at most `width` points wide."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    bold = FontProperties(weight="bold")
    longest = max(TextPath((0, 0), text, size=27, prop=bold).get_extents().width for text in texts)
    return min(27.0, 27 * width / longest)


def _numbers(picture: Any, biomarkers: Biomarkers) -> None:
    """The panel's numbers: the first four on cards, the rest in a column."""
    from matplotlib.patches import FancyBboxPatch

    def formatted(name: str, form: str) -> str:
        value = getattr(biomarkers, name)
        return form.format(value) if math.isfinite(value) else "–"

    left, right, gap, inset = 0.548, 0.978, 0.01, 0.012
    wide = (right - left - 3 * gap) / 4
    rounded = "round,pad=0,rounding_size=0.008"
    points = (wide - 2 * inset) * 72 * picture.get_figwidth()
    size = _fitting_size([formatted(name, form) for name, _, form in NUMBERS[:4]], points)
    for k, (name, label, form) in enumerate(NUMBERS[:4]):
        x = left + k * (wide + gap)
        card = FancyBboxPatch((x, 0.655), wide, 0.235, boxstyle=rounded, fc=PANEL, ec=EDGE, mutation_aspect=16 / 9)
        picture.add_artist(card)
        picture.text(x + inset, 0.853, label, color=QUIET, fontsize=14, va="center")
        picture.text(x + inset, 0.770, formatted(name, form), color=TEXT, fontsize=size, weight="bold", va="center")
        picture.text(x + inset, 0.692, CAPTIONS[name], color=QUIET, fontsize=12, va="center")
    x, top, step = 0.884, 0.5606, 0.0859
    for k, (name, label, form) in enumerate(NUMBERS[4:]):
        y = top - k * step
        picture.text(x, y - 0.004, label, color=QUIET, fontsize=11.5, va="top")
        picture.text(right, y - 0.005, CAPTIONS[name], color=QUIET, fontsize=10, va="top", ha="right")
        picture.text(x, y - 0.029, formatted(name, form), color=TEXT, fontsize=16, weight="bold", va="top")
