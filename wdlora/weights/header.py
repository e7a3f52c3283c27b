"""The header of a safetensors file, checked before any native code sees it, so that damage is told in a sentence."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, first_of

MAX_HEADER = 100_000_000


@dataclass(frozen=True)
class TensorInfo:
    """What a header says of a tensor: the type as safetensors spells it ("BF16") and the shape."""

    dtype: str
    shape: tuple[int, ...]


def quoted(name: object, limit: int = 90) -> str:
    """A name out of a file, on one line, printable everywhere and not endless."""
    text = ascii(str(name))
    return text if len(text) <= limit else text[: limit - 2] + "…'"


def several(names: list[str], most: int = 3) -> str:
    """The first few names and how many more there are."""
    return first_of([quoted(name) for name in names], most)


def read_header(path: str | os.PathLike) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """The tensors and the metadata that a safetensors file declares, without reading a tensor.

    Raises InputError if the file is absent, a folder, empty, truncated, not safetensors or damaged.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the .safetensors file in it")
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            plausible = len(start) == 8 and 2 <= length <= min(size - 8, MAX_HEADER)
            text = file.read(length) if plausible else b""
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    if not text.startswith(b"{"):
        raise InputError(f"{path} {_what_it_is(start, size)}")
    try:
        header = json.loads(text.decode("utf-8"))
        metadata = header.pop("__metadata__", {}) or {}
        tensors = {name: TensorInfo(str(t["dtype"]), _shape(t["shape"])) for name, t in header.items()}
        end = max((_offset(t) for t in header.values()), default=0)
        if not all(isinstance(value, str) for value in metadata.values()):
            raise TypeError
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise InputError(f"{path} has a damaged header and cannot be read as safetensors") from None
    held = size - 8 - length
    if end > held:
        raise InputError(f"{path} is truncated: its header describes {end} bytes of tensors, it holds {held}")
    if end < held:
        raise InputError(f"{path} is damaged: {held - end} bytes follow its last tensor")
    return tensors, metadata


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or any(type(size) is not int or size < 0 for size in value):
        raise TypeError("shape")
    return tuple(value)


def _offset(tensor: Mapping[str, Any]) -> int:
    start, end = tensor["data_offsets"]
    if type(start) is not int or type(end) is not int or not 0 <= start <= end:
        raise TypeError("data_offsets")
    return end


def _what_it_is(start: bytes, size: int) -> str:
    """Say what a file without a safetensors header is, as far as its first bytes tell."""
    if size == 0:
        return "is empty (0 bytes)"
    if start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05"):
        return (
            "is a PyTorch pickle, not safetensors; pickles can run code and are never loaded, "
            "so convert it with a tool you trust"
        )
    if start[:4] == b"GGUF":
        return "is a GGUF file; this command reads safetensors"
    if start == b"version ":
        return "is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"
    return "is not a safetensors file, or is truncated within its header"


def open_safetensors(path: str | os.PathLike) -> Any:
    """`safetensors.safe_open` for torch on a file whose header is sound; raises InputError otherwise."""
    read_header(path)
    from safetensors import safe_open

    try:
        return safe_open(os.fspath(path), framework="pt")
    except Exception as error:  # the native reader raises its own class and, on odd headers, others
        raise InputError(f"{path} cannot be read as safetensors: {one_line(error)}") from None


def one_line(error: object) -> str:
    """An error's text on one line."""
    return " ".join(ascii(str(error))[1:-1].split())[:200]
