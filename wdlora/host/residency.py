"""Which parts of models lie on the accelerator: as many as fit, and the one that was used longest ago leaves first."""

import itertools
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

WORKING_BYTES = 8 * 2**30
"""What is left free beside the parts: a picture of 2048 × 2048 with two references takes about as much to paint."""


def free_bytes(device: Any) -> int:
    """Free memory of a CUDA device, with what PyTorch holds and does not use; 0 where a device does not tell."""
    import torch

    if device.type != "cuda":
        return 0
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def size_of(part: Any) -> int:
    """Bytes of a module's weights."""
    return sum(tensor.nbytes for tensor in itertools.chain(part.parameters(), part.buffers()))


class Residents:
    """The parts that are on one device. `free`: what says how much memory it has left."""

    def __init__(self, free: Callable[[Any], int] = free_bytes):
        self._free = free
        self._there: list[weakref.ref[Any]] = []
        """The one used last is the last."""

    def _parts(self) -> list[Any]:
        return [part for known in self._there if (part := known()) is not None]

    def bring(self, part: Any, device: Any, alone: bool = False) -> None:
        """Bring a part to the device. Others leave until it fits with room to work in; all do where `alone`."""
        others = [one for one in self._parts() if one is not part]
        missing = 0 if len(others) < len(self._parts()) else size_of(part)
        while others and (alone or self._free(device) < missing + WORKING_BYTES):
            others.pop(0).to("cpu")
        part.to(device)
        self._there = [weakref.ref(one) for one in (*others, part)]

    def work(self, part: Any, device: Any, compute: Callable[[], T]) -> T:
        """What `compute` gives with a part on the device; once more with the part alone there if memory runs out."""
        import torch

        self.bring(part, device)
        try:
            return compute()
        except torch.OutOfMemoryError:
            if self._parts() == [part]:
                raise
        # Outside of `except`: the error holds what had been computed, and with it the memory.
        self.bring(part, device, alone=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()
        return compute()

    def leave(self) -> None:
        """Bring every part to main memory."""
        for part in self._parts():
            part.to("cpu")
        self._there = []
