"""CSV tables: written so that no spreadsheet takes a text in them for a formula, and read back as they were."""

import csv
import io
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import write_text

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""How a text begins that a spreadsheet would run, or show without the apostrophe before it."""

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]")
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_HYPHENS = re.compile("[\u2010\u2011]")
_SEPARATOR = re.compile(r'"?sep=(.)"?[;,\t ]*(?:\r\n|\r|\n)', re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)

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
    """Columns and rows of a table, as `csv_rows` reads it."""
    columns, rows = csv_rows(path, needed)
    return columns, [row for _, row in rows]


def csv_rows(
    path: str | PathLike, needed: Iterable[str] = (), *, lower: bool = False
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Columns of a table, and its rows with the number of the line on which each ends.

    Cells are divided by commas, semicolons or tabs, or as the first line says (`sep=;`), and come in `one_form`,
    without the apostrophes before formulas; missing ones are empty, and rows of empty cells are passed over. `lower`:
    names of columns in lower case. Raises InputError for what is no UTF-8 table (or UTF-16 with its mark), a quotation
    mark that is not closed, a row with more cells than there are columns, two columns of one name, and a needed one
    that is missing.
    """
    reader, above = _reader(_text(Path(path)), tuple(needed))
    rows: list[tuple[int, dict[str, str]]] = []
    line = above
    try:
        columns = _columns(next(reader, []), lower)
        if double := sorted({name for name in columns if name and columns.count(name) > 1}):
            raise InputError(f"{path} has more than one column {' and '.join(double)}: leave one of them")
        if missing := [name for name in needed if name not in columns]:
            raise InputError(
                f"{path} lacks the column {' and '.join(missing)}; it has {', '.join(filter(None, columns)) or 'none'}"
            )
        line += reader.line_num
        for cells in reader:
            line = reader.line_num + above
            values = [unguarded(one_form(cell)) for cell in cells]
            if not any(value.strip() for value in values):
                continue
            if any(value.strip() for value in values[len(columns) :]):
                raise InputError(
                    f"{path}, line {line}: it has {len(values)} cells and the header {len(columns)}; "
                    "put cells that hold the delimiter, such as 1,04, into quotation marks"
                )
            values += [""] * (len(columns) - len(values))
            rows.append((line, {name: value for name, value in zip(columns, values, strict=False) if name}))
    except csv.Error as error:
        raise InputError(f"{path}, after line {line}: {error}; look for a quotation mark that is not closed") from None
    return columns, rows


def csv_columns(path: str | PathLike) -> list[str]:
    """Names of a table's columns in lower case, also where the rest of it is damaged; none where it has no header."""
    text = Path(path).read_bytes().decode("utf-8-sig", errors="replace")
    try:
        return _columns(next(_reader(text, ())[0], []), lower=True)
    except csv.Error:
        return []


def one_form(text: str) -> str:
    """A text in the one form by which names are compared.

    Composed (NFC: macOS decomposes names of files), spaces and hyphens of every kind as the usual ones, and without
    what cannot be seen (zero-width characters, marks of direction and of byte order).
    """
    plain = _INVISIBLE.sub("", _HYPHENS.sub("-", _SPACES.sub(" ", text)))
    return unicodedata.normalize("NFC", plain)


def decimal(text: str) -> float:
    """A number with a point or a comma before its decimals. Raises ValueError for what is none, or not finite."""
    plain = text.strip()
    number = float(plain.replace(",", ".") if _DECIMAL_COMMA.fullmatch(plain) else plain)
    if not math.isfinite(number):
        raise ValueError(f"{plain!r} is not a number")
    return number


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read as a table: {error.strerror}") from None
    try:
        return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a UTF-8 CSV table: {error}; save it as CSV UTF-8") from None


def _reader(text: str, needed: Sequence[str]) -> tuple[Any, int]:
    """The cells of a table's lines, header first, and the number of lines before the header."""
    above = 0
    if said := _SEPARATOR.match(text):
        text, above = text[said.end() :], 1
        delimiter = said.group(1)
    else:
        first = text.lstrip("\r\n")

        def fit(mark: str) -> tuple[int, int]:
            names = [name.lower() for name in _header(first, mark)]
            return sum(name in names for name in needed), len(names)

        delimiter = max(",;\t", key=fit)
    while text[:1] in ("\r", "\n") and text:  # blank lines above the header
        above += text[0] == "\n" or text[:2] != "\r\n"
        text = text[1:]
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), above


def _header(text: str, mark: str) -> list[str]:
    """The names in a table's first row, which may go on over lines within quotation marks; none where it is damaged."""
    try:
        return _columns(next(csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True), []), lower=False)
    except csv.Error:
        return []


def _columns(header: Sequence[str], lower: bool) -> list[str]:
    names = [unguarded(one_form(name)).strip() for name in header]
    return [name.lower() for name in names] if lower else names


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
