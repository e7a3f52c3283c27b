"""A study: what a user paints. Cohorts of one disease, the prompts that name them, and the size of a pixel.

A study is a TOML file, `ccm.toml` beside this file the one that ships:

    name = "small_fibre"            # letters, digits, _ and -
    version = "1"                   # change it with any letter below
    pixel_size_um = 1.0417          # optional
    negative_prompt = "colour, text"

    [cohorts.SFN]
    label = "Small fibre neuropathy"
    prompt = "In vivo corneal confocal microscopy image …"
    negative_prompt = "…"           # optional, in the place of the one above
    anatomy = "T1DPN"               # optional: the cohort of `wdlora.cohorts` whose nerves phantoms of it have

A data set of a study carries it as `study.toml`.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import write_text
from .temporaries import visible
from .toml_file import read_toml, toml_string

FILE = "study.toml"
"""Its name in a data set."""

FOLDER = "ccm_studies"
"""Below the models folder; holds the studies whose cohorts nodes offer."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_COHORT = re.compile(r"[A-Za-z][A-Za-z0-9]{0,39}")
_TOP = {"name": str, "version": str, "pixel_size_um": float, "negative_prompt": str, "cohorts": dict}
_OF_COHORT = {"label": str, "prompt": str, "negative_prompt": str, "anatomy": str}
_ANATOMIES = ("Control", "T1NoDPN", "T1DPN")


@dataclass(frozen=True)
class StudyCohort:
    """A group of a study. `anatomy` is the published cohort whose nerves its phantoms have, or empty."""

    name: str
    label: str
    prompt: str
    negative_prompt: str
    anatomy: str = ""


@dataclass(frozen=True)
class Study:
    """Cohorts by name, in order; `pixel_size_um` is None where the study does not say."""

    name: str
    version: str
    cohorts: Mapping[str, StudyCohort]
    pixel_size_um: float | None = None

    @property
    def sha256(self) -> str:
        """Of everything in it but comments and layout of the file, 64 hex digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    @property
    def label(self) -> str:
        """Name and version, as `ccm/1`."""
        return f"{self.name}/{self.version}"

    @property
    def ships(self) -> bool:
        """Whether it is the study that comes with this pack."""
        return self == shipped_study()

    def cohort(self, name: str) -> StudyCohort:
        """The cohort called `name`; case does not matter. Raises InputError naming the choices."""
        for known in self.cohorts.values():
            if known.name.lower() == str(name).strip().lower():
                return known
        raise InputError(f"the study {self.name} has no cohort {name!r}; choose one of {', '.join(self.cohorts)}")


@cache
def shipped_study() -> Study:
    """The study of the WDLoRA paper: Control, T1NoDPN, T1DPN."""
    return read_study(Path(__file__).with_name("ccm.toml"))


def study_of(folder: str | PathLike) -> Study:
    """The study of a data set: its `study.toml`, or, where there is none, the one that ships."""
    path = Path(folder) / FILE
    return read_study(path) if path.is_file() else shipped_study()


def read_study(path: str | PathLike) -> Study:
    """Read a study. Raises InputError, naming the entry, for what is no study."""
    file = Path(path)
    table = read_toml(file, "the study")
    where = f"the study {file.name}"
    _check(table, _TOP, ("name", "version", "cohorts"), where)
    size = table.get("pixel_size_um")
    if size is not None and not 0.05 <= size <= 3:
        raise InputError(f"{where}: pixel_size_um {size:g} is not a size of a pixel that shows nerves; give 0.05 to 3")
    if not table["cohorts"]:
        raise InputError(f"{where} has no cohorts: add [cohorts.NAME] with a label and a prompt")
    negative = table.get("negative_prompt", "")
    cohorts = {name: _cohort(name, entry, negative, where) for name, entry in table["cohorts"].items()}
    if len({name.lower() for name in cohorts}) < len(cohorts):
        raise InputError(f"{where} has two cohorts that differ in the case of letters alone: rename one")
    if not _NAME.fullmatch(table["name"]):
        raise InputError(f"{where}: the name {table['name']!r} takes letters, digits, _ and - alone")
    return Study(table["name"], table["version"], cohorts, None if size is None else float(size))


def studies_in(folder: str | PathLike, strict: bool = False) -> dict[str, tuple[Study, Path]]:
    """The studies in a folder with their files, by name, in the order of the files; none where there is no such folder.

    What is no study, and a second one of a name, is passed over; `strict`: raise InputError for it.
    """
    found: dict[str, tuple[Study, Path]] = {}
    for file in visible(folder, "*.toml"):
        try:
            study = read_study(file)
            if study.name in found or study.name == shipped_study().name:
                raise InputError(f"two studies are called {study.name!r}, one of them {file.name}: rename one")
        except InputError:
            if strict:
                raise
            continue
        found[study.name] = study, file
    return found


def captioned(prompt: str, caption: str) -> str:
    """A cohort's prompt with what is said of one picture after it."""
    return " ".join(filter(None, (prompt, caption.strip())))


def write_study(path: str | PathLike, study: Study) -> None:
    """Write a study that reads back equal, whole or not at all."""
    lines = [f"name = {toml_string(study.name)}", f"version = {toml_string(study.version)}"]
    lines += [] if study.pixel_size_um is None else [f"pixel_size_um = {study.pixel_size_um!r}"]
    for one in study.cohorts.values():
        lines += ["", f"[cohorts.{toml_string(one.name)}]"]
        texts = {
            "label": one.label,
            "prompt": one.prompt,
            "negative_prompt": one.negative_prompt,
            "anatomy": one.anatomy,
        }
        lines += [f"{key} = {toml_string(text)}" for key, text in texts.items() if text]
    write_text(path, "\n".join(lines) + "\n")


def _cohort(name: str, entry: Any, negative: str, where: str) -> StudyCohort:
    where = f"{where}, cohort {name}"
    if not _COHORT.fullmatch(name) or name.lower() in ("none", "all"):
        raise InputError(f"{where}: the name takes letters and digits alone, a letter first, and is not none or all")
    if not isinstance(entry, dict):
        raise InputError(f"{where}: it must be a table with a label and a prompt")
    _check(entry, _OF_COHORT, ("label", "prompt"), where)
    anatomy = entry.get("anatomy", "")
    if anatomy and anatomy not in _ANATOMIES:
        raise InputError(f"{where}: anatomy is {anatomy!r}; it takes {', '.join(_ANATOMIES)}")
    if not entry["prompt"].strip():
        raise InputError(f"{where}: the prompt is empty; say what its pictures show")
    return StudyCohort(name, entry["label"], entry["prompt"], entry.get("negative_prompt", negative), anatomy)


def _check(table: Mapping[str, Any], kinds: Mapping[str, type], needed: tuple[str, ...], where: str) -> None:
    if unknown := sorted(set(table) - set(kinds)):
        raise InputError(f"{where} has the unknown entry {', '.join(unknown)}; there are {', '.join(kinds)}")
    if missing := [name for name in needed if name not in table]:
        raise InputError(f"{where} lacks {', '.join(missing)}")
    for name, value in table.items():
        fits = isinstance(value, int | float) and not isinstance(value, bool) if kinds[name] is float else None
        if not (isinstance(value, kinds[name]) if fits is None else fits):
            word = {str: "a text in quotation marks", float: "a number", dict: "tables [cohorts.NAME]"}[kinds[name]]
            raise InputError(f"{where}: {name} must be {word}, not {value!r}")
