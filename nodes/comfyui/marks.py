"""Which Qwen-Image-Edit a MODEL or CLIP belongs to: a mark of this pack's loader, the marker of 2511, the file's name.

The mark is an attachment, which ComfyUI's ModelPatcher carries along to whatever is made of it.
"""

from pathlib import Path
from typing import Any

from ...wdlora.qwen.checkpoint import named_variant
from ...wdlora.qwen.variant import Known
from .patching import file_of

KEY = "wdlora_variant"


def mark(patcher: Any, variant: str | None) -> None:
    """Say on a ModelPatcher which Qwen-Image-Edit it belongs to; None: say nothing."""
    if variant is not None:
        patcher.set_attachments(KEY, variant)


def known_variant(part: Any) -> Known:
    """Which Qwen-Image-Edit a MODEL or CLIP belongs to, as far as it tells.

    2511 leaves its marker in any MODEL, so in those of ComfyUI's own loader and of GGUF's too.
    """
    patcher = getattr(part, "patcher", part)
    transformer = getattr(patcher.model, "diffusion_model", None)
    if getattr(transformer, "default_ref_method", None) == "index_timestep_zero":
        return Known("2511", sure=True)
    if (said := patcher.get_attachment(KEY)) is not None:
        return Known(said, sure=True)
    file = None if transformer is None else file_of(patcher)
    return Known(None if file is None else named_variant(Path(file)))
