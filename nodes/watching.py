"""Long work on arrays and files, beside which the host is asked whether the user wants to stop."""

import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from . import engine

ASKED_EVERY_S = 0.2

Result = TypeVar("Result")


def watched(work: Callable[[], Result]) -> Result:
    """The result of `work`, or what it raises; raises the host's interruption within a moment.

    The work runs in a thread of its own. After an interruption that thread ends by itself and its result is dropped, so
    `work` must neither write files, but for those of a cache, nor compute on a model that the host moves.
    """
    host = engine.current()
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["result"] = work()
        except BaseException as problem:
            outcome["problem"] = problem

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True)
    thread.start()
    while True:
        thread.join(ASKED_EVERY_S)
        if not thread.is_alive():
            break
        host.check_interrupted()
    if "problem" in outcome:
        raise outcome["problem"]
    result: Result = outcome["result"]
    return result
