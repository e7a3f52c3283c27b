"""What the frozen encoders made of an example, computed once and kept on disk.

An entry is a safetensors file named by the SHA-256 of everything that decides its content: the pixels of
image, mask and reference, the prompt, the encoders' own hashes and the version of the encoding. A changed
prompt, mask, size or VAE therefore never meets an old entry. It carries the hash of its content as well, so
that a bit that flipped on the disk is never trained on.
"""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from torch import Tensor

from wdlora.errors import InputError
from wdlora.sealed import BrokenSeal, read_sealed_tensors, write_sealed_tensors

ENCODING_VERSION = 1
"""Raise it whenever the same input would be encoded differently."""


def entry_key(encoders: str, prompt: str, *images: np.ndarray | None) -> str:
    """SHA-256 over the encoders' fingerprint, the prompt and the images (shape, type and bytes of each)."""
    digest = hashlib.sha256(f"{ENCODING_VERSION}\0{encoders}\0{prompt}".encode())
    for image in images:
        if image is None:
            digest.update(b"\0none")
        else:
            digest.update(f"\0{image.shape}{image.dtype}".encode())
            digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


class Cache:
    """A folder of entries; `get` computes what is missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hits = self.misses = 0

    def path(self, key: str) -> Path:
        """Where the entry lies."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def get(self, key: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """The entry, read or else computed and written whole; one that is not as it was written is computed again."""
        path = self.path(key)
        if path.exists():
            try:
                entry = read_sealed_tensors(path)
                self.hits += 1
                return entry
            except (SafetensorError, OSError, BrokenSeal):
                path.unlink(missing_ok=True)
        self.misses += 1
        entry = {name: tensor.detach().cpu() for name, tensor in compute().items()}
        write_sealed_tensors(path, entry)
        return entry

    def read(self, key: str) -> dict[str, Tensor]:
        """An entry that `get` has made; raises InputError if it has been removed or has changed since."""
        try:
            return read_sealed_tensors(self.path(key))
        except BrokenSeal:
            raise InputError(
                f"The cache entry {self.path(key)} is not as it was written; start again to encode it, and check "
                f"the disk."
            ) from None
        except (SafetensorError, OSError):
            raise InputError(f"The cache {self.folder} has lost an entry; start again to encode it.") from None

    def require_space(self, entries: int, example: dict[str, Tensor]) -> None:
        """Raise InputError if `entries` more files of the size of `example` do not fit on the disk."""
        size = sum(tensor.nbytes for tensor in example.values()) + 1024
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if entries * size > free:
            raise InputError(
                f"The cache needs {entries * size / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB free; "
                "name another folder with --cache, or train on fewer views."
            )
