"""A wish to stop is heard between the blocks of a model, not only between its steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .context import check_interrupted

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def interruptible(part: "nn.Module") -> Iterator[None]:
    """Run the body so that each block of `part` asks first; the body then raises the host's interruption.

    Blocks are what lies in its module lists: layers of a transformer, of a text encoder, of a VAE.
    """
    from torch import nn

    def ask(*_: Any) -> None:
        check_interrupted()

    blocks = [block for held in part.modules() if isinstance(held, nn.ModuleList) for block in held]
    hooks = [block.register_forward_pre_hook(ask) for block in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
