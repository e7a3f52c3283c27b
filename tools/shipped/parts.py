"""What the shipped workflows share: files, notes, and the stages of a graph."""

from collections.abc import Sequence
from typing import Any

from tools.flow import Flow, Node

BLUE, GREEN, VIOLET, AMBER = "#3f789e", "#4a7a4a", "#7a5c9a", "#9a6a2f"

_HUB = "https://huggingface.co"
MODELS = (
    {
        "name": "qwen_image_edit_2511_bf16.safetensors",
        "url": f"{_HUB}/Comfy-Org/Qwen-Image-Edit_ComfyUI/resolve/main/split_files/diffusion_models/"
        "qwen_image_edit_2511_bf16.safetensors",
        "directory": "diffusion_models",
    },
    {
        "name": "qwen_2.5_vl_7b_fp8_scaled.safetensors",
        "url": f"{_HUB}/Comfy-Org/Qwen-Image_ComfyUI/resolve/main/split_files/text_encoders/"
        "qwen_2.5_vl_7b_fp8_scaled.safetensors",
        "directory": "text_encoders",
    },
    {
        "name": "qwen_image_vae.safetensors",
        "url": f"{_HUB}/Comfy-Org/Qwen-Image_ComfyUI/resolve/main/split_files/vae/qwen_image_vae.safetensors",
        "directory": "vae",
    },
)
FILES = dict(zip(("diffusion_model", "text_encoder", "vae"), (model["name"] for model in MODELS), strict=True))
LIGHTNING = {
    "name": "Qwen-Image-Edit-2511-Lightning-4steps-V1.0-bf16.safetensors",
    "url": f"{_HUB}/lightx2v/Qwen-Image-Edit-2511-Lightning/resolve/main/"
    "Qwen-Image-Edit-2511-Lightning-4steps-V1.0-bf16.safetensors",
    "directory": "loras",
}
SAID, PREVIEW = 60, 240
"""Room for the line and for the picture that a node shows while it runs."""

ADAPTER = "ccm.safetensors"
"""The file that the workflow train_adapter writes."""

