"""Pieces of a report page, as HTML."""

import base64
import html
import io
from collections.abc import Callable, Iterable
from typing import Any

from .plots import DARK, LIGHT, Palette
from .style import STYLE
from .tables import Table


def document(title: str, body: str) -> str:
    """A page that opens without a network; no line ends between a number and its per cent sign."""
    body = body.replace(" %", "\u00a0%")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{as_text(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body>{body}</body></html>\n"
    )


def section(title: str, question: str, intro: str, body: str) -> str:
    """A heading with its question, a sentence, and what follows; `body` is HTML."""
    lead = f"<p>{as_text(intro)}</p>" if intro else ""
    return f"<section><h2>{title} <small>{as_text(question)}</small></h2>{lead}{body}</section>"


def as_table(table: Table, style: str = "") -> str:
    """A table; `style`: "names2" has words in its first two columns, "words" in its last, "last" gives the room; "wide"
    puts intervals on a second line, and in print on the same one.
    """
    head = "".join(f"<th>{as_text(column)}</th>" for column in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{as_text(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    if "wide" in style.split():
        rows = rows.replace(" (", " <br>(")
    whole = f'<table class="{style}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="scroll">{whole}</div>'


def bullets(items: Iterable[str]) -> str:
    """A list."""
    return "<ul>" + "".join(f"<li>{as_text(item)}</li>" for item in items) + "</ul>"


def themed_plot(plot: Callable[[Palette], Any], caption: str) -> str:
    """A plot in both themes, with its sentence."""
    light, dark = (_svg(plot(palette)) for palette in (LIGHT, DARK))
    return (
        f'<figure><picture><source media="screen and (prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{html.escape(caption)}"></picture><figcaption>{as_text(caption)}</figcaption>'
        "</figure>"
    )


def _svg(figure: Any) -> str:
    """A figure as a data address; the same figure gives the same letters."""
    from matplotlib import rc_context

    memory = io.BytesIO()
    with rc_context({"svg.hashsalt": "wdlora"}):
        figure.savefig(memory, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(memory.getvalue()).decode()


def as_text(value: str) -> str:
    """Text for HTML."""
    return html.escape(value, quote=False)
