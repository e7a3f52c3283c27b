"""Tables of biomarkers: one row an image, one row a patient, one row a nerve; as CSV or JSON values."""

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

from ...files import write_text
from .panel import Biomarkers
from .units import UNITS

AVERAGED = tuple(name for name in UNITS if name not in ("trunks", "branch_points", "branch_points_on_trunks"))
"""The figures that a patient's row averages."""

GROUPED = ("patient", "eye", "visit")
"""What the images of one such row have in common."""


def image_row(biomarkers: Biomarkers, columns: Mapping[str, str]) -> dict[str, Any]:
    """One image's row: the given columns (image, patient, eye, visit …), the panel, and why a figure is missing."""
    row: dict[str, Any] = dict(columns)
    row |= {name: value for name, value in biomarkers.to_dict().items() if name in UNITS}
    row["rules"] = biomarkers.rules
    row["pixel_height_um"], row["pixel_width_um"] = biomarkers.pixel_size_um
    row["reasons"] = "; ".join(f"{name}: {reason}" for name, reason in biomarkers.reasons.items())
    return row


def nerve_rows(biomarkers: Biomarkers, columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row for each nerve of an image, numbered from 1."""
    return [{**columns, "nerve": number, **nerve.to_dict()} for number, nerve in enumerate(biomarkers.nerves, start=1)]


def patient_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and SD over the images of each patient, eye and visit, and their number.

    `rows` are image rows of one rule set. Missing figures are left out, and `NAME_n` says how many remain where
    it is fewer than all; the SD (n − 1) is None for one image.
    """
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row.get(name, "")) for name in GROUPED), []).append(row)
    table = []
    for key, members in groups.items():
        line: dict[str, Any] = dict(zip(GROUPED, key, strict=True))
        line["images"] = len(members)
        for name in AVERAGED:
            values = [row[name] for row in members if row[name] is not None]
            line[f"{name}_mean"] = statistics.fmean(values) if values else None
            line[f"{name}_sd"] = statistics.stdev(values) if len(values) > 1 else None
            line[f"{name}_n"] = len(values)
        line["rules"] = members[0]["rules"]
        table.append(line)
    return table


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """RFC 4180 text with a header; missing figures are empty, numbers have 9 significant digits."""
    if not rows:
        return ""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.9g}"
    text = str(value)
    # A spreadsheet would run text that starts like this as a formula.
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def write_csv(path: str | PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `csv_text`, whole or not at all."""
    write_text(path, csv_text(rows))
