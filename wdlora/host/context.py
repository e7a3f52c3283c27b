"""What a node that is running can reach: its progress bar, previews, and the wish of the user to stop."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from ..graph import Graph


class Interrupted(Exception):
    """The user asked to stop."""


class Listener(Protocol):
    """Hears of the progress of one run."""

    def progress(self, node_id: str, value: float, total: float, preview: Any = None) -> None:
        """A node has done `value` of `total`; `preview` is a PIL image or None."""

    def text(self, node_id: str, text: str) -> None:
        """A node says what it is doing."""

    @property
    def watched(self) -> bool:
        """Whether somebody sees previews."""


class NodeContext:
    """The node that runs in this thread."""

    def __init__(self, node_id: str, listener: Listener, stop: threading.Event, graph: Graph | None = None):
        self.node_id = node_id
        self.listener = listener
        self.stop = stop
        self.graph = graph or {}

    def check(self) -> None:
        """Raise Interrupted if the user asked to stop."""
        if self.stop.is_set():
            raise Interrupted


_current: ContextVar[NodeContext | None] = ContextVar("node", default=None)


@contextmanager
def node(context: NodeContext) -> Iterator[None]:
    """Run the body as this node."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def check_interrupted() -> None:
    """Raise Interrupted if the user asked to stop the node that runs in this thread."""
    context = _current.get()
    if context is not None:
        context.check()


def running_graph() -> Graph:
    """The graph of the node that runs in this thread; empty outside a run."""
    context = _current.get()
    return {} if context is None else context.graph


class HostProgress:
    """A progress bar on the running node; outside a run it does nothing.

    Messages are sent at most every 50 ms, the first, the last and those with a preview always.
    """

    LEAST_INTERVAL_S = 0.05

    def __init__(self, total: float, clock: Callable[[], float] = time.monotonic):
        self.total = total
        self.value = 0.0
        self._context = _current.get()
        self._clock = clock
        self._sent: float | None = None

    def update(self, value: float, total: float | None = None, preview: Any = None) -> None:
        """Say that `value` of `total` is done, with a PIL image to show. Raises Interrupted."""
        self.total = self.total if total is None else total
        self.value = min(value, self.total)
        if self._context is None:
            return
        self._context.check()
        now = self._clock()
        due = self._sent is None or now - self._sent >= self.LEAST_INTERVAL_S
        if due or preview is not None or self.value >= self.total:
            self._sent = now
            self._context.listener.progress(self._context.node_id, self.value, self.total, preview)

    @property
    def watched(self) -> bool:
        """Whether somebody sees previews of the running node."""
        return self._context is not None and self._context.listener.watched

    def advance(self, step: float = 1) -> None:
        """Say that `step` more is done."""
        self.update(self.value + step)

    def text(self, text: str) -> None:
        """Show a line of text on the running node. Raises Interrupted."""
        if self._context is not None:
            self._context.check()
            self._context.listener.text(self._context.node_id, text)
