"""Nodes that make nerve masks."""

from functools import partial
from typing import Any

from comfy_api.latest import io

from ..wdlora.errors import InputError
from . import engine, files, studies, tensors
from .plexus import PLEXUS, Plexuses
from .watching import watched

CATEGORY = "CCM/masks"
LEAST_DRAWN = 160  # pixels: 166 µm, a little above the least field of wdlora.anatomy.sample_mask


class CCMSampleMasks(io.ComfyNode):
    """Draws nerve masks whose biomarkers follow a cohort's published distribution."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CCMSampleMasks",
            display_name="CCM Sample Masks",
            category=CATEGORY,
            description="Draws corneal nerve masks whose biomarkers follow the published distribution of a "
            "clinical cohort. The same seed gives the same masks.",
            search_aliases=["corneal nerve", "nerve mask", "phantom mask", "plexus", "sampler", "cohort"],
            hidden=[io.Hidden.extra_pnginfo],
            inputs=[
                io.Combo.Input(
                    "cohort",
                    options=studies.cohorts(),
                    default="Control",
                    tooltip="Clinical group whose published nerve length, density and width the masks follow: "
                    "healthy, type 1 diabetes without neuropathy, type 1 diabetes with neuropathy. STUDY: COHORT is "
                    "a cohort of a study in models/ccm_studies, with the anatomy that the study names.",
                ),
                io.Int.Input(
                    "count",
                    default=1,
                    min=1,
                    max=256,
                    tooltip="Number of masks in the batch. Mask i has the seed 'seed + i'.",
                ),
                io.Int.Input(
                    "size",
                    default=384,
                    min=64,
                    max=1024,
                    step=32,
                    tooltip="Side of the square mask in pixels of 1.04 µm: 384 is the field of 400 µm, a smaller mask "
                    "shows a smaller field. Below 160 it is the middle of a field of 160, the smallest field that "
                    "is drawn.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**53 - 1,
                    control_after_generate=True,
                    tooltip="Seed of the first mask. The same seed, cohort and size give the same mask.",
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="masks", tooltip="Nerve masks, 1 on nerve, [count, size, size]."),
                io.String.Output(display_name="cohort", tooltip="The cohort's name, to link to the conditioning."),
                PLEXUS.Output(
                    display_name="plexus",
                    tooltip="The nerves as lines with widths, for CCM Degenerate and CCM Phantom.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, cohort: Any, **_: Any) -> Any:
        return studies.fingerprint(cohort)

    @classmethod
    @files.without_paths
    def execute(cls, cohort: str, count: int, size: int, seed: int) -> Any:
        from ..wdlora.anatomy import sample_mask

        study, group = studies.found_cohort(cohort)
        studies.check_stamp(cls.hidden.extra_pnginfo, study)
        if not group.anatomy:
            raise InputError(
                f"the cohort {group.name} of the study {study.name} names no anatomy: no masks can be drawn"
            )
        drawn = max(size, LEAST_DRAWN)
        progress = engine.current().progress(count)
        members = []
        for index in range(count):
            members.append(watched(partial(sample_mask, group.anatomy, seed=seed + index, size=drawn)))
            progress.advance()
        plexus = Plexuses(tuple(members), size)
        return io.NodeOutput(tensors.as_mask(plexus.masks()), cohort, plexus)


NODES = [CCMSampleMasks]
