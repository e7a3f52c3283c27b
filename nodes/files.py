"""Files and folders that a workflow names: looked up in ComfyUI's folders only, missing ones said with their place."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..wdlora.errors import ErrorSentence, InputError
from ..wdlora.files import below
from ..wdlora.temporaries import visible

NONE = "none"
"""The first entry of an optional list of files."""


def names(kind: str) -> list[str]:
    """The files of a model folder such as "loras", after "none"."""
    import folder_paths

    return [NONE, *folder_paths.get_filename_list(kind)]


def model_file(kind: str, name: str, what: str, sha256: str = "", input: str = "") -> Path:
    """The file `name` of a model folder. Raises InputError, naming file and folder, where there is none.

    `what` is the file's part in the sentence, such as "adapter"; `sha256` is said, so that the right file can be
    found elsewhere. `input`: the node's input that names it.
    """
    import folder_paths

    place = f"models/{kind}"
    if not name or name == NONE:
        raise InputError(f"no {what} is chosen: choose a file; files belong into {place}", input=input)
    path = folder_paths.get_full_path(kind, name) if name in folder_paths.get_filename_list(kind) else None
    if path is None:
        known = f" (SHA-256 {sha256})" if sha256 else ""
        raise InputError(
            f"the {what} {name!r}{known} is missing: put the file into {place}", missing_file=True, input=input
        )
    return Path(path)


def confined(root: str | os.PathLike, name: str, what: str) -> Path:
    """The folder or file `name` below `root`, links resolved. Raises InputError where it would lie outside."""
    base, path = Path(os.path.realpath(root)), below(root, name, what=what)
    if path is None or path == base:
        raise InputError(f"the {what} {name!r} must lie below {base.name}: give a name without '..' or a drive")
    return path


def without_paths(execute: Callable[..., Any]) -> Callable[..., Any]:
    """The `execute` of a node whose sentences name files as the workflow does: never where they lie on the server."""

    @functools.wraps(execute)
    def executed(*arguments: Any, **named: Any) -> Any:
        try:
            return execute(*arguments, **named)
        except InputError as problem:
            if (said := shown(str(problem))) == str(problem):
                raise
            raise InputError(said, missing_file=problem.missing_file, input=problem.input) from None

    return executed


def shown(text: str) -> str:
    """A text in which the host's own folders are called by their names: "models/loras", "input", …"""
    for folder, name in sorted(_own_folders().items(), key=lambda one: -len(one[0])):
        text = text.replace(folder, name)
    return text


def _own_folders() -> dict[str, str]:
    """Every folder of the host, by its path, also with links resolved: what a reader calls it."""
    import folder_paths

    from ..wdlora.qwen.miniature_files import miniature_files

    named = {folder_paths.get_directory_by_type(kind): kind for kind in ("input", "output", "temp")}
    named[folder_paths.models_dir] = "models"
    for kind in ("loras", "diffusion_models", "text_encoders", "vae", "diffusers"):
        named |= dict.fromkeys(folder_paths.get_folder_paths(kind), f"models/{kind}")
    named[str(Path(miniature_files().transformer).parents[1])] = "the miniature"
    return named | {os.path.realpath(folder): name for folder, name in named.items()}


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
    files = [place] if place.is_file() else [path for path in visible(place, "**/*") if path.is_file()]
    return ";".join(f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files)


def sentence(check: Any, *arguments: Any) -> bool | str:
    """True where `check(*arguments)` passes, else its sentence: what `validate_inputs` returns.

    An argument that is None is linked, so not known yet: then the node checks when it runs. The sentence carries its
    error, so that the embedded host knows its kind.
    """
    if None in arguments:
        return True
    found = problems(check, *arguments)
    return ErrorSentence(found[0]) if found else True


def problems(check: Callable[..., Any], *arguments: Any) -> list[InputError]:
    """What `check(*arguments)` raises, or returns as a list, without paths of the host: what `check_inputs` returns."""
    try:
        found = check(*arguments) if None not in arguments else None
    except InputError as problem:
        found = [problem]
    return [
        InputError(shown(str(one)), missing_file=one.missing_file, input=one.input)
        for one in (found if isinstance(found, list) else [])
    ]
