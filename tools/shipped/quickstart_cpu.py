"""The workflow quickstart_cpu."""

from typing import Any

from tools.flow import Flow
from tools.shipped import parts

NOTE = (
    "# Quick start on any machine\n"
    "The whole way from a nerve mask to a measured picture, on the **miniature**: a small Qwen-Image-Edit that "
    "comes with this pack. It needs no GPU and no download, and paints in seconds. Press **Run**.\n\n"
    "**What you see:** in *What Was Measured*, trunks are red, branches amber, free fibres blue, and branch points "
    "have a ring. Where both tables agree, the picture shows the mask's nerves.\n\n"
    "**What to change:** *cohort* and *seed* in CCM Sample Masks, *seed* in KSampler.\n\n"
    "The miniature learned to draw bright lines, never corneas: its pictures show how the nodes work together, not "
    "what the full model paints. An adapter that was fine-tuned on it (`python -m training finetune --preset "
    "miniature`) can be chosen in WDLoRA Apply.\n\n"
    "**Next:** *ccm_synthesis*, the same graph for the full model on a GPU.\n\n"
    f"{parts.RESEARCH_NOTE}"
)

NARROW = (0, 320, 745, 1235, 1655)
"""Left edges of its columns: so near that ComfyUI, which fits a template into the window, draws its texts at once."""


def quickstart_cpu(info: dict[str, Any], version: str) -> Flow:
    """The synthesis on the miniature: any machine, no download."""
    flow = Flow("quickstart_cpu", info, version)
    loader = flow.add("WDLoRALoadQwenImageEdit", width=380, room=parts.SAID, source="miniature")
    adapter = flow.add("WDLoRAApply", "WDLoRA Apply", width=340, model=loader["model"])
    shift = flow.add("ModelSamplingAuraFlow", "Shift", width=340, model=adapter["model"], shift=3.0)
    masks = flow.add("CCMSampleMasks", width=380, cohort="Control", count=1, size=192, seed=1)
    words = parts.add_conditioning(flow, loader, masks)
    paint = parts.add_painting(flow, shift["MODEL"], words, steps=12, cfg=1.0, sampler_name="heun", width=340)
    decode = flow.add("VAEDecode", width=340, samples=paint["LATENT"], vae=loader["vae"])
    save = flow.add(
        "SaveImage", "Save The Picture", width=340, room=330, images=decode["IMAGE"], filename_prefix="ccm/quickstart"
    )
    trace, own, found, overlay = parts.add_measuring(
        flow,
        masks["masks"],
        decode["IMAGE"],
        340,
        segmenter="lines",  # the miniature paints lines, not corneas
    )
    note = flow.note(NOTE, 290, 440)
    flow.place(0, 0, note)
    parts.place_synthesis(
        flow,
        ([loader], [adapter, shift]),
        ([masks, own], [words], [paint, decode, save], [trace, found, overlay]),
        low=620,
        columns=NARROW,
    )
    flow.group("1  Model", parts.BLUE, loader, adapter, shift)
    flow.group("2  Mask and cohort", parts.GREEN, masks, own, words)
    flow.group("3  Picture", parts.VIOLET, paint, decode, save)
    flow.group("4  Biomarkers", parts.AMBER, trace, found, overlay)
    return flow
