"""The embedded host: the pack's nodes without ComfyUI, in process (`run`) or behind the real front end (`serve`).

It offers this pack's nodes and the core nodes that the shipped workflows use, on diffusers, on any machine.
What it does not support it refuses by name.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .host import Host

__all__ = ["Host", "install_api"]


def install_api() -> None:
    """Supply ComfyUI's V3 interface in this process (see `wdlora.host.api`)."""
    from .api import install

    install()


def __getattr__(name: str) -> Any:
    if name == "Host":
        from .host import Host

        return Host
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
