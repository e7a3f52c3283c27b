"""ImageStitch: two pictures side by side."""

from typing import Any

from ...errors import InputError
from ..api import io

_COLOURS = {"white": (1, 1, 1), "black": (0, 0, 0), "red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}


class ImageStitch(io.ComfyNode):
    """A second picture beside, above or below the first."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImageStitch",
            search_aliases=["side by side", "strip", "join pictures", "concatenate"],
            display_name="Stitch Images",
            category="image/transform",
            description="Puts the second picture beside the first. Without a second one, the first is passed on.",
            inputs=[
                io.Image.Input("image1"),
                io.Combo.Input("direction", options=["right", "down", "left", "up"], default="right"),
                io.Boolean.Input("match_image_size", default=True),
                io.Int.Input("spacing_width", default=0, min=0, max=1024, step=2),
                io.Combo.Input("spacing_color", options=list(_COLOURS), default="white"),
                io.Image.Input("image2", optional=True),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(
        cls,
        image1: Any,
        direction: str,
        match_image_size: bool,
        spacing_width: int,
        spacing_color: str,
        image2: Any = None,
    ) -> io.NodeOutput:
        import torch

        if image2 is None:
            return io.NodeOutput(image1)
        axis = 2 if direction in ("right", "left") else 1
        first, second = (_rgb(picture) for picture in _of_one_length(image1, image2))
        if first.shape[3 - axis] != second.shape[3 - axis]:
            sizes = " and ".join(f"{picture.shape[2]} × {picture.shape[1]}" for picture in (first, second))
            raise InputError(
                f"the embedded host stitches pictures with equal sides only, and these are {sizes}: give pictures of "
                "one size"
            )
        parts = [first, second] if direction in ("right", "down") else [second, first]
        gap = spacing_width + spacing_width % 2
        if gap:
            shape = list(first.shape)
            shape[axis] = gap
            parts.insert(1, torch.tensor(_COLOURS[spacing_color], dtype=first.dtype).expand(shape))
        return io.NodeOutput(torch.cat(parts, dim=axis))


def _of_one_length(*batches: Any) -> list[Any]:
    """Batches made as long as the longest, by repeating their last picture."""
    import torch

    longest = max(len(batch) for batch in batches)
    return [torch.cat([batch, batch[-1:].expand(longest - len(batch), -1, -1, -1)]) for batch in batches]


def _rgb(picture: Any) -> Any:
    return picture.expand(-1, -1, -1, 3) if picture.shape[-1] == 1 else picture[..., :3]


NODES = [(ImageStitch, None, "comfy_extras.nodes_images")]
