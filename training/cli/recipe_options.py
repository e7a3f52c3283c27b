"""Options that the commands which train a shipped file share, checked before anything is drawn."""

import argparse

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
