"""MaskToImage and ImageToMask."""

from typing import Any

from ...errors import InputError
from ..api import io

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


NODES = [(MaskToImage, None, "comfy_extras.nodes_mask"), (ImageToMask, None, "comfy_extras.nodes_mask")]
