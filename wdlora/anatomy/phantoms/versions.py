"""Versions of the phantoms: figures name the one that they were taken on."""

VERSIONS = (1, 2)

VERSION = 1
"""What is drawn unless another one is asked for."""


def version_name(version: int = VERSION) -> str:
    """How figures and tables name a version."""
    return f"phantom {version}"
