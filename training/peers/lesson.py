"""What a training of a peer consists of, and the peer itself as the loop and the painter see it."""

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.peers.data import PeerBatch
from wdlora.errors import InputError

Advance = Callable[[PeerBatch, torch.optim.Optimizer], dict[str, float]]
"""One optimiser step on a batch; gives the numbers for the log, `loss` among them."""


@dataclass(frozen=True)
class PeerLesson:
    """A part of a training: `steps` of `advance`, which changes the parameters of `groups` (with their peak rates)."""

    name: str
    steps: int
    groups: list[tuple[list[nn.Parameter], float]]
    advance: Advance


class Peer(nn.Module, ABC):
    """A generator that paints a mask and a cohort. `painting` are the prefixes of the tensors that it takes."""

    painting: tuple[str, ...]

    @abstractmethod
    def lessons(self) -> list[PeerLesson]:
        """The parts of its training, in their order."""

    @abstractmethod
    def begin(self, lesson: str, batches: Callable[[int], PeerBatch]) -> None:
        """Whatever must be known before a lesson, decided by its first batches."""

    @abstractmethod
    def paint(self, mask: NDArray[np.bool_], cohort: int, generator: torch.Generator) -> Tensor:
        """A picture float [H, W] from −1 to 1 of a mask bool [H, W] of any size under a cohort by its number."""

    def parts(self) -> dict[str, Tensor]:
        """The tensors that painting needs, by name."""
        return {name: value for name, value in self.state_dict().items() if name.startswith(self.painting)}

    def painting_parameters(self) -> int:
        """How many numbers painting needs."""
        return sum(value.numel() for value in self.parts().values())

    def trained_parameters(self) -> int:
        """How many numbers were trained, discriminators apart."""
        return sum(value.numel() for name, value in self.named_parameters() if "adversary" not in name)


def check_monai() -> None:
    """Raise InputError where the peers' packages are not installed."""
    if missing := [name for name in ("monai", "einops") if importlib.util.find_spec(name) is None]:
        raise InputError(
            f'the peers need {" and ".join(missing)}: python -m pip install {" ".join(missing)}, or the extra "peers"'
        )
