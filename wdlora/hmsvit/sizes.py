"""Sizes of the network by name."""

from dataclasses import dataclass

from ..errors import InputError

STRIDE = 4
"""Pixels between neighbouring patches of the first stage; every further stage halves the grid."""

UNIT = 32
"""Side in pixels of the blocks that are masked in pre-training: 8 × 8 patches. Sides of tiles are multiples of it."""

LARGEST_SIDE = 1024


@dataclass(frozen=True)
class NetworkSize:
    """`width` channels of the first of four stages, doubled from stage to stage; layers and heads of each stage;
    `decoder` channels of the segmentation decoder and of the one that fills in masked blocks.
    """

    width: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    decoder: int

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Channels of every stage."""
        return self.width, 2 * self.width, 4 * self.width, 8 * self.width


SIZES = {
    "tiny": NetworkSize(16, (1, 1, 2, 1), (1, 2, 4, 8), 32),
    "small": NetworkSize(32, (1, 2, 3, 1), (1, 2, 4, 8), 48),
    "base": NetworkSize(64, (1, 2, 5, 2), (1, 2, 4, 8), 64),
    "paper": NetworkSize(96, (1, 2, 4, 2), (1, 2, 4, 8), 128),
}


def size_named(name: str) -> NetworkSize:
    """One of `SIZES`. Raises InputError, naming them, for another name."""
    if name not in SIZES:
        raise InputError(f"there is no network size {name!r}; choose one of {', '.join(SIZES)}")
    return SIZES[name]


def check_side(side: int) -> int:
    """The side of a tile in pixels, as it is. Raises InputError where the network cannot have it."""
    if side not in range(2 * UNIT, LARGEST_SIDE + 1, UNIT):
        raise InputError(f"a tile of {side} pixels cannot be used: give a multiple of {UNIT} from 64 to {LARGEST_SIDE}")
    return side
