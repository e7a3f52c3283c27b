"""How often a command that takes long says how it is going where nobody watches a terminal."""

import sys
import time
from collections.abc import Callable

EVERY_S = 60.0


class LineAMinute:
    """Lines on standard error: the first at once, then one a minute; none on a terminal, which shows a bar, and none
    where `wanted` is False.
    """

    def __init__(self, wanted: bool = True):
        self._lines = wanted and not sys.stderr.isatty()
        self._said: float | None = None

    def tell(self, line: Callable[[], str]) -> None:
        """Write the line, which is made only then, unless one was written in the last minute."""
        now = time.monotonic()
        if self._lines and (self._said is None or now - self._said >= EVERY_S):
            self._said = now
            print(line(), file=sys.stderr, flush=True)
