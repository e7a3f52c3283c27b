"""Text in PNG files, read and rewritten chunk by chunk: every other byte stays (PNG specification, third edition)."""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..errors import InputError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXELS = (b"IDAT", b"fdAT")
LARGEST_TEXT = 64 * 2**20
_PLAIN = (b"tEXt", b"comf")
"""`comf` is where ComfyUI keeps the graph of an animation; it is built as `tEXt`."""


@dataclass(frozen=True)
class Chunk:
    """A chunk's kind and content; `raw` is all of it as it stood."""

    kind: bytes
    content: bytes
    raw: bytes


def read(data: bytes) -> tuple[list[Chunk], bytes]:
    """The chunks of a PNG, and what follows its end. Raises InputError for a file that is none or is cut short."""
    if not data.startswith(SIGNATURE):
        raise InputError("it is not a PNG file")
    chunks: list[Chunk] = []
    at = len(SIGNATURE)
    while at < len(data) and (not chunks or chunks[-1].kind != b"IEND"):
        head = data[at : at + 8]
        size = int.from_bytes(head[:4], "big")
        end = at + 12 + size
        if len(head) < 8 or end > len(data):
            raise InputError("the PNG file is cut short")
        chunks.append(Chunk(head[4:], data[at + 8 : at + 8 + size], data[at:end]))
        at = end
    if not chunks or chunks[-1].kind != b"IEND":
        raise InputError("the PNG file is cut short")
    return chunks, data[at:]


def chunk_text(chunk: Chunk) -> tuple[str, str] | None:
    """Keyword and text of a text chunk, None for another. Raises InputError for one that cannot be read."""
    if chunk.kind not in (*_PLAIN, b"zTXt", b"iTXt"):
        return None
    keyword, _, rest = chunk.content.partition(b"\0")
    try:
        if chunk.kind in _PLAIN:
            words = rest.decode("latin-1")
        elif chunk.kind == b"zTXt":
            words = _inflated(rest[1:]).decode("latin-1")
        else:
            _, _, content = _international(rest)
            words = (_inflated(content) if rest[:1] == b"\1" else content).decode("utf-8")
    except (zlib.error, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"its text {keyword.decode('latin-1')!r} cannot be read: {error}") from None
    return keyword.decode("latin-1"), words


def with_text(chunk: Chunk, words: str) -> Chunk:
    """The same chunk with another text, kept as it was kept; as iTXt where Latin-1 has no such letter."""
    keyword, _, rest = chunk.content.partition(b"\0")
    if chunk.kind == b"iTXt":
        language, translated, _ = _international(rest)
        content = words.encode("utf-8")
        packed = zlib.compress(content) if rest[:1] == b"\1" else content
        return _chunk(b"iTXt", keyword + b"\0" + rest[:2] + language + b"\0" + translated + b"\0" + packed)
    try:
        content = words.encode("latin-1")
    except UnicodeEncodeError:
        return _chunk(b"iTXt", keyword + b"\0\0\0\0\0" + words.encode("utf-8"))
    return _chunk(
        chunk.kind, keyword + b"\0" + (rest[:1] + zlib.compress(content) if chunk.kind == b"zTXt" else content)
    )


def rewritten(data: bytes, change: Callable[[str, str], str]) -> bytes:
    """A PNG whose texts are `change(keyword, text)`; the same bytes where nothing changes."""
    chunks, rest = read(data)
    parts = [SIGNATURE]
    for chunk in chunks:
        found = chunk_text(chunk)
        new = None if found is None else change(*found)
        parts.append(chunk.raw if found is None or new is None or new == found[1] else with_text(chunk, new).raw)
    return b"".join([*parts, rest])


def readable(data: bytes) -> Iterator[bytes]:
    """Everything in a PNG that may hold words: texts unpacked, as UTF-8; other chunks but pixels; the rest."""
    chunks, rest = read(data)
    for chunk in chunks:
        found = chunk_text(chunk)
        if found is not None:
            yield "\0".join(found).encode("utf-8")
        elif chunk.kind not in PIXELS:
            yield chunk.content
    yield rest


def _chunk(kind: bytes, content: bytes) -> Chunk:
    raw = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return Chunk(kind, content, raw)


def _international(rest: bytes) -> tuple[bytes, bytes, bytes]:
    """Language, translated keyword and content of an iTXt chunk, after its keyword."""
    language, first, after = rest[2:].partition(b"\0")
    translated, second, content = after.partition(b"\0")
    if not first or not second:
        raise ValueError("it is cut short")
    return language, translated, content


def _inflated(packed: bytes) -> bytes:
    worker = zlib.decompressobj()
    content = worker.decompress(packed, LARGEST_TEXT)
    if worker.unconsumed_tail:
        raise ValueError("it is larger than 64 MB")
    if not worker.eof:
        raise ValueError("it is cut short")
    return content
