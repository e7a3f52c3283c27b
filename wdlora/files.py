"""Files that appear whole or not at all, and their hashes."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .temporaries import new_temporary

if TYPE_CHECKING:
    from torch import Tensor

_hashes: dict[tuple[str, int, int], str] = {}


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it takes the name `path`, on an error it is removed."""
    with _whole(Path(path), os.replace) as temporary:
        yield temporary


@contextmanager
def new_file(path: str | os.PathLike) -> Iterator[Path]:
    """As `atomic_write`, for a name that is still free: of several processes that want it exactly one gets it.

    Raises FileExistsError where the name is taken by the time that the file is whole.
    """
    with _whole(Path(path), take_name) as temporary:
        yield temporary


@contextmanager
def _whole(target: Path, settle: Callable[[Path, Path], None]) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = new_temporary(target.parent, target.suffix)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(permissions(0o666))
        settle(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def take_name(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Rename a file. Raises FileExistsError where `target` is there, which `os.replace` would overwrite."""
    try:
        os.link(source, target)  # fails where the name is taken, and is one step
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        os.replace(source, target)
    else:
        os.unlink(source)


def permissions(most: int) -> int:
    """The mode that a new file or folder has here: `most` (0o666 or 0o777) without what the umask takes."""
    mask = os.umask(0)
    os.umask(mask)
    return most & ~mask


def check_writable(path: str | os.PathLike) -> None:
    """Raise InputError where `path` could not be written, before the work whose result it takes. Makes nothing."""
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{target} is a folder: name a file to write")
    place = next(folder for folder in target.absolute().parents if folder.exists())
    if not place.is_dir():
        raise InputError(f"{target} cannot be written: {place} is a file, not a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{target} cannot be written: there is no permission to write into {place}")


def below(root: str | os.PathLike, *parts: str, what: str = "path") -> Path | None:
    """`parts` joined to `root`, links resolved: `root` itself or a place below it; None where it lies outside.

    Backslashes divide folders, as in names from Windows, unless a file has that very name.
    Raises InputError, in which the parts are called `what`, for what no path can be.
    """
    base = Path(os.path.realpath(root))
    try:
        if any("\\" in part for part in parts) and not os.path.lexists(base.joinpath(*parts)):
            parts = tuple(part.replace("\\", "/") for part in parts)
        path = Path(os.path.realpath(base.joinpath(*parts)))
    except ValueError:
        raise InputError(f"the {what} {'/'.join(parts)!r} is not a path") from None
    return path if path == base or base in path.parents else None


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write UTF-8 text whole or not at all, with its line ends as they are on every system."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write indented JSON whole or not at all. Raises ValueError on NaN, which JSON does not know."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_tensors(
    path: str | os.PathLike, tensors: "Mapping[str, Tensor]", metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file whole or not at all; the same tensors and metadata are the same bytes.

    Raises InputError where it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # Copies: what shares memory, as bitsandbytes' tables do, is refused.
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    try:
        with atomic_write(path) as temporary:
            save_file(copies, temporary, metadata)
            _sort_metadata(temporary)
    except (SafetensorError, OSError) as error:  # safetensors has an error of its own for a full disk
        why = (isinstance(error, OSError) and error.strerror) or error
        raise InputError(f"{path} cannot be written ({why}); check path, permissions and space") from None


def _sort_metadata(path: Path) -> None:
    """Put a new safetensors file's metadata, which its writer leaves in a random order, in that of their names."""
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
            text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(length)
            assert len(text) == length, "the same values in another order are as long"
            file.seek(8)
            file.write(text)


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file as 64 hex digits, remembered by path, size and modification time."""
    stat = os.stat(path)
    key = (os.path.abspath(path), stat.st_size, stat.st_mtime_ns)
    if key not in _hashes:
        with open(path, "rb") as file:
            _hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _hashes[key]
