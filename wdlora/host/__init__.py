"""The embedded host: the pack's nodes without ComfyUI, in process (`run`) or behind the real front end (`serve`).

It offers this pack's nodes and the core nodes that the shipped workflows use, on diffusers, on any machine.
What it does not support it refuses by name.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from .host import Host as Host

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"host": ["Host"]})


def install_api() -> None:
    """Supply ComfyUI's V3 interface in this process (see `wdlora.host.api`)."""
    from .api import install

    install()
