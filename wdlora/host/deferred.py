"""A CONDITIONING that is encoded when it is first looked at: at guidance 1 nobody looks at the negative one."""

from collections.abc import Callable, Sequence
from typing import Any


class Deferred(Sequence):
    """A list that `make` gives when it is first asked for anything. It is no `list`, which json would find empty."""

    def __init__(self, make: Callable[[], list]):
        self._make: Callable[[], list] | None = make
        self._made: list = []

    def made(self) -> list:
        """The list."""
        if self._make is not None:
            self._made = self._make()
            self._make = None
        return self._made

    def __len__(self) -> int:
        return len(self.made())

    def __getitem__(self, index: Any) -> Any:
        return self.made()[index]

    def __repr__(self) -> str:
        return repr(self.made())
