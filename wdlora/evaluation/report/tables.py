"""The tables of a report: as rows for the page, and as CSV files."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...anatomy.biomarkers.units import UNITS
from ...csv_table import write_csv
from ..equivalence import MARGIN
from ..estimate import Estimate
from ..pillars import SetComparison
from ..sets import in_order
from .record import counts, record

LABELS = {
    "kid": "KID",
    "fid": "FID",
    "auc": "two-sample AUC",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
}
DIGITS = {"fid": 2, "psnr": 1}
"""Decimals of figures; the others have three."""

REACHABLE = 10_000
"""Patients a group, above which the number alone matters to nobody: the difference lies just inside the margin."""

METRICS = {
    "cnfl": ("CNFL", 2),
    "cnfd": ("CNFD", 2),
    "cnbd": ("CNBD", 2),
    "cnfw": ("CNFW", 2),
    "ctbd": ("CTBD", 2),
    "cnfa": ("CNFA", 4),
    "mean_width_um": ("mean width", 2),
    "cnfrd": ("fractal dimension", 3),
    "tortuosity": ("tortuosity", 3),
    "curvature_per_mm": ("curvature", 2),
}
"""Names and decimals of biomarkers."""


@dataclass(frozen=True)
class Table:
    """`columns` and `rows` of text; the first column names the row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def distances(found: SetComparison, notes: Mapping[str, str]) -> Table:
    """Pillar 1's figures beside real against real, each with its sentence."""
    rows = []
    for key, one in found.overall.figures.items():
        digits = DIGITS.get(key, 3)
        rows.append([LABELS[key], with_interval(one, digits), span(found.overall.floor[key], digits), notes[key]])
    return Table(("figure", "synthetic", "real against real", "what it says"), rows)


def cohort_table(found: SetComparison) -> Table:
    """Table IV's layout: KID and FID of every cohort with their baselines, and the similarity of pairs."""
    paired = found.options.pairs
    columns = ["cohort", "KID", "real against real", "FID", "real against real", "n a side"]
    columns += [LABELS[key] for key in ("psnr", "ssim", "ms_ssim")] if paired else []
    rows = []
    for name, beside in (*found.by_cohort.items(), ("all", found.overall)):
        row = [name]
        for key in ("kid", "fid"):
            row += [with_interval(beside.figures[key], DIGITS.get(key, 3)), span(beside.floor[key], DIGITS.get(key, 3))]
        row.append(str(beside.figures["kid"].n))
        if paired:
            similarity = found.similarity if name == "all" else found.similarity_by_cohort.get(name, {})
            row += [
                with_interval(similarity[key], DIGITS.get(key, 3)) if key in similarity else "–"
                for key in found.similarity
            ]
        rows.append(row)
    return Table(columns, rows)


def similarity(found: SetComparison) -> Table:
    """Pairs of one mask beside fresh texture and unrelated images."""
    columns = ("figure", "painted and real image of one mask", "two phantoms of one mask", "two unrelated real images")
    rows = []
    for key, one in found.similarity.items():
        parts = (one, found.fresh[key], found.unrelated[key])
        rows.append([LABELS[key], *(with_interval(part, DIGITS.get(key, 3)) for part in parts)])
    return Table(columns, rows)


def variety(found: SetComparison) -> Table:
    """Table VI's layout: diversity of every cohort, separability, Fisher's ratio."""
    rows = [
        [f"diversity, {name}", with_interval(one.real, 2), with_interval(one.synthetic, 2)]
        for name, one in found.diversity.items()
    ]
    names = {"separability": "separability of cohorts", "fisher": "Fisher ratio"}
    for key, both in found.between.items():
        digits = 2 if key == "separability" else 3
        rows.append([names[key], with_interval(both.real, digits), with_interval(both.synthetic, digits)])
    return Table(("figure", "real", "synthetic"), rows)


def difference_table(found: SetComparison) -> Table:
    """Table V's layout with differences, margins and verdicts."""
    columns = ("biomarker", "cohort", "real", "synthetic", "difference (95 %)", "margin", "p", "verdict", "decides at")
    rows = []
    for one in found.biomarkers:
        label, digits = named(one.metric)
        spread = [
            f"{number_text(mean.value, digits)} ± {number_text(sd, digits)}"
            for mean, sd in zip((one.real, one.synthetic), one.sd, strict=True)
        ]
        margin = f"±{number_text(one.margin, digits)}"
        rows.append(
            [
                label,
                one.cohort,
                *spread,
                with_interval(one.difference, digits),
                margin,
                p_value(one.adjusted),
                one.verdict,
                decides(one.verdict, one.needed, one.reason),
            ]
        )
    return Table(columns, rows)


def named(metric: str) -> tuple[str, int]:
    """A biomarker's name with its unit, and its decimals."""
    name, digits = METRICS[metric]
    return (f"{name}, {UNITS[metric]}" if UNITS[metric] else name), digits


def decides(verdict: str, needed: int | None, reason: str) -> str:
    """What would decide an undecided comparison."""
    if verdict != "undecided":
        return ""
    if needed is None:
        return reason or f"beyond ±{100 * MARGIN:.0f} %"
    return f"{whole_number(needed)} a group" if needed <= REACHABLE else f"{beyond_reach()} a group"


