"""Settings of an import in a TOML file: read, and written for a user to correct after a first look at a folder.

roster = "Liste.csv"            # below the data set, or a whole path
pixel_size_um = "hrt"           # or a number
study = "sfn.toml"              # as roster
cohort = "Control"              # of all images, where no roster tells it

[masks]                         # prefix, suffix, folder
suffix = "_nervemask"

[columns]                       # ours = theirs
file = "Datei"

[labels]                        # theirs = a cohort, or none
HC = "Control"
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..toml_file import read_toml
from .naming import MaskNames

OPEN = "?"
"""Stands where a first look could not tell; the user writes something else there."""

_TEXTS = ("roster", "study", "layout", "cohort")
_TABLES = ("masks", "columns", "labels")
_MASKS = ("prefix", "suffix", "folder")


@dataclass(frozen=True)
class Settings:
    """What a settings file says; what it does not say is empty."""

    roster: str = ""
    study: str = ""
    layout: str = ""
    cohort: str = ""
    pixel_size_um: str = ""
    masks: MaskNames | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def stated(self) -> list[str]:
        """The names of what is said."""
        return [name for name, value in vars(self).items() if value]


def read_settings(path: str | PathLike, folder: str | PathLike) -> Settings:
    """Read a settings file; paths in it that are not whole are below the data set `folder`.

    Raises InputError, naming the entry, for what is no settings file and for what is still to be said.
    """
    file = Path(path)
    table = read_toml(file, "the settings file")
    known = (*_TEXTS, "pixel_size_um", *_TABLES)
    if unknown := sorted(set(table) - set(known)):
        raise InputError(f"the settings {file.name} have the unknown entry {unknown[0]}; there are {', '.join(known)}")
    for name, value in table.items():
        _check(file, name, value)
    if still := [*_open(table)]:
        raise InputError(
            f"the settings {file.name} leave open {', '.join(still)}: write what each is in place of {OPEN}"
        )
    masks = table.get("masks", {})
    if unknown := sorted(set(masks) - set(_MASKS)):
        raise InputError(f"the settings {file.name}: masks has no {unknown[0]!r}; it has {', '.join(_MASKS)}")
    paths = {name: str(Path(folder) / table[name]) for name in ("roster", "study") if table.get(name)}
    return Settings(
        layout=table.get("layout", ""),
        cohort=table.get("cohort", ""),
        pixel_size_um=str(table.get("pixel_size_um", "")),
        masks=MaskNames(**masks) if any(masks.values()) else None,
        columns=table.get("columns", {}),
        labels=table.get("labels", {}),
        **paths,
    )


def _check(file: Path, name: str, value: Any) -> None:
    """Raise InputError for an entry of the wrong kind."""
    where = f"the settings {file.name}"
    if name in _TABLES:
        if not isinstance(value, dict):
            raise InputError(f"{where}: {name} must be a table, [{name}]")
        for key, inner in value.items():
            if not isinstance(inner, str):
                raise InputError(f"{where}: {key} in {name} must be a text in quotation marks, not {inner!r}")
    elif name == "pixel_size_um" and isinstance(value, int | float) and not isinstance(value, bool):
        return
    elif not isinstance(value, str):
        raise InputError(f"{where}: {name} must be a text in quotation marks, not {value!r}")


def _open(table: Mapping[str, Any]) -> Iterator[str]:
    """The entries that a first look could not tell and nobody has written since."""
    for name, value in table.items():
        inside = value.items() if isinstance(value, dict) else [(name, value)]
        still = [key for key, inner in inside if isinstance(inner, str) and inner.strip() == OPEN]
        yield from (f'"{key}"' if name == "labels" else key for key in still)
