"""The node that traces nerves in images."""

from functools import partial
from typing import Any

from comfy_api.latest import io

from ..wdlora.anatomy.tracing.choices import ANNOTATED, DEFAULT
from . import engine, files, tensors, tracers
from .biomarkers import pixel_size_input, seen_areas
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
            description="Traces corneal nerves in images: by a small network, by oriented line filters, or by a "
            "network of your own. Use it to compare images with each other and with their masks. Run "
            "validate-tracing on your own annotated images before you rely on it.",
            search_aliases=["segment nerves", "nerve tracing", "ridge filter", "ACCMetrics", "image to mask", "ONNX"],
            inputs=[
                io.Image.Input("images", tooltip="Confocal images; a batch is traced one by one."),
                pixel_size_input(),
                io.Mask.Input(
                    "valid",
                    optional=True,
                    tooltip="1 where there is image (from CCM Load Image): leaves out a mosaic's black "
                    "surroundings. One, or one for each image. Without it, surroundings and an information bar are "
                    "detected.",
                ),
                *tracers.tracer_inputs(),
            ],
            outputs=[
                io.Mask.Output(display_name="masks", tooltip="Traced nerves, 1 on nerve."),
                io.Mask.Output(display_name="valid", tooltip="1 where there is image, for CCM Biomarkers."),
                io.String.Output(display_name="tracer", tooltip="Name and version of the tracer, for tables."),
            ],
        )

    @classmethod
    def validate_inputs(cls, segmenter: Any = DEFAULT) -> Any:
        return files.sentence(tracers.chosen, segmenter)

    @classmethod
    def fingerprint_inputs(cls, segmenter: Any = DEFAULT, **_: Any) -> Any:
        return tracers.stamp(segmenter)

    @classmethod
    def execute(
        cls, images: Any, pixel_size_um: float, valid: Any = None, segmenter: str = DEFAULT, detail: str = ANNOTATED
    ) -> Any:
        import numpy as np

        from ..wdlora.anatomy import trace
        from ..wdlora.anatomy.tracing.segmenters import tracer_name
        from ..wdlora.clinic.field import valid_area

        choice = tracers.chosen(segmenter)
        arrays = tensors.grey_arrays(images, "images")
        given = [None] * len(arrays) if valid is None else seen_areas(valid, arrays, "images")

        def traced(array: Any, area: Any) -> tuple[Any, Any]:
            if valid is None and not (found := valid_area(array)[0]).all():
                area = found
            return trace(array, pixel_size_um, choice, area, detail=detail), area

        progress = engine.current().progress(len(arrays))
        masks, areas = [], []
        for array, area in zip(arrays, given, strict=True):
            mask, area = watched(partial(traced, array, area))
            masks.append(mask)
            areas.append(area)
            progress.advance()
        seen = [np.ones(array.shape, bool) if area is None else area for array, area in zip(arrays, areas, strict=True)]
        return io.NodeOutput(tensors.as_mask(masks), tensors.as_mask(seen), tracer_name(choice, detail))


NODES = [CCMTrace]
