"""ImageScale: pictures in another size."""

from typing import Any

from ...errors import InputError
from ..pictures import LARGEST_PIXELS

LARGEST_SIDE = 16384


class ImageScale:
    """Pictures brought to a size, stretched or cut in their middle to its shape."""

    CATEGORY = "image/upscaling"
    ESSENTIALS_CATEGORY = "Image Tools"
    SEARCH_ALIASES = ["resize", "scale image", "change size"]
    DESCRIPTION = "Resizes pictures. Nothing of CCM's is resized unless a node like this one is put in."
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "upscale"
    METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        side = {"default": 512, "min": 0, "max": LARGEST_SIDE, "step": 1}
        tip = "Pixels; 0: as the other side asks, both 0: as it is."
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "Pictures to resize."}),
                "upscale_method": (list(cls.METHODS), {"tooltip": "How pixels between pixels are made up."}),
                "width": ("INT", {**side, "tooltip": tip}),
                "height": ("INT", {**side, "tooltip": tip}),
                "crop": (["disabled", "center"], {"tooltip": "Stretch to the new shape, or cut its edges off first."}),
            }
        }

    def upscale(self, image: Any, upscale_method: str, width: int, height: int, crop: str) -> tuple:
        rows, columns = image.shape[1:3]
        if not width and not height:
            return (image,)
        width = width or max(1, round(columns * height / rows))
        height = height or max(1, round(rows * width / columns))
        if len(image) * width * height > LARGEST_PIXELS:
            raise InputError(
                f"{len(image)} pictures of {width} × {height} pixels are more than 64 million: give a smaller size"
            )
        if crop == "center":
            image = _middle(image, width / height)
        if not image.numel():
            raise InputError(
                f"no pixel of {columns} × {rows} is left in the shape {width} × {height}: give another size, or no crop"
            )
        if upscale_method == "lanczos":
            return (_lanczos(image, width, height),)
        import torch

        resized = torch.nn.functional.interpolate(image.movedim(-1, 1), (height, width), mode=upscale_method)
        return (resized.movedim(1, -1),)


def _middle(image: Any, aspect: float) -> Any:
    """The middle of pictures [B, H, W, C] in the shape width / height, the same number cut at both edges."""
    rows, columns = image.shape[1:3]
    own = columns / rows
    left = round((columns - columns * (aspect / own)) / 2) if own > aspect else 0
    top = round((rows - rows * (own / aspect)) / 2) if own < aspect else 0
    return image[:, top : rows - top, left : columns - left]


def _lanczos(image: Any, width: int, height: int) -> Any:
    """Pillow's filter on 8-bit pixels, truncated as ComfyUI does."""
    import numpy as np
    import torch
    from PIL import Image

    resized = []
    for one in image:
        pixels = (255 * one.cpu().numpy()).clip(0, 255).astype(np.uint8)
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        back = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))
        resized.append(torch.from_numpy(back.astype(np.float32) / 255).reshape(height, width, -1))
    return torch.stack(resized).to(image.dtype)


NODES = [(ImageScale, "Upscale Image", "nodes")]
