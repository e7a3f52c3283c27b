"""One process at a time: a lock on a file, of which the system lets go when the process dies."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

_POLL_S = 0.02
_FAR = 2**40
"""Offset of the byte that Windows locks, far behind any content: there a lock keeps others from reading."""


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
