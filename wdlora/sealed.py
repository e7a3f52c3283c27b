"""Contents that carry their own SHA-256: a bit that flipped on the disk is noticed when they are read."""

import hashlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .files import write_tensors

if TYPE_CHECKING:
    from torch import Tensor

SEAL = "sha256"
"""The key of the hash in a safetensors file's metadata."""

_DIGEST = hashlib.sha256().digest_size


class BrokenSeal(ValueError):
    """What was read is not what was written."""


def write_sealed_tensors(path: str | os.PathLike, tensors: "Mapping[str, Tensor]") -> None:
    """Write a safetensors file with the hash of its tensors, whole or not at all."""
    write_tensors(path, tensors, {SEAL: tensors_digest(tensors)})


def read_sealed_tensors(path: str | os.PathLike) -> "dict[str, Tensor]":
    """The tensors of such a file. Raises BrokenSeal where they are not those that were written, or it has no hash,
    OSError or SafetensorError where it cannot be read at all."""
    from safetensors import safe_open

    with safe_open(os.fspath(path), framework="pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        stated = (file.metadata() or {}).get(SEAL)
    if stated != tensors_digest(tensors):
        raise BrokenSeal(f"{path} is not as it was written")
    return tensors


def tensors_digest(tensors: "Mapping[str, Tensor]") -> str:
    """SHA-256 over names, types, shapes and bytes, 64 hex digits."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu").contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def seal(content: bytes) -> bytes:
    """The content with its SHA-256 behind it."""
    return content + hashlib.sha256(content).digest()


def unseal(sealed: bytes) -> bytes:
    """The content again. Raises BrokenSeal where it is not the one that was sealed."""
    content, digest = sealed[:-_DIGEST], sealed[-_DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        raise BrokenSeal("the content is not as it was written")
    return content
