"""Qwen-Image-Edit through diffusers: load, encode, latents, sample.

The names below are imported when they are first used, so that importing the package stays cheap. `encode`,
`generate` and `vl_view` are imported from the modules of the same name.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from .encode import Conditioning as Conditioning
    from .files import ModelFiles as ModelFiles
    from .latents import decode_latents as decode_latents
    from .latents import encode_image as encode_image
    from .loading import QwenImageEdit as QwenImageEdit
    from .loading import load as load
    from .patch import apply_adapter as apply_adapter
    from .sampling import Sampling as Sampling
    from .sampling import sample as sample

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "encode": ["Conditioning"],
        "latents": ["decode_latents", "encode_image"],
        "loading": ["ModelFiles", "QwenImageEdit", "load"],
        "patch": ["apply_adapter"],
        "sampling": ["Sampling", "sample"],
    },
)
