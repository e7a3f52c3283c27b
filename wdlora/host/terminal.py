"""Progress of a run on a terminal: a bar per node, on stderr, silent where stderr is no terminal."""

import sys
from types import TracebackType
from typing import Any

from tqdm import tqdm


class TerminalProgress:
    """A sink that draws a bar. `titles`: names of the nodes by id."""

    def __init__(self, titles: dict[str, str], disable: bool | None = None):
        self.titles = titles
        self.disable = not sys.stderr.isatty() if disable is None else disable
        self._bar: Any = None

    def __enter__(self) -> "TerminalProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def send(self, event: str, data: dict[str, Any], client_id: str | None) -> None:
        """Start a bar with each node, and move it."""
        if event == "executing" and data.get("node") is not None:
            self._close()
            name = self.titles.get(data["node"], data["node"])
            self._bar = tqdm(total=1, desc=name, disable=self.disable, leave=False, file=sys.stderr)
        elif event == "progress" and self._bar is not None:
            self._bar.total = data["max"]
            self._bar.update(data["value"] - self._bar.n)

    def send_preview(self, image: Any, metadata: dict[str, Any], client_id: str | None) -> None:
        """A terminal shows no pictures."""

    def watched(self, client_id: str | None) -> bool:
        """Nobody sees them."""
        return False

    def send_text(self, node_id: str, text: str, client_id: str | None) -> None:
        """Show the text beside the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(text.splitlines()[0][:60] if text else "")

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
