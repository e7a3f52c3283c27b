"""Options that several commands which train share."""

import argparse
from typing import Any

from wdlora.errors import InputError


def check_recipe_options(args: argparse.Namespace, counts: tuple[str, ...] = ("threads",)) -> None:
    """Raise InputError for a pace, a seed or one of `counts` that no recipe can have."""
    if not 0 < args.pace <= 100:
        raise InputError(f"--pace {args.pace:g} is not between 0 and 100: 1 is the full recipe")
    if args.seed is not None and not 0 <= args.seed < 2**31:
        raise InputError(f"--seed {args.seed} is not a whole number from 0 to 2^31 − 1")
    for name in counts:
        if getattr(args, name) < 1:
            raise InputError(f"--{name} {getattr(args, name)} is not positive: give 1 or more")


def overrides_of(settings: list[str]) -> dict[str, Any]:
    """Fields and their values, from KEY=VALUE. Raises InputError for what is none, and for a field given twice."""
    found: dict[str, Any] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set takes KEY=VALUE, not {text!r}.")
        if key in found:
            raise InputError(f"{key} is set twice, to {found[key]} and to {value}: leave one out.")
        found[key] = value
    return found
