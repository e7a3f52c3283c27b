"""Files and folders that a workflow names: looked up in ComfyUI's folders only, missing ones said with their place."""

import os
from pathlib import Path
from typing import Any

from ..wdlora.errors import ErrorSentence, InputError
from ..wdlora.files import below

NONE = "none"
"""The first entry of an optional list of files."""


def names(kind: str) -> list[str]:
    """The files of a model folder such as "loras", after "none"."""
    import folder_paths

    return [NONE, *folder_paths.get_filename_list(kind)]


def model_file(kind: str, name: str, what: str, sha256: str = "") -> Path:
    """The file `name` of a model folder. Raises InputError, naming file and folder, where there is none.

    `what` is the file's part in the sentence, such as "adapter"; `sha256` is said, so that the right file can be
    found elsewhere.
    """
    import folder_paths

    places = folder_paths.get_folder_paths(kind)
    place = next((place for place in places if Path(place).name == kind), places[0])  # ComfyUI lists `unet` first
    if not name or name == NONE:
        raise InputError(f"no {what} is chosen: choose a file; files belong into {place}")
    path = folder_paths.get_full_path(kind, name) if name in folder_paths.get_filename_list(kind) else None
    if path is None:
        known = f" (SHA-256 {sha256})" if sha256 else ""
        raise InputError(f"the {what} {name!r}{known} is missing: put the file into {place}", missing_file=True)
    return Path(path)


def confined(root: str | os.PathLike, name: str, what: str) -> Path:
    """The folder or file `name` below `root`, links resolved. Raises InputError where it would lie outside."""
    base, path = Path(os.path.realpath(root)), below(root, name, what=what)
    if path is None or path == base:
        raise InputError(f"the {what} {name!r} must lie below {base}: give a name without '..' or a drive")
    return path


class Named:
    """Files that a kind of node has read, so that a change of one is noticed where a link names it.

    A linked name is not known when a host asks for a node's fingerprint. Another name changes what the node depends on
    anyway; what is left are changes of files that were named before. The count of those is the fingerprint: it stays
    the same while nothing changes, so that nothing is painted again.
    """

    def __init__(self) -> None:
        self._stamps: dict[str, str] = {}
        self._changes = 0

    def note(self, *paths: str | os.PathLike) -> None:
        """Remember files or folders as they are; say it before they are read."""
        for path in map(os.fspath, paths):
            now = stamp(path)
            self._changes += self._stamps.setdefault(path, now) != now
            self._stamps[path] = now

    def changes(self) -> int:
        """How many changes there have been of what was noted."""
        self.note(*self._stamps)
        return self._changes


def stamp(path: str | os.PathLike) -> str:
    """What changes with a file or a folder's files: names, sizes and times of change; "" where there is none.

    Cheap on files of any size.
    """
    place = Path(path)
    files = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file())
    return ";".join(f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files)


def sentence(check: Any, *arguments: Any) -> bool | str:
    """True where `check(*arguments)` passes, else its sentence: what `validate_inputs` returns.

    An argument that is None is linked, so not known yet: then the node checks when it runs. The sentence carries its
    error, so that the embedded host knows its kind.
    """
    if None in arguments:
        return True
    try:
        check(*arguments)
    except InputError as problem:
        return ErrorSentence(problem)
    return True
