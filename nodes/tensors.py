"""Between ComfyUI's tensors (IMAGE [B, H, W, 3], MASK [B, H, W], float in [0, 1]) and the library's arrays."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from ..wdlora.errors import InputError

LARGEST_SIDE = 8192


def mask_arrays(mask: torch.Tensor, name: str = "mask") -> list[np.ndarray]:
    """MASK [B, H, W] or [H, W] → bool [H, W] each, cut at 0.5.

    Raises InputError for a tensor that is no mask, is empty, too large, or holds NaN.
    """
    batch = mask[None] if mask.ndim == 2 else mask
    if batch.ndim != 3 or batch.numel() == 0:
        raise InputError(f"{name} has the shape {list(mask.shape)}, which is no mask: link a MASK [B, H, W]")
    if max(batch.shape[1:]) > LARGEST_SIDE:
        height, width = batch.shape[1:]
        raise InputError(f"{name} is {width} × {height} pixels; the largest side allowed is {LARGEST_SIDE}")
    if not torch.isfinite(batch).all():
        raise InputError(f"{name} holds values that are not numbers (NaN or infinity); check the node before it")
    return list((batch > 0.5).cpu().numpy())


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