def beyond_reach() -> str:
    """What is said of a count that no study has."""
    return f"more than {whole_number(REACHABLE)}"


def whole_number(value: int) -> str:
    """A count with groups of three digits that no line breaks apart: "13 699"."""
    return f"{value:,}".replace(",", "\u00a0")


def other_tests(found: SetComparison) -> Table:
    """What else was tested of every biomarker."""
    columns = ["biomarker", "cohort", "TOST ±10 %, p", "TOST ±0.2 SD, p", "Cliff's δ (95 %)", "ranks, p"]
    columns += ["shape (KS), p", "difference, bootstrap 95 %", "difference, mixed model"]
    rows = []
    for one in found.biomarkers:
        label, digits = named(one.metric)
        tests = [
            p_value(one.tost),
            p_value(one.tost_sd),
            with_interval(one.delta, 2),
            p_value(one.ranks),
            p_value(one.shape[1]),
        ]
        low, high = (number_text(end, digits) for end in one.bootstrap)
        rows.append([label, one.cohort, *tests, f"{low} to {high}", with_interval(one.mixed, digits)])
    return Table(columns, rows)


def sets(found: SetComparison) -> Table:
    """Images of every cohort in every set."""
    roles = ["real", "synthetic", *(["training"] if found.training else [])]
    by_name = {name: counts(found)[name] for name in in_order(counts(found))}
    rows = [[name, *(str(row.get(role, 0)) for role in roles)] for name, row in by_name.items()]
    totals = [len(part.images) for part in (found.real, found.synthetic, found.training) if part]
    return Table(("cohort", *roles), [*rows, ["all", *map(str, totals)]])


def with_interval(one: Estimate, digits: int) -> str:
    """ "0.018 (−0.37 to 0.40)", or a dash."""
    if not one.defined:
        return "–"
    if not (math.isfinite(one.low) and math.isfinite(one.high)):
        return number_text(one.value, digits)
    return f"{number_text(one.value, digits)} ({number_text(one.low, digits)} to {number_text(one.high, digits)})"


def span(one: Estimate, digits: int) -> str:
    """The range of a baseline: "−0.07 to 0.20", or a dash."""
    return f"{number_text(one.low, digits)} to {number_text(one.high, digits)}" if one.defined else "–"


def number_text(value: float | None, digits: int) -> str:
    """A number with a real minus, or a dash."""
    if value is None or not math.isfinite(value):
        return "–"
    shown = f"{value:.{digits}f}"
    return f"−{shown[1:]}" if shown.startswith("-") and float(shown) else shown.removeprefix("-")


def p_value(p: float) -> str:
    """ "0.031", "< 0.001", or a dash."""
    if not math.isfinite(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def write_tables(found: SetComparison, folder: Path) -> None:
    """Write every figure as CSV: one file a table, numbers as they are, empty where not defined."""
    values = record(found)
    seen, traced = {"extractor": values["extractor"]}, {"tracer": values["tracer"], "rules": values["rules"]}
    for name, rows in _rows(values).items():
        if rows:
            write_csv(folder / f"{name}.csv", [row | (traced if name == "biomarkers" else seen) for row in rows])


def _rows(values: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The tables' rows by name, from what report.json holds."""
    varied = (*values["diversity"].items(), *((key, values[key]) for key in ("separability", "fisher")))
    return {
        "fidelity": [
            {"figure": name, **_columns(one), **_columns(values["floor"][name], "floor_")}
            for name, one in values["fidelity"].items()
        ],
        "by_cohort": [
            {"cohort": cohort, "figure": key, **_columns(row[key]), **_columns(row["floor"].get(key, {}), "floor_")}
            for cohort, row in values["by_cohort"].items()
            for key in row
            if key != "floor"
        ],
        "diversity": [
            {"figure": name, **_columns(one["real"], "real_"), **_columns(one["synthetic"], "synthetic_")}
            for name, one in varied
        ],
        "biomarkers": [
            _flat(cohort, metric, one) for cohort, row in values["biomarkers"].items() for metric, one in row.items()
        ],
    }


def _columns(one: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    return {f"{prefix}{key}": one[key] for key in ("value", "low", "high", "n") if key in one}


def _flat(cohort: str, metric: str, one: Mapping[str, Any]) -> dict[str, Any]:
    """A comparison as one row."""
    row: dict[str, Any] = {"cohort": cohort, "biomarker": metric}
    for key, value in one.items():
        if isinstance(value, Mapping):
            row |= {f"{key}_{part}": inner for part, inner in value.items() if not isinstance(inner, list)}
            row |= {
                f"{key}_{part}_{end}": x
                for part, inner in value.items()
                if isinstance(inner, list)
                for end, x in zip(("low", "high"), inner, strict=True)
            }
        elif isinstance(value, list):
            ends = ("real", "synthetic") if key in ("images", "sd") else ("low", "high")
            row |= {f"{key}_{end}": x for end, x in zip(ends, value, strict=True)}
        else:
            row[key] = value
    return row
