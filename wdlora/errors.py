"""The error that people, not programmers, read."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence: what was wrong, with which value, and what to do. The command line prints
    it without a traceback and exits with status 2; nodes show it in the node.
    """


MISSING_FILE = "is missing: put the file into"
"""How every refusal for want of a model's file says so; `wdlora.graph.refusal` tells them by it."""
