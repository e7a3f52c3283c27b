"""The node that takes a plexus through the disease."""

from functools import partial
from typing import Any

from comfy_api.latest import io

from . import engine, tensors
from .plexus import PLEXUS, Plexuses
from .watching import watched

CATEGORY = "CCM/masks"


class CCMDegenerate(io.ComfyNode):
    """Lets the nerves of a plexus decline to a severity."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CCMDegenerate",
            display_name="CCM Degenerate",
            category=CATEGORY,
            description="The same nerves at another severity: branches separate, fibres die back, trunks break; "
            "nothing grows. It is a model of cross-sectional data and does not predict anybody's future.",
            search_aliases=["severity", "progression", "neuropathy", "disease", "decline", "DPN"],
            inputs=[
                PLEXUS.Input("plexus", tooltip="Nerves as lines, from CCM Sample Masks or another CCM Degenerate."),
                io.Float.Input(
                    "severity",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    round=0.001,
                    tooltip="Place on the axis of the cohorts (no unit): 0 Control, 1 type 1 diabetes without "
                    "neuropathy, 2 with neuropathy. Not below the severity at which the plexus was drawn.",
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="masks", tooltip="Nerve masks, 1 on nerve."),
                io.String.Output(display_name="cohort", tooltip="The nearest cohort, for the prompt."),
                PLEXUS.Output(display_name="plexus", tooltip="The nerves at this severity."),
            ],
        )

    @classmethod
    def execute(cls, plexus: Plexuses, severity: float) -> Any:
        from ..wdlora.anatomy import degenerate
        from ..wdlora.cohorts import nearest

        progress = engine.current().progress(len(plexus.members))
        members = []
        for member in plexus.members:
            members.append(watched(partial(degenerate, member, severity)))
            progress.advance()
        declined = plexus.having(members)
        return io.NodeOutput(tensors.as_mask(declined.masks()), nearest(severity).name, declined)


NODES = [CCMDegenerate]
