"""The error that people, not programmers, read."""

from collections.abc import Sequence


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence: what was wrong, with which value, and what to do. The command line prints
    it without a traceback and exits with status 2; nodes show it in the node. `missing_file`: a model's file is not in
    its folder, so that the miniature may stand in for the model. `input`: the node's input that is at fault, if one is.
    """

    def __init__(self, sentence: str, *, missing_file: bool = False, input: str = ""):
        super().__init__(sentence)
        self.missing_file = missing_file
        self.input = input


class ErrorSentence(str):
    """An error's message, for an interface that takes a text alone; the error goes with it."""

    error: Exception

    def __new__(cls, error: Exception) -> "ErrorSentence":
        """The message of `error`."""
        sentence = super().__new__(cls, error)
        sentence.error = error
        return sentence


def first_of(texts: Sequence[str], most: int = 1) -> str:
    """The first few texts of a list, and how many more there are."""
    listed = ", ".join(texts[:most])
    return listed if len(texts) <= most else f"{listed} and {len(texts) - most} more"
