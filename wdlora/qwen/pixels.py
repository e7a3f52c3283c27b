"""Pixels: masks and images as one kind of tensor, and the grid that the model needs.

Everything in this room holds pictures as float tensors [batch, 3, height, width] in [0, 1]. The VAE reduces
by 8 and the transformer packs 2×2, so a side must be a multiple of 16; ComfyUI and diffusers agree on the
positions only where the patch grid is even, so the room keeps to multiples of 32.
"""

from typing import TYPE_CHECKING, Any

import torch

from ..errors import InputError

if TYPE_CHECKING:
    import numpy as np

GRID = 32


def as_picture(picture: Any) -> torch.Tensor:
    """Turn a mask or an image into a float tensor [batch, 3, height, width] in [0, 1].

    `picture`: tensor, array or PIL image; bool, uint8 or float in [0, 1]; shaped [H, W] (mask or grey),
    [H, W, 1 or 3], or [batch, 1 or 3, H, W] (float tensors only, returned in the same order). A mask becomes
    white on black. Raises InputError for another shape, type or range.
    """
    if not isinstance(picture, torch.Tensor):
        import numpy as np

        array = np.asarray(picture)
        if array.dtype.kind not in "biuf":
            raise InputError(f"a picture of type {array.dtype} cannot be used: give bool, uint8 or float in [0, 1]")
        picture = torch.from_numpy(np.ascontiguousarray(array))
    if picture.ndim == 2:
        picture = picture[None, None]
    elif picture.ndim == 3 and picture.shape[-1] in (1, 3):
        picture = picture.movedim(-1, 0)[None]
    elif picture.ndim != 4 or picture.shape[1] not in (1, 3):
        raise InputError(
            f"a picture of shape {list(picture.shape)} cannot be used: give [height, width] or [height, width, 3]"
        )
    if picture.dtype == torch.uint8:
        image = picture.float() / 255
    elif picture.dtype == torch.bool or picture.dtype.is_floating_point:
        image = picture.float()
    else:
        raise InputError(f"a picture of type {picture.dtype} cannot be used: give bool, uint8 or float in [0, 1]")
    if image.numel() == 0:
        raise InputError("the picture is empty: give one of at least one pixel")
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 1):
        raise InputError(f"a float picture must lie in [0, 1], but this one reaches from {low:g} to {high:g}")
    return image.expand(-1, 3, -1, -1)


def pad_to_grid(image: torch.Tensor) -> torch.Tensor:
    """Extend an image [B, C, H, W] at its right and lower edge, with zeros, to the next multiples of 32.

    Zero is "no nerve" in a mask. Nothing is rescaled; `crop` undoes it.
    """
    height, width = image.shape[-2:]
    return torch.nn.functional.pad(image, (0, -width % GRID, 0, -height % GRID))


def crop(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Cut an image [..., H, W] back to the size that it had before `pad_to_grid`."""
    return image[..., :height, :width]


def to_uint8(image: torch.Tensor) -> "np.ndarray":
    """Turn an image [3, H, W] in [0, 1] into uint8 [H, W, 3], truncating 255·x as ComfyUI's SaveImage."""
    return (image.detach().float().cpu() * 255).clamp(0, 255).to(torch.uint8).movedim(0, -1).contiguous().numpy()
