"""The workflow train_adapter."""

from typing import Any

from tools.flow import Flow
from tools.shipped import parts

NOTE = (
    "# Train an adapter, then look at it\n"
    "Fine-tunes Qwen-Image-Edit-2511 in a process of its own, puts the adapter into `models/loras` and paints a "
    "mask that it has not seen.\n\n"
    "**As it stands** it learns from *phantoms*, images of known nerves drawn by image formation alone: good for "
    "a trial. For your own images, put a folder with `images`, `masks` and `dataset.csv` below ComfyUI's input "
    "folder and choose it in *data*.\n\n"
    "**What to change:** *name*, *preset*, *data*. `consumer_24gb` is for one card of 24 GB, `paper_*` are the "
    "published settings, `lora_*` the plain LoRA to compare with. Single settings go into *settings*, one a line, "
    "such as `rank=32`. Stopping keeps a checkpoint; running again goes on.\n\n"
    "**Packages:** training needs diffusers, transformers, accelerate and bitsandbytes; the node says how to "
    "install what is missing.\n\n"
    f"{parts.FILES_NOTE}\n"
    "The adapter's name comes from WDLoRA Train by its link. Use it in *ccm_synthesis* by choosing it in WDLoRA "
    "Apply.\n\n"
    f"{parts.RESEARCH_NOTE}"
)


def train_adapter(info: dict[str, Any], version: str) -> Flow:
    """Fine-tune an adapter, then paint with it."""
    flow = Flow("train_adapter", info, version)
    train = flow.add(
        "WDLoRATrain",
        width=480,
        room=400,
        models=parts.MODELS,
        name="ccm",
        preset="consumer_24gb",
        source="single files",
        data="phantoms",
        phantoms_per_cohort=64,
        **parts.FILES,
    )
    curve = flow.add("PreviewImage", "Loss", width=480, room=330, images=train["curve"])
    report = flow.add("PreviewAny", "Report", width=480, room=240, source=train["report"])
    loader = parts.add_loader(flow)
    adapter = flow.add("WDLoRAApply", "WDLoRA Apply", width=380, model=loader["model"], linked_adapter=train["adapter"])
    shift, norm = parts.add_sampling(flow, adapter["model"])
    masks = flow.add("CCMSampleMasks", width=380, cohort="Control", count=1, size=384, seed=100000)
    words = parts.add_conditioning(flow, loader, masks)
    paint = parts.add_painting(flow, norm["patched_model"], words, width=360)
    decode = flow.add("VAEDecode", samples=paint["LATENT"], vae=loader["vae"])
    crop = flow.add("CCMCropToMask", image=decode["IMAGE"], mask=masks["masks"])
    save = flow.add(
        "SaveImage", "First Picture", width=460, room=430, images=crop["image"], filename_prefix="ccm/after_training"
    )
    note = flow.note(NOTE, 400, 600)
    flow.place(0, 0, note)
    flow.place(parts.COLUMNS[1], 0, train)
    flow.place(parts.COLUMNS[1] + train.width + 80, 0, curve, report)
    parts.place_synthesis(
        flow,
        ([loader], [adapter, shift, norm]),
        ([masks], [words], [paint, decode, crop], [save]),
        low=640,
        right=2 * train.width + 200,
    )
    flow.group("1  Train", parts.AMBER, train, curve, report)
    flow.group("2  Model with the new adapter", parts.BLUE, loader, adapter, shift, norm)
    flow.group("3  A mask it has not seen", parts.GREEN, masks, words)
    flow.group("4  Picture", parts.VIOLET, paint, decode, crop, save)
    return flow
