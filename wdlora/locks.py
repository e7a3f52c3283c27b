"""One process at a time: a lock on a file, of which the system lets go when the process dies."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .errors import InputError

LOCK = ".lock"
"""The file in a folder that its one writer holds: batch, data set and fine-tune alike."""

_POLL_S = 0.02
_FAR = 2**40
"""Offset of the byte that Windows locks, far behind any content: there a lock keeps others from reading."""


@contextmanager
def at_work(folder: str | os.PathLike, wait_s: float = 0.0) -> Iterator[None]:
    """Be the one process that writes into a folder, which is made where it is missing.

    Raises InputError where another one still does after `wait_s` seconds.
    """
    place = Path(folder)
    with ExitStack() as stack:
        try:
            place.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(place / LOCK, wait_s))
        except BlockingIOError:
            waited = f" and has been for {wait_s:.0f} s" if wait_s else ""
            raise InputError(
                f"another process is at work in {place}{waited}: wait until it is done, or name another folder"
            ) from None
        except OSError as error:
            raise InputError(f"{place} cannot be written into: {error.strerror or error}") from None
        yield


@contextmanager
def locked(path: str | os.PathLike, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a file, which is made where it is missing, against other holders, also in this process.

    Raises BlockingIOError where another one still holds it after `wait_s` seconds.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        until = time.monotonic() + wait_s
        while not _taken(file):
            if time.monotonic() >= until:
                raise BlockingIOError(f"{path} is held by another process")
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(file)


def _taken(file: int) -> bool:
    try:
        try:
            import fcntl
        except ImportError:
            import msvcrt

            os.lseek(file, _FAR, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
