"""The node that traces nerves in images."""

from functools import partial
from typing import Any

from comfy_api.latest import io

from ..wdlora.errors import InputError
from . import engine, tensors
from .biomarkers import pixel_size_input
from .watching import watched

CATEGORY = "CCM/biomarkers"


class CCMTrace(io.ComfyNode):
    """Traces the nerves of confocal images."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CCMTrace",
            display_name="CCM Trace",
            category=CATEGORY,
            description="Traces corneal nerves in images with oriented line filters, without learned weights. For "
            "comparing images with each other and with their masks; not validated against manual tracing.",
            search_aliases=["segment nerves", "nerve tracing", "ridge filter", "ACCMetrics", "image to mask"],
            inputs=[
                io.Image.Input("images", tooltip="Confocal images; a batch is traced one by one."),
                pixel_size_input(),
                io.Mask.Input(
                    "valid",
                    optional=True,
                    tooltip="1 where there is image (from CCM Load Image): leaves out a mosaic's black surroundings. "
                    "One, or one an image.",
                ),
            ],
            outputs=[io.Mask.Output(display_name="masks", tooltip="Traced nerves, 1 on nerve.")],
        )

    @classmethod
    def execute(cls, images: Any, pixel_size_um: float, valid: Any = None) -> Any:
        from ..wdlora.anatomy import trace

        arrays = tensors.grey_arrays(images, "images")
        areas = [None] * len(arrays) if valid is None else tensors.mask_arrays(valid, "valid")
        if len(areas) not in (1, len(arrays)):
            raise InputError(f"valid is a batch of {len(areas)} for {len(arrays)} images: link one, or one an image")
        progress = engine.current().progress(len(arrays))
        masks = []
        for index, array in enumerate(arrays):
            masks.append(watched(partial(trace, array, pixel_size_um, valid=areas[index % len(areas)])))
            progress.advance()
        return io.NodeOutput(tensors.as_mask(masks))


NODES = [CCMTrace]
