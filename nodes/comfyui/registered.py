"""Latents that do not belong to their masks are refused, where ComfyUI's sampler would fill up and cut off in silence.

ComfyUI repeats a conditioning of two masks for three latents as first, second, first, and leaves the second out for one
latent; it takes latents of another size than the mask as a picture that the mask is only shown to. CCM Conditioning
asks for neither (`registered`), and a MODEL that went through a node of this pack looks whether that is so.
"""

import math
from typing import Any

from comfy.patcher_extension import WrappersMP

from ...wdlora.qwen.latents import check_batch, check_registered

KEY = "wdlora_registered"


def keep_registered(patcher: Any) -> None:
    """Make whatever samples a MODEL look first whether its latents belong to their masks."""
    if not patcher.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY):
        patcher.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, registered)


def registered(sample: Any, noise: Any, *arguments: Any, **named: Any) -> Any:
    """ComfyUI's `outer_sample` for latents that belong to their masks. Raises InputError for others.

    `noise` has the latents' shape [B, 16, 1, h, w]. What other nodes than CCM Conditioning made is not looked at.
    """
    guider = sample.class_obj
    unguided = math.isclose(getattr(guider, "cfg", 0.0), 1)
    for name, parts in guider.original_conds.items():
        if name == "negative" and unguided:  # then nobody reads it
            continue
        for part in parts:
            if part.get("registered"):
                for one in (part["cross_attn"], *part["reference_latents"]):
                    check_batch(len(noise), len(one), name)
                check_registered(noise.shape, part["reference_latents"])
    return sample(noise, *arguments, **named)
