"""Versions of the phantoms: figures name the one that they were taken on."""

from ...errors import InputError

VERSIONS = (1, 2)

VERSION = 2
"""What is drawn unless another one is asked for."""


def version_number(name: str) -> int:
    """The version of a name. Raises InputError where there is none of that name."""
    known = {version_name(version): version for version in VERSIONS}
    if name not in known:
        raise InputError(f"there is no {name!r}; give {' or '.join(known)}")
    return known[name]


def version_name(version: int = VERSION) -> str:
    """How figures and tables name a version."""
    return f"phantom {version}"
