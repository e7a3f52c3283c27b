"""Work on many images in several processes: progress, interruption, no worker left behind."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from ..errors import InputError

T = TypeVar("T")
Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Wraps results as they come: (results, what is done, how many)."""


def no_progress(results: Iterable[Any], title: str, total: int) -> Iterable[Any]:
    """Shows nothing."""
    return results


class Crew:
    """Who works: so many processes, or below 2 this one alone, and who watches.

    with Crew(2) as crew:
        crew.run(function, [(1,), (2,)], "counting")

    The processes live as long as the block. On an interruption the tasks that run are finished, so that what they keep
    is whole, and no other begins.
    """

    def __init__(self, processes: int = 1, progress: Progress = no_progress) -> None:
        self.processes, self.progress = processes, progress
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Crew":
        if self.processes > 1:
            context = multiprocessing.get_context("spawn")  # forking a process with threads may hang
            self._pool = ProcessPoolExecutor(self.processes, context, _prepare)
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def run(self, function: Callable[..., T], tasks: Sequence[tuple[Any, ...]], title: str) -> list[T]:
        """`function(*task)` of every task, in order. An error of one task ends the work.

        Raises InputError where a process ended by itself.
        """
        if min(self.processes, len(tasks)) < 2:
            return list(self.progress((function(*task) for task in tasks), title, len(tasks)))
        if self._pool is None:
            with self:
                return self.run(function, tasks, title)
        try:
            with _one_thread_each():
                futures = [self._pool.submit(function, *task) for task in tasks]
            return list(self.progress((future.result() for future in futures), title, len(tasks)))
        except BrokenProcessPool:
            raise InputError(
                "a worker process ended, probably because memory ran out: close other programs, or give --workers 1"
            ) from None


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that begin meanwhile compute in one thread each, instead of all in all."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: value or "1" for name, value in before.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]


def _prepare() -> None:
    """In a worker: leave Ctrl-C to the parent, and end when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
