"""CSV tables: written so that no spreadsheet takes a text in them for a formula, and read back as they were."""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import write_text

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""How a text begins that a spreadsheet would run, or show without the apostrophe before it."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


def csv_text(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str] | None = None,
    *,
    digits: int | None = None,
    line_end: str = "\n",
) -> str:
    r"""A table with a header; without `columns`, those of the rows in the order in which they come up.

    What is missing, None or not finite is an empty cell. A text that would be a formula has an apostrophe before it.
    `digits`: significant ones of floats, None for all; `line_end`: "\r\n" in RFC 4180.
    """
    names = list(dict.fromkeys(name for row in rows for name in row)) if columns is None else list(columns)
    if not names:
        return ""
    lines = [[guarded(name) for name in names], *([_cell(row.get(name), digits) for name in names] for row in rows)]
    return "".join(_line(cells) + line_end for cells in lines)


def write_csv(
    path: str | PathLike,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str] | None = None,
    *,
    digits: int | None = None,
    line_end: str = "\n",
) -> None:
    """Write `csv_text`, whole or not at all."""
    write_text(path, csv_text(rows, columns, digits=digits, line_end=line_end))


def read_csv(path: str | PathLike, needed: Iterable[str] = ()) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a table, without the apostrophes before formulas; missing cells are empty.

    Raises InputError for what is no UTF-8 table, and where a column that is needed is missing.
    """
    try:
        with open(Path(path), encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = [unguarded(name) for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows = [{name: unguarded(value or "") for name, value in row.items() if name} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a UTF-8 CSV table: {error}") from None
    if missing := set(needed) - set(columns):
        raise InputError(f"{path} lacks the column {', '.join(sorted(missing))}")
    return columns, rows


def guarded(text: str) -> str:
    """A text as a cell: with an apostrophe before what would be a formula. Numbers are none."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def unguarded(text: str) -> str:
    """The text of which `guarded` made a cell."""
    return text[1:] if text[:1] == "'" and _FORMULA.match(text) else text


def _line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)  # older Pythons quote what is in the line's end alone
    return line.getvalue()[:-2]


def _cell(value: Any, digits: int | None) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, str):
        return guarded(value)
    return f"{value:.{digits}g}" if isinstance(value, float) and digits is not None else str(value)
