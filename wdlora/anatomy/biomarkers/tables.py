"""Tables of biomarkers: one row an image, one row a patient, one row a nerve."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

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
