"""The node that images a plexus without a model."""

from typing import Any

from comfy_api.latest import io

from . import engine, tensors
from .plexus import PLEXUS, Plexuses

CATEGORY = "CCM/images"


class CCMPhantom(io.ComfyNode):
    """Images nerves by physics: line spread, focus, cells, haze, speckle, noise."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CCMPhantom",
            display_name="CCM Phantom",
            category=CATEGORY,
            description="A confocal image of known nerves by image formation alone, without a learned model: for "
            "checking tracers and biomarkers against the truth, and as training material.",
            search_aliases=["phantom", "simulate", "ground truth", "synthetic nerves", "renderer"],
            inputs=[
                PLEXUS.Input("plexus", tooltip="Nerves as lines, from CCM Sample Masks or CCM Degenerate."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**53 - 1,
                    control_after_generate=True,
                    tooltip="Seed of noise, cells, haze and light of the first image; image i has the seed: seed + i.",
                ),
                io.Combo.Input(
                    "appearance",
                    options=["cohort", "common"],
                    default="cohort",
                    tooltip="Cohort: contrast, beading, haze and dendritic cells follow the severity (an assumption). "
                    "Common: the same for all, so that an image tells no more of its cohort than its mask.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="Phantoms, grey, on the masks' pixel grid."),
                io.Mask.Output(display_name="masks", tooltip="Their true nerve masks."),
            ],
        )

    @classmethod
    def execute(cls, plexus: Plexuses, seed: int, appearance: str) -> Any:
        from ..wdlora.anatomy import phantom

        progress = engine.current().progress(len(plexus.members))
        pictures = []
        for index, member in enumerate(plexus.members):
            pictures.append(plexus.middle(phantom(member, seed + index, appearance)))
            progress.advance()
        return io.NodeOutput(tensors.as_image(pictures), tensors.as_mask(plexus.masks()))


NODES = [CCMPhantom]
