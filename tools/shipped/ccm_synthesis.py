"""The workflow ccm_synthesis."""

from typing import Any

from tools.flow import Flow
from tools.shipped import parts

NOTE = (
    "# From a nerve mask to a measured picture\n"
    "Draws a mask for a clinical cohort, paints a confocal image of it, traces the image's nerves and measures "
    "both.\n\n"
    "**What to change:** *cohort*, *seed* and *size* in CCM Sample Masks; *seed* in KSampler for another picture "
    "of the same nerves. For a mask of your own, put *Load Image (as Mask)* in the place of CCM Sample Masks and "
    "choose the cohort in CCM Conditioning.\n\n"
    f"{parts.ADAPTER_NOTE}\n{parts.FILES_NOTE}\n{parts.CARD_NOTE}\n{parts.FAST_NOTE}\n"
    "**How to read the tables:** picture and mask should agree. Where they do not, nerves were lost or "
    "invented.\n\n"
    f"{parts.RESEARCH_NOTE}"
)


def ccm_synthesis(info: dict[str, Any], version: str) -> Flow:
    """Mask and cohort → image → traced nerves → biomarkers, beside the mask's own."""
    flow = Flow("ccm_synthesis", info, version)
    loader, fast, adapter, shift, norm = parts.add_model(flow)
    masks = flow.add("CCMSampleMasks", cohort="Control", count=1, size=384, seed=1)
    words = parts.add_conditioning(flow, loader, masks)
    grey = flow.add("MaskToImage", "Mask As Image", mask=masks["masks"])
    preview = flow.add("PreviewImage", "The Mask", room=300, images=grey["IMAGE"])
    paint = parts.add_painting(flow, norm["patched_model"], words)
    decode = flow.add("VAEDecode", samples=paint["LATENT"], vae=loader["vae"])
    crop = flow.add("CCMCropToMask", image=decode["IMAGE"], mask=masks["masks"])
    save = flow.add(
        "SaveImage", "Save The Picture", width=460, room=430, images=crop["image"], filename_prefix="ccm/picture"
    )
    trace, own, found, overlay = parts.add_measuring(flow, masks["masks"], crop["image"], 340)
    note = flow.note(NOTE, 400, 560)
    flow.place(0, 0, note)
    flow.rows(
        480,
        0,
        [[loader, fast], [adapter, shift, norm], [masks, grey], [words], [preview]],
        [[paint, decode, crop], [save], [trace, own, found], [overlay]],
    )
    flow.group("1  Model and adapter", parts.BLUE, loader, fast, adapter, norm)
    flow.group("2  Mask and cohort", parts.GREEN, masks, grey, words, preview)
    flow.group("3  Picture", parts.VIOLET, paint, crop, save)
    flow.group("4  Biomarkers", parts.AMBER, trace, found, overlay)
    return flow
