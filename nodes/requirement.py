"""The oldest ComfyUI on which the pack was run, and the sentence for an older one."""

OLDEST = (0, 33, 0)
"""As `requires-comfyui` in pyproject.toml and docs/reference/compatibility.md have it."""


def check_comfyui() -> None:
    """Raise InputError on a ComfyUI that is too old; in the embedded host there is none, and nothing to check.

    Before 0.33 schemas, loaders and the ModelPatcher lack what the nodes use, so they would fail one by one.
    """
    try:
        from comfyui_version import __version__
    except ImportError:
        return
    found = tuple(int(part) for part in __version__.split("+")[0].split(".")[:3] if part.isdigit())
    if found < OLDEST:
        from ..wdlora.errors import InputError

        needed = ".".join(map(str, OLDEST))
        raise InputError(f"wdlora-ccm needs ComfyUI {needed} or newer, this is {__version__}: update ComfyUI")
