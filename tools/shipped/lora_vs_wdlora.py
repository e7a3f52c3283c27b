"""The workflow lora_vs_wdlora."""

from typing import Any

from tools.flow import Flow
from tools.shipped import parts

NOTE = (
    "# LoRA against WDLoRA, side by side\n"
    "The same mask, prompt and noise, painted with a plain low-rank adapter and with a weight-decomposed one. From "
    "left to right: mask, LoRA, WDLoRA.\n\n"
    "**What to change:** the two adapters, which should be trained alike but for the method (`python -m training "
    "finetune --preset lora_r16` and `--preset paper_r16`); *cohort* and *seed* in CCM Sample Masks; the *same* "
    "seed in both KSamplers.\n\n"
    "**Direction and magnitude:** *direction_strength* and *magnitude_strength* in WDLoRA switch the two parts of "
    "the adapter on and off, each for itself. 0 and 0 is the model without it, bit for bit.\n\n"
    "**Adapters:** `ccm_lora.safetensors` and `ccm.safetensors` in `models/loras`.\n\n"
    f"{parts.FILES_NOTE}\n{parts.CARD_NOTE}\n{parts.FAST_NOTE}\n"
    "One picture proves nothing: judge over many masks and several training seeds (`python -m training "
    "compare`).\n\n"
    f"{parts.RESEARCH_NOTE}"
)


def lora_vs_wdlora(info: dict[str, Any], version: str) -> Flow:
    """A plain LoRA and a WDLoRA on the same mask, prompt and noise."""
    flow = Flow("lora_vs_wdlora", info, version)
    loader = parts.add_loader(flow)
    fast = parts.add_lightning(flow, loader)
    plain = flow.add("WDLoRAApply", "Plain LoRA", width=340, model=fast["MODEL"], adapter="ccm_lora.safetensors")
    decomposed = flow.add("WDLoRAApply", "WDLoRA", width=340, model=fast["MODEL"], adapter=parts.ADAPTER)
    masks = flow.add("CCMSampleMasks", width=380, cohort="T1NoDPN", count=1, size=384, seed=3)
    words = parts.add_conditioning(flow, loader, masks)
    grey = flow.add("MaskToImage", "Mask As Image", width=330, mask=masks["masks"])
    own = parts.add_biomarkers(flow, "Biomarkers Of The Mask", masks["masks"])
    columns = []
    for name, adapter in (("LoRA", plain), ("WDLoRA", decomposed)):
        shift, norm = parts.add_sampling(flow, adapter["model"], f" {name}")
        paint = parts.add_painting(flow, norm["patched_model"], words, f"Paint With {name}", width=380)
        decode = flow.add("VAEDecode", f"Decode {name}", width=330, samples=paint["LATENT"], vae=loader["vae"])
        crop = flow.add("CCMCropToMask", f"Crop {name}", width=330, image=decode["IMAGE"], mask=masks["masks"])
        trace = flow.add("CCMTrace", f"Trace {name}", width=330, images=crop["image"])
        found = parts.add_biomarkers(flow, f"Biomarkers Of {name}", trace["masks"], crop["image"])
        columns.append((shift, norm, paint, decode, crop, trace, found))
    (left, right) = columns
    first = flow.add(
        "ImageStitch",
        "Mask And LoRA",
        image1=grey["IMAGE"],
        image2=left[4]["image"],
        spacing_width=8,
    )
    both = flow.add("ImageStitch", "And WDLoRA", image1=first["IMAGE"], image2=right[4]["image"], spacing_width=8)
    save = flow.add(
        "SaveImage",
        "Mask, LoRA, WDLoRA",
        width=880,
        room=330,
        images=both["IMAGE"],
        filename_prefix="ccm/lora_vs_wdlora",
    )
    note = flow.note(NOTE, 400, 660)
    flow.place(0, 0, note)
    parts.place_synthesis(flow, ([loader, fast], [plain, decomposed]), ([masks, own], [words], [], []), low=640)
    flow.rows(
        parts.COLUMNS[3],
        0,
        [[*left[:2]], [left[2]], [*left[3:6]], [left[6]]],
        [[*right[:2], grey], [right[2]], [*right[3:6]], [right[6]]],
    )
    beside = left[6].pos[0] + left[6].width + 140
    flow.place(beside, 0, first, both)
    flow.place(beside, first.height + both.height + 260, save)
    flow.group("1  Model and adapters", parts.BLUE, loader, fast, plain, decomposed)
    flow.group("2  Mask and cohort", parts.GREEN, masks, own, words)
    flow.group("3  Plain LoRA above, WDLoRA below", parts.VIOLET, grey, *left, *right)
    flow.group("4  Side by side", parts.AMBER, first, both, save)
    return flow
