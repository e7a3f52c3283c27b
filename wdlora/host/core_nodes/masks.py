"""MaskToImage, ImageToMask, InvertMask, GrowMask, SolidMask."""

from typing import Any

from ...errors import InputError
from ..api import io
from ..context import check_interrupted
from ..pictures import LARGEST_PIXELS
from .scaling import LARGEST_SIDE

_CHANNELS = ["red", "green", "blue", "alpha"]


class MaskToImage(io.ComfyNode):
    """A mask as a grey picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MaskToImage",
            search_aliases=["mask as picture"],
            display_name="Convert Mask to Image",
            category="image/mask",
            inputs=[io.Mask.Input("mask")],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, mask: Any) -> io.NodeOutput:
        grey = mask.reshape(-1, mask.shape[-2], mask.shape[-1], 1)
        return io.NodeOutput(grey.expand(-1, -1, -1, 3))


class ImageToMask(io.ComfyNode):
    """One channel of a picture as a mask."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImageToMask",
            search_aliases=["channel as mask"],
            display_name="Convert Image to Mask",
            category="image/mask",
            inputs=[io.Image.Input("image"), io.Combo.Input("channel", options=_CHANNELS)],
            outputs=[io.Mask.Output()],
        )

    @classmethod
    def execute(cls, image: Any, channel: str) -> io.NodeOutput:
        index = _CHANNELS.index(channel)
        if index >= image.shape[-1]:
            raise InputError(f"the picture has no {channel} channel, only {image.shape[-1]} channels")
        return io.NodeOutput(image[..., index])


class InvertMask(io.ComfyNode):
    """A mask with nerve and background changed over."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InvertMask",
            search_aliases=["nerves are black", "reverse mask"],
            display_name="Invert Mask",
            category="image/mask",
            inputs=[io.Mask.Input("mask")],
            outputs=[io.Mask.Output()],
        )

    @classmethod
    def execute(cls, mask: Any) -> io.NodeOutput:
        return io.NodeOutput(1.0 - mask)


class GrowMask(io.ComfyNode):
    """A mask wider or, below 0, narrower by some pixels."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GrowMask",
            search_aliases=["thicker nerves", "thinner nerves", "expand mask"],
            display_name="Grow Mask",
            category="image/mask",
            inputs=[
                io.Mask.Input("mask"),
                io.Int.Input("expand", default=0, min=-LARGEST_SIDE, max=LARGEST_SIDE, step=1),
                io.Boolean.Input("tapered_corners", default=True, advanced=True),
            ],
            outputs=[io.Mask.Output()],
        )

    @classmethod
    def execute(cls, mask: Any, expand: int, tapered_corners: bool) -> io.NodeOutput:
        import torch

        masks = mask.reshape(-1, *mask.shape[-2:])
        return io.NodeOutput(
            torch.stack([torch.from_numpy(_grown(one.cpu().numpy(), expand, tapered_corners)) for one in masks])
        )


def _grown(mask: Any, pixels: int, tapered: bool) -> Any:
    """Grey dilation, or erosion below 0, by a cross or a square of three pixels, once a pixel."""
    import numpy as np
    from scipy import ndimage

    footprint = ndimage.generate_binary_structure(2, 1 if tapered else 2)
    step = ndimage.grey_dilation if pixels > 0 else ndimage.grey_erosion
    for _ in range(abs(pixels)):
        check_interrupted()
        grown = step(mask, footprint=footprint)
        if np.array_equal(grown, mask):  # then no further step changes it
            break
        mask = grown
    return mask


class SolidMask(io.ComfyNode):
    """A mask of one value."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        side = {"default": 512, "min": 1, "max": LARGEST_SIDE, "step": 1}
        return io.Schema(
            node_id="SolidMask",
            search_aliases=["empty mask", "constant mask"],
            display_name="Create Solid Mask",
            category="image/mask",
            inputs=[
                io.Float.Input("value", default=1.0, min=0.0, max=1.0, step=0.01),
                io.Int.Input("width", **side),
                io.Int.Input("height", **side),
            ],
            outputs=[io.Mask.Output()],
        )

    @classmethod
    def execute(cls, value: float, width: int, height: int) -> io.NodeOutput:
        import torch

        if width * height > LARGEST_PIXELS:
            raise InputError(f"a mask of {width} × {height} pixels is more than 64 million: give a smaller size")
        return io.NodeOutput(torch.full((1, height, width), value))


NODES = [
    (node, None, "comfy_extras.nodes_mask") for node in (MaskToImage, ImageToMask, InvertMask, GrowMask, SolidMask)
]
