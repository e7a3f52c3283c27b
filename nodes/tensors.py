"""Between ComfyUI's tensors (IMAGE [B, H, W, 3], MASK [B, H, W], float in [0, 1]) and the library's arrays."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from ..wdlora.errors import InputError

LARGEST_SIDE = 8192
BLACK = 0.05
"""Brightest value that noise of compression leaves in a black mask."""

GREY = 0.3
"""Share of a mask's pixels from 0.2 to 0.8 above which it is a grey picture."""


def mask_arrays(mask: torch.Tensor, name: str = "mask") -> list[np.ndarray]:
    """MASK [B, H, W] or [H, W] → bool [H, W] each, cut at 0.5.

    Raises InputError for a tensor that is no mask, is empty, too large, or holds NaN, for a dim mask, which is not
    black and reaches the cut nowhere, and for a grey picture: more than `GREY` of its pixels are neither dark nor
    bright, which no soft rim of nerves reaches.
    """
    batch = mask[None] if mask.ndim == 2 else mask
    if batch.ndim != 3 or batch.numel() == 0:
        raise InputError(f"{name} has the shape {list(mask.shape)}, which is not a mask: link a MASK [B, H, W]")
    if max(batch.shape[1:]) > LARGEST_SIDE:
        height, width = batch.shape[1:]
        raise InputError(f"{name} is {width} × {height} pixels; the largest side allowed is {LARGEST_SIDE}")
    if not torch.isfinite(batch).all():
        raise InputError(f"{name} holds values that are not numbers (NaN or infinity); check the node before it")
    for index, brightest in enumerate(batch.flatten(1).amax(1).tolist()):
        if BLACK < brightest <= 0.5:
            raise InputError(
                f"mask {index + 1} of {len(batch)} at {name} is dim: its brightest value is {brightest:.2f}, and only "
                "what is above 0.5 counts; draw it white on black"
            )
    for index, grey in enumerate(((batch > 0.2) & (batch < 0.8)).flatten(1).float().mean(1).tolist()):
        if grey > GREY:
            raise InputError(
                f"mask {index + 1} of {len(batch)} at {name} is a grey picture: {grey:.0%} of its pixels are neither "
                "dark nor bright; trace it first (CCM Trace), or link a mask that is white on black"
            )
    return list((batch > 0.5).cpu().numpy())


def grey_arrays(image: torch.Tensor, name: str = "images") -> list[np.ndarray]:
    """IMAGE [B, H, W, 1 to 4] → uint8 [H, W] each, as from the PNG that Save Image would write of it.

    It cuts 255 x off to whole numbers; so a node and `python -m wdlora measure` see the same picture.
    Raises InputError for a tensor that is no image, is empty, too large, or holds NaN.
    """
    from ..wdlora.clinic.images import grey_of_colours

    check_image(image, name)
    stored = (image[..., :3].float() * 255).clamp(0, 255).to(torch.uint8).cpu().numpy()
    return [grey_of_colours(one) if one.shape[-1] == 3 else one[..., 0] for one in stored]


def check_image(image: torch.Tensor, name: str = "images") -> None:
    """Raise InputError unless `image` is an IMAGE [B, H, W, C] of finite numbers and a size that can be worked on."""
    if image.ndim != 4 or image.numel() == 0 or image.shape[-1] not in (1, 3, 4):
        raise InputError(f"{name} has the shape {list(image.shape)}, which is not an image: link an IMAGE [B, H, W, 3]")
    if max(image.shape[1:3]) > LARGEST_SIDE:
        height, width = image.shape[1:3]
        raise InputError(f"{name} is {width} × {height} pixels; the largest side allowed is {LARGEST_SIDE}")
    if not torch.isfinite(image).all():
        raise InputError(f"{name} holds values that are not numbers (NaN or infinity); check the node before it")


def same_size(one: Sequence[np.ndarray], other: Sequence[np.ndarray], names: tuple[str, str]) -> None:
    """Raise InputError unless two batches have as many members of one size. `names` are those of the inputs."""
    if len(one) != len(other):
        raise InputError(
            f"{names[0]} is a batch of {len(one)} and {names[1]} one of {len(other)}: link batches of one length"
        )
    if one[0].shape[:2] != other[0].shape[:2]:
        sizes = [f"{array.shape[1]} × {array.shape[0]}" for array in (one[0], other[0])]
        raise InputError(
            f"{names[0]} is {sizes[0]} pixels and {names[1]} {sizes[1]}: they must lie on one pixel grid "
            "(CCM Crop To Mask cuts a decoded picture back to its mask)"
        )


def as_mask(masks: Iterable[np.ndarray]) -> torch.Tensor:
    """Bool arrays [H, W] of one size → MASK [B, H, W]."""
    return torch.from_numpy(np.stack(list(masks)).astype(np.float32))


def as_image(pictures: Iterable[np.ndarray]) -> torch.Tensor:
    """uint8 arrays [H, W] or [H, W, 3] of one size → IMAGE [B, H, W, 3]."""
    stack = np.stack([picture if picture.ndim == 3 else picture[..., None].repeat(3, -1) for picture in pictures])
    return torch.from_numpy(stack.astype(np.float32) / 255)


def table(columns: list[str], rows: list[list[Any]], caption: str = "") -> dict[str, Any]:
    """What `web/table.js` draws under a node."""
    return {"columns": columns, "rows": rows, "caption": caption}
