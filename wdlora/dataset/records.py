"""`metadata.jsonl` beside a data set's table: a row an image with typed values, as `datasets.load_dataset` reads it.

    {"file_name": "images/Control-000001.png", "mask_file_name": "masks/Control-000001.png", "cnfl": 21.4, "eye": null}

It is written from the table after every change of it; what is edited in it is lost.
"""

import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import write_text

RECORDS = "metadata.jsonl"
IMAGE, MASK = "file_name", "mask_file_name"
"""What `datasets` looks for: the row's picture, and a column that becomes a second picture called `mask`."""

_FLAGS = ("synthetic",)
_TEXTS = ("cohort", "patient", "eye", "visit", "reference", "image_sha256", "mask_sha256", "split", "part")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?(e[+-]?[0-9]+)?")


def write_records(place: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    """Write the rows of a data set's table, in their order and without those whose files are missing."""
    masks = {Path(name).stem: name for name in _names(place / "masks")}
    images = {Path(name).stem: name for name in _names(place / "images")}
    kinds = {name: _kind(name, [row.get(name, "") for row in rows]) for name in columns if name != "file"}
    lines = []
    for row in rows:
        stem = Path(row["file"]).stem
        if stem not in images or stem not in masks:
            continue
        record: dict[str, Any] = {IMAGE: f"images/{images[stem]}", MASK: f"masks/{masks[stem]}"}
        record |= {name: kind(row[name]) if row.get(name) else None for name, kind in kinds.items()}
        lines.append(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(place / RECORDS, "".join(lines))


def _names(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if not name.startswith(".")] if folder.is_dir() else []


def _kind(name: str, cells: Sequence[str]) -> Callable[[str], Any]:
    """What a column's values are; one type for all of them, as tables of types need it."""
    filled = [cell for cell in cells if cell]
    if name in _FLAGS and all(cell in ("0", "1") for cell in filled):
        return lambda cell: cell == "1"
    if name in _TEXTS or not all(_NUMBER.fullmatch(cell) and math.isfinite(float(cell)) for cell in filled):
        return str
    return int if all(re.fullmatch(r"-?[0-9]+", cell) for cell in filled) else float
