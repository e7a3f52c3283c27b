"""The report of an evaluation: report.html, report.json, plots, tables, and the nearest pairs."""

from pathlib import Path
from typing import Any

from ...files import atomic_write, write_json, write_text
from ..pillars import SetComparison
from .page import page
from .plots import LIGHT, PLOTS
from .record import record as record
from .sheet import write_sheet
from .tables import write_tables


def write_evaluation(found: SetComparison, out: Path) -> dict[str, Any]:
    """Write everything into `out`; returns what report.json holds.

        report.html   report.json   tables/*.csv   plots/*.png   contains-real-images/nearest-pairs.png

    Every file appears whole or not at all, report.json last.
    """
    values = record(found)
    write_tables(found, out / "tables")
    for name, plot in PLOTS.items():
        with atomic_write(out / "plots" / f"{name}.png") as temporary:
            plot(found, LIGHT).savefig(temporary, format="png", dpi=160, metadata={"Software": None})
    write_sheet(found, out)
    write_text(out / "report.html", page(found))
    write_json(out / "report.json", values)
    return values
