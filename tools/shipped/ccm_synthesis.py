"""The workflow ccm_synthesis."""

from typing import Any

from tools.flow import Flow
from tools.shipped import parts

NOTE = (
    "# From a nerve mask to a measured picture\n"
    "Draws a mask for a clinical cohort, paints a confocal image of it, traces the image's nerves and measures "
    "both.\n\n"
    "**What to change:** *cohort*, *seed* and *size* in CCM Sample Masks; *seed* in KSampler for another picture "
    "of the same nerves. For a mask of your own, put *Load Image (as Mask)* with channel *red* in the place of CCM "
    "Sample Masks and choose the cohort in CCM Conditioning.\n\n"
    f"{parts.ADAPTER_NOTE}\n{parts.FILES_NOTE}\n{parts.CARD_NOTE}\n{parts.FAST_NOTE}\n"
    "**How to read the tables:** picture and mask should agree. Where they do not, nerves were lost or "
    "invented.\n\n"
    f"{parts.RESEARCH_NOTE}"
)


def ccm_synthesis(info: dict[str, Any], version: str) -> Flow:
    """Mask and cohort → image → traced nerves → biomarkers, beside the mask's own."""
    flow = Flow("ccm_synthesis", info, version)
    loader, fast, adapter, shift, norm = parts.add_model(flow)
    masks = flow.add("CCMSampleMasks", width=380, cohort="Control", count=1, size=384, seed=1)
    words = parts.add_conditioning(flow, loader, masks)
    paint = parts.add_painting(flow, norm["patched_model"], words, width=340)
    decode = flow.add("VAEDecode", width=340, samples=paint["LATENT"], vae=loader["vae"])
    crop = flow.add("CCMCropToMask", width=340, image=decode["IMAGE"], mask=masks["masks"])
    save = flow.add(
        "SaveImage", "Save The Picture", width=340, room=330, images=crop["image"], filename_prefix="ccm/picture"
    )
    trace, own, found, overlay = parts.add_measuring(flow, masks["masks"], crop["image"], 360)
    drawn = flow.add("PreviewImage", "The Mask", width=340, room=150, images=own["overlay"])
    note = flow.note(NOTE, 360, 720)
    flow.place(0, 0, note)
    parts.place_synthesis(
        flow,
        ([loader, fast], [adapter, shift, norm]),
        ([masks, own], [words, drawn], [paint, decode, crop, save], [trace, found, overlay]),
        low=640,
    )
    flow.group("1  Model and adapter", parts.BLUE, loader, fast, adapter, shift, norm)
    flow.group("2  Mask and cohort", parts.GREEN, masks, own, words, drawn)
    flow.group("3  Picture", parts.VIOLET, paint, decode, crop, save)
    flow.group("4  Biomarkers", parts.AMBER, trace, found, overlay)
    return flow
