"""What a user's ONNX file holds, read before any runtime sees it: no files beside it, no operators of strangers.

An ONNX file is a protobuf message; only the few fields that matter are looked at (onnx.proto, ONNX 1.x).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from ...errors import InputError

LARGEST = 1 << 30
"""Larger files are refused: protobuf itself ends at 2 GiB, and a segmenter is a hundredth of that."""

STANDARD = ("", "ai.onnx")
"""The domains of ONNX's own operators."""

DEEPEST = 32
"""Graphs inside graphs (loops, branches) beyond this are damage."""

_VARINT, _BYTES = 0, 2
_FIXED = {1: 8, 5: 4}

# Numbers of fields, by message.
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_SPARSE_TENSORS = (1, 2)
_NODE_ATTRIBUTE, _NODE_DOMAIN = 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14


@dataclass
class _Contents:
    """What was found: domains of operators that are not ONNX's own, and how many tensors lie in other files."""

    strangers: set[str] = field(default_factory=set)
    external: int = 0
    nodes: int = 0


def read_onnx(path: str | PathLike) -> bytes:
    """The bytes of an ONNX file that was looked through.

    Raises InputError for no such file, no ONNX, a network whose tensors lie in other files, and custom operators.
    """
    file = Path(path)
    try:
        size = file.stat().st_size
        if size > LARGEST:
            raise InputError(f"{file} has {size / 1e9:.1f} GB; a segmenter as ONNX has at most {LARGEST / 1e9:.1f} GB")
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): check the path") from None
    found = _Contents()
    try:
        _model(memoryview(data), found)
    except (ValueError, IndexError, RecursionError):
        raise InputError(f"{file} is not an ONNX file, or is truncated: export the network again") from None
    if found.external:
        raise InputError(
            f"{file} keeps {found.external} tensors in other files, which are never opened: export it as one file"
        )
    if found.strangers:
        named = ", ".join(sorted(found.strangers))
        raise InputError(f"{file} uses operators that are not ONNX's own ({named}): export it with standard ones")
    if not found.nodes:
        raise InputError(f"{file} is not an ONNX file, or holds no network: export the network again")
    return data


def _fields(message: memoryview) -> Iterator[tuple[int, int, "memoryview | int"]]:
    """(number, wire type, value) of every field of a message. Raises ValueError or IndexError on damage."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if not number:
            raise ValueError("field 0")
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, kind, value
        elif kind == _BYTES or kind in _FIXED:
            length, at = _varint(message, at) if kind == _BYTES else (_FIXED[kind], at)
            if at + length > len(message):
                raise ValueError("truncated")
            yield number, kind, message[at : at + length]
            at += length
        else:
            raise ValueError(f"wire type {kind}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("varint")


def _parts(message: memoryview, *numbers: int) -> Iterator[tuple[int, memoryview]]:
    """The messages and texts among the fields with these numbers."""
    for number, kind, value in _fields(message):
        if number in numbers:
            if kind != _BYTES or isinstance(value, int):
                raise ValueError(f"field {number}")
            yield number, value


def _model(message: memoryview, found: _Contents) -> None:
    for number, part in _parts(message, _MODEL_GRAPH, _MODEL_FUNCTIONS):
        if number == _MODEL_GRAPH:
            _graph(part, found, 0)
        else:
            found.strangers.add("functions of its own")


def _graph(message: memoryview, found: _Contents, depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError("too deep")
    for number, part in _parts(message, _GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE):
        if number == _GRAPH_NODE:
            _node(part, found, depth)
        elif number == _GRAPH_INITIALIZER:
            _tensor(part, found)
        else:
            _sparse(part, found)


def _node(message: memoryview, found: _Contents, depth: int) -> None:
    found.nodes += 1
    for number, part in _parts(message, _NODE_DOMAIN, _NODE_ATTRIBUTE):
        if number == _NODE_ATTRIBUTE:
            _attribute(part, found, depth)
        elif (domain := bytes(part).decode("utf-8")) not in STANDARD:
            found.strangers.add(ascii(domain))


def _attribute(message: memoryview, found: _Contents, depth: int) -> None:
    for number, part in _parts(message, *_ATTRIBUTE_TENSORS, *_ATTRIBUTE_GRAPHS, *_ATTRIBUTE_SPARSE):
        if number in _ATTRIBUTE_TENSORS:
            _tensor(part, found)
        elif number in _ATTRIBUTE_GRAPHS:
            _graph(part, found, depth + 1)
        else:
            _sparse(part, found)


def _sparse(message: memoryview, found: _Contents) -> None:
    for _, part in _parts(message, *_SPARSE_TENSORS):
        _tensor(part, found)


def _tensor(message: memoryview, found: _Contents) -> None:
    for number, kind, value in _fields(message):
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and kind == _VARINT and value == 1):
            found.external += 1
            return
