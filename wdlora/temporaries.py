"""Unfinished files: their names say who writes them, readers pass over them, the next writer removes what was left.

A temporary is called `.wdlora-tmp-HOST-PROCESS-RANDOM.png`. Where its writer was killed it stays; whoever writes into
the same folder next removes it, if that process is gone on this host or the file is a day old.
"""

import hashlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

PREFIX = ".wdlora-tmp-"
OLD_S = 24 * 3600.0
"""After this time a temporary is nobody's, also one of another host."""

_SHARE = 20
"""A folder is looked through again after this many times the time that it took, so that writing many files into a
large folder is not slowed down by more than 5 %."""

_next_look: dict[str, float] = {}


def prefix() -> str:
    """What the names of this process's temporaries begin with."""
    return f"{PREFIX}{_host()}-{os.getpid()}-"


def new_temporary(folder: Path, suffix: str = "") -> Path:
    """Make an empty temporary file in a folder, after a look for those that killed writers left there."""
    sweep(folder)
    handle, name = tempfile.mkstemp(prefix=prefix(), suffix=suffix, dir=folder)
    os.close(handle)
    return Path(name)


def new_folder(folder: Path) -> Path:
    """Make an empty temporary folder in a folder; the rest as `new_temporary`."""
    sweep(folder)
    return Path(tempfile.mkdtemp(prefix=prefix(), dir=folder))


def visible(folder: str | os.PathLike, pattern: str = "*") -> list[Path]:
    """What matches a glob pattern below a folder, sorted, without hidden files and the contents of hidden folders."""
    root = Path(folder)
    return sorted(p for p in root.glob(pattern) if not any(part[0] == "." for part in p.relative_to(root).parts))


def sweep(folder: str | os.PathLike) -> None:
    """Remove the temporaries in a folder whose writer is gone. What cannot be removed stays, without an error."""
    place, start = os.path.abspath(folder), time.monotonic()
    if start < _next_look.get(place, start):
        return
    for path in _left(place):
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                os.unlink(path)
    if len(_next_look) > 1000:
        _next_look.clear()
    end = time.monotonic()
    _next_look[place] = end + _SHARE * (end - start)


def _left(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if entry.name.startswith(PREFIX)]
    except OSError:
        return
    for entry in found:
        host, process = [*entry.name.removeprefix(PREFIX).split("-"), "", ""][:2]
        try:
            age = time.time() - entry.stat(follow_symlinks=False).st_mtime
        except OSError:  # another writer was quicker
            continue
        gone = host == _host() and process.isdigit() and not _alive(int(process))
        if process != str(os.getpid()) and (gone or age > OLD_S):
            yield entry.path


@cache
def _host() -> str:
    """This host, and on Linux this space of process numbers: containers may share a folder and a host's name."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except (OSError, AttributeError):
        space = ""
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]


def _alive(process: int) -> bool:
    """Whether there is a process of that number here. Where the system has no harmless way to ask, there is."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or no number of a process
        return True
    return True
