"""Whether the masks of a data set are still those that its table was written with."""

import hashlib
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path

from ..errors import InputError

COMMAND = "python -m wdlora accept-masks"


def mask_hash(path: Path) -> str:
    """SHA-256 of a mask's file, as the table has it in `mask_sha256`."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def changed_masks(masks: Mapping[str, Path], rows: Iterable[Mapping[str, str]]) -> list[str]:
    """The files of rows whose mask is no longer the table's, in their order; `masks` are paths by stem."""
    return [
        row["file"]
        for row in rows
        if row.get("mask_sha256")
        and (mask := masks.get(Path(row["file"]).stem)) is not None
        and mask_hash(mask) != row["mask_sha256"]
    ]


def require_masks_of_table(
    folder: str | PathLike, masks: Mapping[str, Path], rows: Iterable[Mapping[str, str]]
) -> None:
    """Raise InputError, which names the command that accepts them, where masks are not those of the table."""
    if changed := changed_masks(masks, rows):
        raise InputError(
            f"{len(changed)} masks in {folder} are not those that dataset.csv was written with "
            f"({', '.join(changed[:5])}{' …' if len(changed) > 5 else ''}): if you corrected them, accept them with "
            f"`{COMMAND} {folder}`, which measures them again; otherwise restore the old ones"
        )