OFFICIAL = {"steps": 40, "cfg": 4.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
"""Sampling as the official workflow of Qwen-Image-Edit-2511 has it; its shift is 3.1."""

FILES_NOTE = """**Files**, in ComfyUI's `models` folder

| folder | file |
|---|---|
| diffusion_models | qwen_image_edit_2511_bf16.safetensors |
| text_encoders | qwen_2.5_vl_7b_fp8_scaled.safetensors |
| vae | qwen_image_vae.safetensors |
"""
CARD_NOTE = """**Card of 24 GB:** set *dtype* of the loader to `fp8_e4m3fn`; the adapter stays exact on it. A GGUF or \
core loader may take the loader's place.
"""
FAST_NOTE = """**4 steps instead of 40:** put Qwen-Image-Edit-2511-Lightning-4steps into `loras`, select *Lightning \
(off)* and press Ctrl-B, then set steps 4 and cfg 1 in KSampler. Pictures differ a little: do not mix both in one data \
set.
"""
ADAPTER_NOTE = (
    f"**Adapter:** `{ADAPTER}` in `models/loras` is what *train_adapter* writes; choose yours in *WDLoRA Apply*. Its "
    "SHA-256 in the field *sha256* makes sure that whoever you send this workflow to uses the same file.\n"
)
COLUMNS = (0, 440, 900, 1400, 1820)
"""Left edges of the columns of a synthesis: the note, two of model and mask, picture, biomarkers."""

RESEARCH_NOTE = "Research software, not a medical device."


def add_loader(flow: Flow) -> Node:
    """The full model from single files."""
    return flow.add("WDLoRALoadQwenImageEdit", width=380, room=SAID, models=MODELS, source="single files", **FILES)


def add_lightning(flow: Flow, loader: Node) -> Node:
    """The LoRA for 4 steps, switched off."""
    return flow.add(
        "LoraLoaderModelOnly",
        "Lightning (off)",
        width=380,
        bypassed=True,
        models=(LIGHTNING,),
        model=loader["model"],
        lora_name=LIGHTNING["name"],
    )


def add_sampling(flow: Flow, model: Any, suffix: str = "") -> tuple[Node, Node]:
    """Shift and CFG Norm as the official workflow has them."""
    shift = flow.add("ModelSamplingAuraFlow", f"Shift{suffix}", width=340, model=model, shift=3.1)
    norm = flow.add("CFGNorm", f"CFG Norm{suffix}", width=340, model=shift["MODEL"], strength=1.0)
    return shift, norm


def add_model(flow: Flow) -> tuple[Node, Node, Node, Node, Node]:
    """Loader, Lightning (off), adapter, shift and CFG Norm: the full model, ready to sample."""
    loader = add_loader(flow)
    fast = add_lightning(flow, loader)
    adapter = flow.add("WDLoRAApply", "WDLoRA Apply", width=340, model=fast["MODEL"], adapter=ADAPTER)
    return loader, fast, adapter, *add_sampling(flow, adapter["model"])


def add_conditioning(flow: Flow, loader: Node, masks: Node, title: str | None = None, **given: Any) -> Node:
    """Mask and cohort as they come from `masks`; clip tells the variant."""
    return flow.add(
        "CCMConditioning",
        title,
        width=340,
        clip=loader["clip"],
        vae=loader["vae"],
        mask=masks["masks"],
        linked_cohort=masks["cohort"],
        **given,
    )


def add_painting(
    flow: Flow, model: Any, words: Node, title: str | None = None, *, width: int = 330, seed: int = 1, **sampling: Any
) -> Node:
    """KSampler from what a conditioning node gives; sampling is `OFFICIAL` unless told."""
    return flow.add(
        "KSampler",
        title,
        room=PREVIEW,
        width=width,
        model=model,
        positive=words["positive"],
        negative=words["negative"],
        latent_image=words["latent"],
        seed=seed,
        **(OFFICIAL | sampling),
    )


def add_biomarkers(flow: Flow, title: str, masks: Any, images: Any = None) -> Node:
    """Biomarkers with their table; of traced pictures with `images`, on which the overlay is drawn."""
    given = {"masks": masks} if images is None else {"masks": masks, "images": images}
    return flow.add("CCMBiomarkers", title, width=400, room=190, **given)


def place_synthesis(
    flow: Flow,
    model: tuple[list[Node], list[Node]],
    rest: tuple[list[Node], ...],
    low: int,
    right: int = 0,
    columns: Sequence[int] = COLUMNS,
) -> None:
    """From left to right: model above mask and cohort, in two columns each, then picture, then biomarkers.

    `rest`: the two columns of mask and cohort, which begin at `low`, and those of picture and of biomarkers. No link
    crosses a group: what goes from the model to VAE Decode passes above `low`. `right`: how far all of it is moved.
    `columns`: their left edges.
    """
    for x, nodes in zip((columns[1], columns[2]), model, strict=True):
        flow.place(x + right, 0, *nodes)
    for x, y, nodes in zip(columns[1:], (low, low, 0, 0), rest, strict=True):
        flow.place(x + right, y, *nodes)


def add_measuring(flow: Flow, masks: Any, images: Any, room: int, **tracing: str) -> tuple[Node, Node, Node, Node]:
    """Trace the pictures, measure the masks and what was traced, and show the overlay in a preview of `room` pixels.

    `tracing` are widgets of CCM Trace.
    """
    trace = flow.add("CCMTrace", images=images, **tracing)
    own = add_biomarkers(flow, "Biomarkers Of The Mask", masks)
    found = add_biomarkers(flow, "Biomarkers Of The Picture", trace["masks"], images)
    overlay = flow.add("PreviewImage", "What Was Measured", width=400, room=room, images=found["overlay"])
    return trace, own, found, overlay
