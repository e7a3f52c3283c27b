"""Tiny ONNX files, written byte by byte as onnx.proto has them: the tests need no package to make one."""

import struct
from collections.abc import Sequence


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def part(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(data)) + data


def tensor(name: str, values: Sequence[float], external: str | None = None) -> bytes:
    head = number(1, len(values)) + number(2, 1) + part(8, name)
    if external is not None:
        return head + number(14, 1) + part(13, part(1, "location") + part(2, external))
    return head + part(9, struct.pack(f"<{len(values)}f", *values))


def node(operator: str, inputs: Sequence[str], output: str, domain: str = "", attributes: bytes = b"") -> bytes:
    entries = b"".join(part(1, name) for name in inputs)
    return entries + part(2, output) + part(4, operator) + attributes + (part(7, domain) if domain else b"")


def value_info(name: str, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(part(1, number(1, n) if isinstance(n, int) else part(2, n)) for n in shape)
    return part(1, name) + part(2, part(1, number(1, 1) + part(2, dims)))


def model(
    nodes: Sequence[bytes],
    tensors: Sequence[bytes] = (),
    shape: Sequence[int | str] = ("n", 1, "h", "w"),
    more: bytes = b"",
) -> bytes:
    """A model from the input "x" to the output "y", both of `shape`."""
    graph = b"".join(part(1, one) for one in nodes) + part(2, "g") + b"".join(part(5, one) for one in tensors)
    graph += part(11, value_info("x", shape)) + part(12, value_info("y", shape))
    return number(1, 8) + part(8, part(1, "") + number(2, 13)) + part(7, graph) + more


def threshold_model(at: float, slope: float, shape: Sequence[int | str] = ("n", 1, "h", "w")) -> bytes:
    """y = sigmoid(slope · (x − at))."""
    nodes = [node("Sub", ["x", "at"], "a"), node("Mul", ["a", "slope"], "b"), node("Sigmoid", ["b"], "y")]
    return model(nodes, [tensor("at", [at]), tensor("slope", [slope])], shape)
