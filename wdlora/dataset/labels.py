"""From a clinic's labels to cohorts: `HC` is Control, `DM-` is T1NoDPN, because somebody says so."""

from collections import Counter
from collections.abc import Iterable, Mapping

from ..cohorts import cohort_in
from ..errors import InputError
from ..study import Study

NONE = "none"
"""The cohort of groups that are left out."""


def assignments(texts: Iterable[str], option: str) -> dict[str, str]:
    """`A=B,C=D` and more of it as a table. Raises InputError, naming the option, for what is none, and for two values
    of one key.
    """
    found: dict[str, str] = {}
    for part in (part for text in texts for part in text.split(",") if part.strip()):
        key, equals, value = (piece.strip() for piece in part.rpartition("="))
        if not (equals and key and value):
            raise InputError(f"{option} takes A=B,C=D and so on, not {part.strip()!r}")
        if found.setdefault(key, value) != value:
            raise InputError(f"{option} gives {key} twice, as {found[key]} and as {value}: leave one out")
    return found


def resolved(labels: Iterable[str], given: Mapping[str, str], study: Study) -> dict[str, str]:
    """The cohort of a study, or "none", of every label; `given` is what --labels says, in any case, and comes first.

    Raises InputError, once for all of them, for labels that name no cohort, with the option that would be needed; and
    for given labels that nothing bears, or that are given no cohort.
    """
    counts = Counter(label.strip() for label in labels if label.strip())
    chosen: dict[str, str] = {}
    for label, name in given.items():
        group = _cohort_named(study, label, name)
        if chosen.setdefault(_plain(label), group) != group:
            raise InputError(f"--labels gives {label} twice, as {chosen[_plain(label)]} and as {group}: leave one out")
    there = {_plain(label) for label in counts}
    if idle := [label for label in given if _plain(label) not in there]:
        raise InputError(
            f"--labels names {', '.join(idle)}, but the labels are {', '.join(counts) or 'none'}: correct it"
        )
    found: dict[str, str] = {}
    faults: dict[str, int] = {}
    for label, count in counts.items():
        try:
            found[label] = chosen.get(_plain(label)) or _cohort_named(study, "", label)
        except InputError:
            faults[label] = count
    if faults:
        told = ", ".join(f"{label!r} ({count} images)" for label, count in faults.items())
        needed = ",".join(f"{label}=NAME" for label in faults)
        raise InputError(
            f"no cohort is called {told}: say what is meant with --labels {needed}, each NAME one of "
            f"{', '.join(study.cohorts)}, or {NONE} to leave its images out"
        )
    return found


def _plain(label: str) -> str:
    """In one case, and with one minus."""
    return label.strip().casefold().replace("−", "-").replace("–", "-")


def _cohort_named(study: Study, label: str, name: str) -> str:
    try:
        return NONE if name.strip().lower() == NONE else cohort_in(study, name).name
    except InputError as error:
        raise InputError(f"--labels {label}={name}: {error}") from None
