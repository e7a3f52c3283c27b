"""The socket CCM_PLEXUS: nerve plexuses as vectors, for the nodes that need more than their mask."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

if TYPE_CHECKING:
    import numpy as np

    from ..wdlora.anatomy import NerveMask

PLEXUS = io.Custom("CCM_PLEXUS")


@dataclass(frozen=True)
class Plexuses:
    """A batch of plexuses of one cohort.

    `size` is the side in pixels of what the nodes give: the middle of each member, where that is smaller.
    """

    members: tuple["NerveMask", ...]
    size: int

    def middle(self, picture: "np.ndarray") -> "np.ndarray":
        """The part of a member's picture [H, W] that the nodes give: [size, size]."""
        top, left = ((side - self.size) // 2 for side in picture.shape[:2])
        return picture[top : top + self.size, left : left + self.size]

    def masks(self) -> list["np.ndarray"]:
        """The masks bool [size, size]."""
        return [self.middle(member.mask) for member in self.members]

    def having(self, members: Any) -> "Plexuses":
        """The same with other members."""
        return replace(self, members=tuple(members))
