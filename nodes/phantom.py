"""The node that images a plexus without a model."""

from functools import partial
from typing import Any

from comfy_api.latest import io

from ..wdlora.anatomy.phantoms.versions import VERSION, VERSIONS, version_name, version_number
from . import engine, tensors
from .plexus import PLEXUS, Plexuses
from .watching import watched

CATEGORY = "CCM/images"


class CCMPhantom(io.ComfyNode):
    """Images nerves by physics: line spread, focus, cells, light, grain, export."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CCMPhantom",
            display_name="CCM Phantom",
            category=CATEGORY,
            description="Simulates a confocal image of known nerves, without a learned model: for checking tracers "
            "and biomarkers against the truth, and as training material.",
            search_aliases=["phantom", "simulate", "ground truth", "synthetic nerves", "renderer"],
            inputs=[
                PLEXUS.Input("plexus", tooltip="Nerves as lines, from CCM Sample Masks or CCM Degenerate."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**53 - 1,
                    control_after_generate=True,
                    tooltip="Seed of noise, cells, haze and light of the first image; image i has the seed 'seed + i'.",
                ),
                io.Combo.Input(
                    "appearance",
                    options=["cohort", "common"],
                    default="cohort",
                    tooltip="Cohort: contrast, beading, haze and dendritic cells follow the severity (an assumption). "
                    "Common: the same for all, so that only the mask tells the cohort.",
                ),
                io.Combo.Input(
                    "version",
                    options=[version_name(version) for version in reversed(VERSIONS)],
                    default=version_name(VERSION),
                    optional=True,
                    tooltip="Phantom 2: grain, light, widths, fine network, K-structures and cells as in real frames. "
                    "Phantom 1: the version on which older figures were taken.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="Phantoms, grey, on the masks' pixel grid."),
                io.Mask.Output(display_name="masks", tooltip="Their true nerve masks: what an expert annotates."),
                io.Mask.Output(
                    display_name="all_fibres",
                    tooltip="Everything that is there: the masks and the fine network, which experts do not "
                    "annotate. Phantom 1 has no fine network.",
                ),
            ],
        )

    @classmethod
    def execute(cls, plexus: Plexuses, seed: int, appearance: str, version: str = version_name(VERSION)) -> Any:
        from ..wdlora.anatomy import phantom

        progress = engine.current().progress(len(plexus.members))
        number = version_number(version)
        pictures, fibres = [], []
        for index, member in enumerate(plexus.members):
            drawn = watched(partial(phantom, member, seed + index, appearance, version=number))
            pictures.append(plexus.middle(drawn))
            fibres.append(plexus.middle(member.mask if number == 1 else member.all_fibres))
            progress.advance()
        return io.NodeOutput(tensors.as_image(pictures), tensors.as_mask(plexus.masks()), tensors.as_mask(fibres))


NODES = [CCMPhantom]
