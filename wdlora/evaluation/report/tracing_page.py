"""report.html of a check of the tracer: one page that opens without a network, without an image or a file's name."""

import base64
import html
import io
import math
from typing import TYPE_CHECKING

from ... import __version__
from ...anatomy.biomarkers.units import UNITS
from ..tracing_check import TracingCheck
from ..two_readers import TwoReaders
from .style import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, DOT, LINE = "#1f2933", "#2f6fb5", "#c2542d"


def tracing_page(found: TracingCheck) -> str:
    """The report as HTML."""
    parts = (_head, _overlap, _agreement, _worst, _limits)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>The tracer beside annotations</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body>{''.join(part(found) for part in parts)}</body></html>\n"
    )


def _head(found: TracingCheck) -> str:
    patients = f" of {found.patients} patients" if found.patients else ""
    made = (
        f"{len(found.pairs)} images{patients}, traced by {found.tracer}, measured by {found.rules}, wdlora "
        f"{__version__}. Intervals are of 95 %, by a bootstrap over {'patients' if found.patients else 'images'}."
    )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in found.notes)
    return (
        f'<h1>The tracer beside annotations</h1><p class="lead">{html.escape(made)}</p>'
        '<p class="warn"><b>Research software, not a medical device.</b> The figures are about these images and these '
        f"annotators. Other devices, sites and annotators need a check of their own.</p><ul>{notes}</ul>"
    )


def _overlap(found: TracingCheck) -> str:
    rows = "".join(
        f"<tr><td>{name}</td><td>{row['value']:.3f}</td><td>{_interval(row['low'], row['high'], 3)}</td></tr>"
        for name, row in found.figures().items()
    )
    return (
        f"<h2>Lines <small>within {found.choices.tolerance_um:g} µm</small></h2><p>Precision is the share of the "
        "traced length that is annotated too, recall the share of the annotated length that is traced, clDice their "
        "harmonic mean. CNFL is traced minus annotated, in mm/mm².</p>"
        '<div class="scroll"><table><thead><tr><th>figure</th><th>mean</th><th>95 %</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _agreement(found: TracingCheck) -> str:
    rows = ""
    agreement = found.agreement()
    for name, one in agreement.items():
        lowest, highest = one.limits
        rows += (
            f"<tr><td>{name}, {UNITS[name.lower()]}</td><td>{one.n}</td><td>{_figure(one.bias, 2)}</td>"
            f"<td>{_figure(lowest, 1)}</td><td>{_figure(highest, 1)}</td><td>{one.mean_absolute_error:.2f}</td>"
            f"<td>{_figure(one.icc, 2)}</td></tr>"
        )
    return (
        "<h2>Biomarkers <small>traced minus annotated</small></h2><p>95 % of new images lie within the limits of "
        "agreement (Bland & Altman). ICC(2,1) is the share of the variance between images that both readers see alike; "
        "it falls where images hardly differ.</p>"
        '<div class="scroll"><table><thead><tr><th>biomarker</th><th>n</th><th>bias</th><th>lower limit</th>'
        "<th>upper limit</th><th>mean error</th><th>ICC(2,1)</th></tr></thead>"
        f'<tbody>{rows}</tbody></table></div><figure><img alt="Differences over means" src="{_plot(found, agreement)}">'
        "<figcaption>Each dot is an image. Lines: bias and limits of agreement.</figcaption></figure>"
    )


def _worst(found: TracingCheck) -> str:
    rows = "".join(
        f"<tr><td>{pair.number:04d}</td><td>{html.escape(pair.patient) or '–'}</td><td>{pair.precision:.2f}</td>"
        f"<td>{pair.recall:.2f}</td><td>{pair.cl_dice:.2f}</td></tr>"
        for pair in found.worst()
    )
    return (
        "<h2>The images with the lowest clDice</h2><p>Images are numbered in the order of their names. They are drawn "
        "in <code>contains-real-images/worst.png</code>: look at every one before you rely on the figures above.</p>"
        '<div class="scroll"><table><thead><tr><th>image</th><th>patient</th><th>precision</th><th>recall</th>'
        f"<th>clDice</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _limits(found: TracingCheck) -> str:
    return (
        "<h2>What this does not say</h2><ul><li>An annotation is one reader's: two annotators of the same image differ "
        "as well, and the tracer can agree with no one better than they do with each other.</li><li>Images on which a "
        "tracer was tuned prove nothing about it.</li><li>Agreement on a mean does not make single images right: see "
        "the limits.</li></ul>"
    )


def _plot(found: TracingCheck, agreement: dict[str, TwoReaders]) -> str:
    """Bland–Altman plots of all biomarkers as a data URL."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * len(agreement), 2.9), facecolor="white", layout="constrained")
    for axes, (name, one) in zip(figure.subplots(1, len(agreement), squeeze=False)[0], agreement.items(), strict=True):
        _panel(axes, found, name, one)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _panel(axes: "Axes", found: TracingCheck, name: str, one: TwoReaders) -> None:
    key = name.lower()
    pairs = [(pair.annotated[key], pair.traced[key]) for pair in found.pairs]
    pairs = [(a, b) for a, b in pairs if a is not None and b is not None]
    axes.plot([(a + b) / 2 for a, b in pairs], [b - a for a, b in pairs], "o", ms=3.5, color=DOT, alpha=0.6, mew=0)
    for (value, _, _), style in ((one.bias, "-"), (one.limits[0], "--"), (one.limits[1], "--")):
        if math.isfinite(value):
            axes.axhline(value, color=LINE, lw=1.1, ls=style)
    axes.set_title(f"{name}, {UNITS[key]}", fontsize=9, loc="left", color=INK)
    axes.set_xlabel("mean of both", fontsize=8)
    axes.set_ylabel("traced − annotated", fontsize=8)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _figure(value: tuple[float, float, float], digits: int) -> str:
    middle, low, high = value
    if not math.isfinite(middle):
        return "–"
    return f"{middle:.{digits}f} {_interval(low, high, digits)}".strip()


def _interval(low: float | None, high: float | None, digits: int) -> str:
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"({low:.{digits}f} to {high:.{digits}f})"
