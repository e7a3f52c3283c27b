"""Features, traces and panels of images, kept by the images' content, so that nothing is computed twice.

    CACHE/KIND/KEY.npy    KIND names what computed it, KEY is the SHA-256 of pixels and pixel size

Entries appear whole or not at all, so an interrupted run leaves a usable cache, and end with the hash of their
content. They are made from the images, real ones too: traces of patients' nerves are no less confidential than they.
"""

import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import atomic_write
from ..sealed import seal, unseal


def content_key(pixels: NDArray, valid: NDArray, pixel_size_um: float) -> str:
    """SHA-256 of what is computed from: the pixels on the grid, where there is image, and the pixel size."""
    digest = hashlib.sha256(f"{pixels.shape} {pixel_size_um:.6g} {valid.all()}".encode())
    digest.update(np.ascontiguousarray(pixels).tobytes())
    if not valid.all():
        digest.update(np.packbits(valid).tobytes())
    return digest.hexdigest()


class ContentCache:
    """Arrays and JSON values in a folder; without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def array(self, kind: str, key: str) -> NDArray | None:
        """The array kept under `kind` and `key`; None where there is none, or a damaged one."""
        if self.folder is None:
            return None
        try:
            return np.load(io.BytesIO(unseal(self._place(kind, key, "npy").read_bytes())), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None

    def keep_array(self, kind: str, key: str, values: NDArray) -> None:
        """Keep an array."""
        if self.folder is not None:
            with atomic_write(self._place(kind, key, "npy")) as temporary:
                np.save(memory := io.BytesIO(), values, allow_pickle=False)
                temporary.write_bytes(seal(memory.getvalue()))

    def value(self, kind: str, key: str) -> Any:
        """The JSON value kept under `kind` and `key`; None where there is none, or a damaged one."""
        if self.folder is None:
            return None
        try:
            return json.loads(unseal(self._place(kind, key, "json").read_bytes()))
        except (OSError, ValueError):
            return None

    def keep_value(self, kind: str, key: str, value: Any) -> None:
        """Keep a JSON value."""
        if self.folder is not None:
            with atomic_write(self._place(kind, key, "json")) as temporary:
                temporary.write_bytes(seal(json.dumps(value).encode()))

    def _place(self, kind: str, key: str, suffix: str) -> Path:
        assert self.folder is not None
        return self.folder / re.sub(r"[^A-Za-z0-9._-]+", "_", kind) / f"{key}.{suffix}"
