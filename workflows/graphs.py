"""The shipped workflows, each said once."""

from collections.abc import Callable
from typing import Any

from workflows.flow import Flow, Node

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

_FILES_NOTE = """**Files**, in ComfyUI's `models` folder

| folder | file |
|---|---|
| diffusion_models | qwen_image_edit_2511_bf16.safetensors |
| text_encoders | qwen_2.5_vl_7b_fp8_scaled.safetensors |
| vae | qwen_image_vae.safetensors |
"""
_CARD_NOTE = """**Card of 24 GB:** set *dtype* of the loader to `fp8_e4m3fn`; the adapter stays exact on it. A GGUF or \
core loader may take the loader's place.
"""
_FAST_NOTE = """**4 steps instead of 40:** put Qwen-Image-Edit-2511-Lightning-4steps into `loras`, select *Lightning \
(off)* and press Ctrl-B, then set steps 4 and cfg 1 in KSampler. Pictures differ a little: do not mix both in one data \
set.
"""
_RESEARCH_NOTE = "Research software, not a medical device."


def _adapter_note(name: str = ADAPTER) -> str:
    return (
        f"**Adapter:** `{name}` in `models/loras` is what *train_adapter* writes; choose yours in *WDLoRA Apply*. Its "
        "SHA-256 in the field *sha256* makes sure that whoever you send this workflow to uses the same file.\n"
    )


def _loader(flow: Flow) -> Node:
    return flow.add("WDLoRALoadQwenImageEdit", width=380, room=SAID, models=MODELS, source="single files", **FILES)


def _lightning(flow: Flow, loader: Node) -> Node:
    return flow.add(
        "LoraLoaderModelOnly",
        "Lightning (off)",
        width=380,
        bypassed=True,
        models=(LIGHTNING,),
        model=loader["model"],
        lora_name=LIGHTNING["name"],
    )


def _sampling(flow: Flow, model: Any, suffix: str = "") -> tuple[Node, Node]:
    shift = flow.add("ModelSamplingAuraFlow", f"Shift{suffix}", width=380, model=model, shift=3.1)
    norm = flow.add("CFGNorm", f"CFG Norm{suffix}", width=380, model=shift["MODEL"], strength=1.0)
    return shift, norm


def ccm_synthesis(info: dict[str, Any], version: str) -> Flow:
    """Mask and cohort → image → traced nerves → biomarkers, beside the mask's own."""
    flow = Flow("ccm_synthesis", info, version)
    loader = _loader(flow)
    fast = _lightning(flow, loader)
    adapter = flow.add("WDLoRAApply", width=380, model=fast["MODEL"], adapter=ADAPTER)
    shift, norm = _sampling(flow, adapter["model"])
    masks = flow.add("CCMSampleMasks", cohort="Control", count=1, size=384, seed=1)
    words = flow.add(
        "CCMConditioning",
        width=360,
        clip=loader["clip"],
        vae=loader["vae"],
        mask=masks["masks"],
        linked_cohort=masks["cohort"],
        linked_variant=loader["variant"],
    )
    grey = flow.add("MaskToImage", "Mask As Image", mask=masks["masks"])
    shown = flow.add("PreviewImage", "The Mask", room=300, images=grey["IMAGE"])
    paint = flow.add(
        "KSampler",
        room=PREVIEW,
        width=330,
        model=norm["patched_model"],
        positive=words["positive"],
        negative=words["negative"],
        latent_image=words["latent"],
        seed=1,
        **OFFICIAL,
    )
    decode = flow.add("VAEDecode", samples=paint["LATENT"], vae=loader["vae"])
    crop = flow.add("CCMCropToMask", image=decode["IMAGE"], mask=masks["masks"])
    save = flow.add(
        "SaveImage", "Save The Picture", width=460, room=430, images=crop["image"], filename_prefix="ccm/picture"
    )
    trace = flow.add("CCMTrace", images=crop["image"])
    own = flow.add("CCMBiomarkers", "Biomarkers Of The Mask", width=400, room=190, masks=masks["masks"])
    found = flow.add(
        "CCMBiomarkers", "Biomarkers Of The Picture", width=400, room=190, masks=trace["masks"], images=crop["image"]
    )
    overlay = flow.add("PreviewImage", "What Was Measured", width=400, room=340, images=found["overlay"])
    note = flow.note(
        "# From a nerve mask to a measured picture\n"
        "Draws a mask for a clinical cohort, paints a confocal image of it, traces the image's nerves and measures "
        "both.\n\n"
        "**What to change:** *cohort*, *seed* and *size* in CCM Sample Masks; *seed* in KSampler for another picture "
        "of the same nerves. For a mask of your own, put *Load Image (as Mask)* in the place of CCM Sample Masks and "
        "choose the cohort in CCM Conditioning.\n\n"
        f"{_adapter_note()}\n{_FILES_NOTE}\n{_CARD_NOTE}\n{_FAST_NOTE}\n"
        "**How to read the tables:** picture and mask should agree. Where they do not, nerves were lost or "
        "invented.\n\n"
        f"{_RESEARCH_NOTE}",
        400,
        560,
    )
    flow.place(0, 0, note)
    flow.rows(
        480,
        0,
        [[loader, fast], [adapter, shift, norm], [masks, grey], [words], [shown]],
        [[paint, decode, crop], [save], [trace, own, found], [overlay]],
    )
    flow.group("1  Model and adapter", BLUE, loader, fast, adapter, norm)
    flow.group("2  Mask and cohort", GREEN, masks, grey, words, shown)
    flow.group("3  Picture", VIOLET, paint, crop, save)
    flow.group("4  Biomarkers", AMBER, trace, found, overlay)
    return flow


def quickstart_cpu(info: dict[str, Any], version: str) -> Flow:
    """The synthesis on the miniature: any machine, no download."""
    flow = Flow("quickstart_cpu", info, version)
    loader = flow.add("WDLoRALoadQwenImageEdit", width=360, room=SAID, source="miniature")
    adapter = flow.add("WDLoRAApply", width=360, model=loader["model"])
    shift = flow.add("ModelSamplingAuraFlow", "Shift", width=360, model=adapter["model"], shift=3.0)
    masks = flow.add("CCMSampleMasks", cohort="Control", count=1, size=192, seed=1)
    words = flow.add(
        "CCMConditioning",
        width=360,
        clip=loader["clip"],
        vae=loader["vae"],
        mask=masks["masks"],
        variant="edit",
        linked_cohort=masks["cohort"],
        linked_variant=loader["variant"],
    )
    paint = flow.add(
        "KSampler",
        room=PREVIEW,
        model=shift["MODEL"],
        positive=words["positive"],
        negative=words["negative"],
        latent_image=words["latent"],
        seed=1,
        steps=12,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        denoise=1.0,
    )
    decode = flow.add("VAEDecode", samples=paint["LATENT"], vae=loader["vae"])
    save = flow.add(
        "SaveImage", "Save The Picture", width=400, room=380, images=decode["IMAGE"], filename_prefix="ccm/quickstart"
    )
    trace = flow.add("CCMTrace", images=decode["IMAGE"])
    own = flow.add("CCMBiomarkers", "Biomarkers Of The Mask", width=400, room=190, masks=masks["masks"])
    found = flow.add(
        "CCMBiomarkers", "Biomarkers Of The Picture", width=400, room=190, masks=trace["masks"], images=decode["IMAGE"]
    )
    overlay = flow.add("PreviewImage", "What Was Measured", width=400, room=380, images=found["overlay"])
    note = flow.note(
        "# Quick start on any machine\n"
        "The whole way from a nerve mask to a measured picture, on the **miniature**: a small Qwen-Image-Edit that "
        "comes with this pack. It needs no GPU and no download, and paints in seconds. Press **Run**.\n\n"
        "**What to change:** *cohort* and *seed* in CCM Sample Masks, *seed* in KSampler.\n\n"
        "The miniature learned to draw bright lines, never corneas: its pictures show how the nodes work together, not "
        "what the full model paints. An adapter that was fine-tuned on it (`python -m training finetune --preset "
        "miniature`) can be chosen in WDLoRA Apply.\n\n"
        "**Next:** *ccm_synthesis*, the same graph for the full model on a GPU.\n\n"
        f"{_RESEARCH_NOTE}",
        400,
        360,
    )
    flow.place(0, 0, note)
    flow.rows(
        480,
        0,
        [[loader], [adapter, shift], [masks], [words]],
        [[paint, decode], [save], [trace, own, found], [overlay]],
    )
    flow.group("1  Model", BLUE, loader, adapter, shift)
    flow.group("2  Mask and cohort", GREEN, masks, words)
    flow.group("3  Picture", VIOLET, paint, decode, save)
    flow.group("4  Biomarkers", AMBER, trace, found, overlay)
    return flow


def cohort_dataset(info: dict[str, Any], version: str) -> Flow:
    """Masks of a cohort → images → biomarkers → a data set."""
    flow = Flow("cohort_dataset", info, version)
    loader = _loader(flow)
    fast = _lightning(flow, loader)
    adapter = flow.add("WDLoRAApply", width=380, model=fast["MODEL"], adapter=ADAPTER)
    shift, norm = _sampling(flow, adapter["model"])
    masks = flow.add("CCMSampleMasks", cohort="T1DPN", count=4, size=384, seed=0)
    words = flow.add(
        "CCMConditioning",
        width=360,
        clip=loader["clip"],
        vae=loader["vae"],
        mask=masks["masks"],
        linked_cohort=masks["cohort"],
        linked_variant=loader["variant"],
    )
    paint = flow.add(
        "KSampler",
        room=PREVIEW,
        model=norm["patched_model"],
        positive=words["positive"],
        negative=words["negative"],
        latent_image=words["latent"],
        seed=0,
        **OFFICIAL,
    )
    decode = flow.add("VAEDecode", samples=paint["LATENT"], vae=loader["vae"])
    crop = flow.add("CCMCropToMask", image=decode["IMAGE"], mask=masks["masks"])
    trace = flow.add("CCMTrace", images=crop["image"])
    own = flow.add("CCMBiomarkers", "Biomarkers Of The Masks", width=400, room=190, masks=masks["masks"])
    found = flow.add(
        "CCMBiomarkers", "Biomarkers Of The Pictures", width=400, room=190, masks=trace["masks"], images=crop["image"]
    )
    compare = flow.add(
        "CCMCompareBiomarkers",
        "Masks Against Pictures",
        width=620,
        room=220,
        group_a=own["json"],
        group_b=found["json"],
        name_a="masks",
        name_b="pictures",
    )
    plot = flow.add("PreviewImage", "Every Image A Dot", width=620, room=360, images=compare["plot"])
    save = flow.add(
        "CCMSaveDataset",
        width=460,
        room=360,
        images=crop["image"],
        masks=masks["masks"],
        biomarkers=own["json"],
        linked_cohort=masks["cohort"],
        folder="ccm_dataset",
        cohort="T1DPN",
        synthetic=True,
    )
    note = flow.note(
        "# A labelled data set for one cohort\n"
        "Draws masks whose biomarkers follow a cohort's published distribution, paints an image of each, and adds "
        "images, masks, cohort, biomarkers and provenance (graph and file hashes) to a data set in the output "
        "folder.\n\n"
        "**What to change:** *cohort*, *count* and *seed* in CCM Sample Masks, *seed* in KSampler, *folder* in CCM "
        "Save Data Set. Mask i has the seed: seed + i, so the next run starts at seed + count. Running again adds; "
        "what is there already is not written twice.\n\n"
        "**Thousands of images:** `python -m wdlora batch workflows/api/cohort_dataset.json --cohort all "
        "--seeds 0:1000 --set 'CCM Sample Masks.count=1' --out batch` runs this graph here or, with `--server URL`, on "
        "ComfyUI servers, and continues after a crash.\n\n"
        f"{_adapter_note()}\n{_FILES_NOTE}\n{_CARD_NOTE}\n{_FAST_NOTE}\n"
        "**Before using the data:** look at *Masks Against Pictures*. The columns should agree.\n\n"
        f"{_RESEARCH_NOTE}",
        400,
        660,
    )
    flow.place(0, 0, note)
    flow.rows(
        480,
        0,
        [[loader, fast], [adapter, shift, norm], [masks], [words], [paint, decode, crop]],
        [[trace, own, found], [compare, plot], [save]],
    )
    flow.group("1  Model and adapter", BLUE, loader, fast, adapter, norm)
    flow.group("2  Masks and cohort", GREEN, masks, words)
    flow.group("3  Pictures", VIOLET, paint, crop)
    flow.group("4  Biomarkers", AMBER, trace, found, compare, plot)
    flow.group("5  Data set", BLUE, save)
    return flow


def lora_vs_wdlora(info: dict[str, Any], version: str) -> Flow:
    """A plain LoRA and a WDLoRA on the same mask, prompt and noise."""
    flow = Flow("lora_vs_wdlora", info, version)
    loader = _loader(flow)
    fast = _lightning(flow, loader)
    plain = flow.add("WDLoRAApply", "Plain LoRA", width=380, model=fast["MODEL"], adapter="ccm_lora.safetensors")
    decomposed = flow.add("WDLoRAApply", "WDLoRA", width=380, model=fast["MODEL"], adapter=ADAPTER)
    masks = flow.add("CCMSampleMasks", cohort="T1NoDPN", count=1, size=384, seed=3)
    words = flow.add(
        "CCMConditioning",
        width=360,
        clip=loader["clip"],
        vae=loader["vae"],
        mask=masks["masks"],
        linked_cohort=masks["cohort"],
        linked_variant=loader["variant"],
    )
    grey = flow.add("MaskToImage", "Mask As Image", width=330, mask=masks["masks"])
    own = flow.add("CCMBiomarkers", "Biomarkers Of The Mask", width=400, room=190, masks=masks["masks"])
    columns = []
    for name, adapter in (("LoRA", plain), ("WDLoRA", decomposed)):
        shift, norm = _sampling(flow, adapter["model"], f" {name}")
        paint = flow.add(
            "KSampler",
            f"Paint With {name}",
            room=PREVIEW,
            width=380,
            model=norm["patched_model"],
            positive=words["positive"],
            negative=words["negative"],
            latent_image=words["latent"],
            seed=1,
            **OFFICIAL,
        )
        decode = flow.add("VAEDecode", f"Decode {name}", width=330, samples=paint["LATENT"], vae=loader["vae"])
        crop = flow.add("CCMCropToMask", f"Crop {name}", width=330, image=decode["IMAGE"], mask=masks["masks"])
        trace = flow.add("CCMTrace", f"Trace {name}", width=330, images=crop["image"])
        found = flow.add(
            "CCMBiomarkers", f"Biomarkers Of {name}", width=400, room=190, masks=trace["masks"], images=crop["image"]
        )
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
    note = flow.note(
        "# LoRA against WDLoRA, side by side\n"
        "The same mask, prompt and noise, painted with a plain low-rank adapter and with a weight-decomposed one. From "
        "left to right: mask, LoRA, WDLoRA.\n\n"
        "**What to change:** the two adapters, which should be trained alike but for the method (`python -m training "
        "finetune --preset lora_r16` and `--preset paper_r16`); *cohort* and *seed* in CCM Sample Masks; the *same* "
        "seed in both KSamplers.\n\n"
        "**Direction and magnitude:** *direction_strength* and *magnitude_strength* in WDLoRA switch the two parts of "
        "the adapter on and off, each for itself. 0 and 0 is the model without it, bit for bit.\n\n"
        "**Adapters:** `ccm_lora.safetensors` and `ccm.safetensors` in `models/loras`.\n\n"
        f"{_FILES_NOTE}\n{_CARD_NOTE}\n{_FAST_NOTE}\n"
        "One picture proves nothing: judge over many masks and several training seeds (`python -m training "
        "compare`).\n\n"
        f"{_RESEARCH_NOTE}",
        400,
        660,
    )
    flow.place(0, 0, note)
    flow.rows(
        480,
        0,
        [[loader, fast], [plain, decomposed], [masks, grey], [words], [own]],
        [[*left[:2]], [left[2]], [*left[3:6]], [left[6]]],
        [[*right[:2]], [right[2]], [*right[3:6]], [right[6]]],
    )
    side = left[0].pos[1] - 30
    flow.place(2340, side, first)
    flow.place(2750, side, both)
    flow.place(2340, side + first.height + 100, save)
    flow.group("1  Model and adapters", BLUE, loader, fast, plain, decomposed)
    flow.group("2  Mask and cohort", GREEN, masks, grey, words, own)
    flow.group("3a  Plain LoRA", VIOLET, *left)
    flow.group("3b  WDLoRA", VIOLET, *right)
    flow.group("4  Side by side", AMBER, first, both, save)
    return flow


def disease_progression(info: dict[str, Any], version: str) -> Flow:
    """One plexus at three severities, as a strip."""
    flow = Flow("disease_progression", info, version)
    loader = _loader(flow)
    fast = _lightning(flow, loader)
    adapter = flow.add("WDLoRAApply", width=380, model=fast["MODEL"], adapter=ADAPTER)
    shift, norm = _sampling(flow, adapter["model"])
    masks = flow.add("CCMSampleMasks", "The Plexus", width=380, cohort="Control", count=1, size=384, seed=5)
    rows = []
    for severity in (0, 1, 2):
        name = f"Severity {severity}"
        declined = flow.add("CCMDegenerate", name, plexus=masks["plexus"], severity=float(severity))
        words = flow.add(
            "CCMConditioning",
            f"Conditioning {severity}",
            width=360,
            clip=loader["clip"],
            vae=loader["vae"],
            mask=declined["masks"],
            linked_cohort=declined["cohort"],
            linked_variant=loader["variant"],
        )
        paint = flow.add(
            "KSampler",
            f"Paint {severity}",
            room=PREVIEW,
            model=norm["patched_model"],
            positive=words["positive"],
            negative=words["negative"],
            latent_image=words["latent"],
            seed=1,
            **OFFICIAL,
        )
        decode = flow.add("VAEDecode", f"Decode {severity}", samples=paint["LATENT"], vae=loader["vae"])
        crop = flow.add("CCMCropToMask", f"Crop {severity}", image=decode["IMAGE"], mask=declined["masks"])
        trace = flow.add("CCMTrace", f"Trace {severity}", images=crop["image"])
        found = flow.add(
            "CCMBiomarkers",
            f"Biomarkers At {severity}",
            width=400,
            room=190,
            masks=trace["masks"],
            images=crop["image"],
        )
        grey = flow.add("MaskToImage", f"Mask {severity}", mask=declined["masks"])
        rows.append((declined, grey, words, paint, decode, crop, trace, found))
    strips = []
    for what, index, output in (("Masks", 1, "IMAGE"), ("Pictures", 5, "image")):
        first = flow.add(
            "ImageStitch",
            f"{what} 0 And 1",
            image1=rows[0][index][output],
            image2=rows[1][index][output],
            spacing_width=8,
        )
        whole = flow.add(
            "ImageStitch", f"{what} 0, 1 And 2", image1=first["IMAGE"], image2=rows[2][index][output], spacing_width=8
        )
        strips.append((first, whole))
    strip = flow.add(
        "ImageStitch",
        "Masks Above Pictures",
        image1=strips[0][1]["IMAGE"],
        image2=strips[1][1]["IMAGE"],
        direction="down",
        spacing_width=8,
    )
    save = flow.add(
        "SaveImage", "The Strip", width=1070, room=740, images=strip["IMAGE"], filename_prefix="ccm/progression"
    )
    note = flow.note(
        "# One plexus, three severities\n"
        "The same nerves as they would look healthy (0), with type 1 diabetes (1) and with neuropathy (2): branches "
        "let go, fibres die back, trunks break. Each mask is painted with the prompt of its nearest cohort and the "
        "same noise.\n\n"
        "**What to change:** *seed* of The Plexus; *severity* of the three CCM Degenerate nodes, from 0 to 2 in any "
        "steps; the *same* seed in all KSamplers.\n\n"
        "**What it is not:** the published data are cross-sectional. This is a model of the differences between "
        "groups, not of anybody's future.\n\n"
        f"{_adapter_note()}\n{_FILES_NOTE}\n{_CARD_NOTE}\n{_FAST_NOTE}\n{_RESEARCH_NOTE}",
        400,
        600,
    )
    flow.place(0, 0, note)
    flow.rows(
        480,
        0,
        [[loader, fast], [adapter, shift, norm], [masks]],
        *(
            [[declined, grey], [words], [paint], [decode, crop, trace], [found]]
            for declined, grey, words, paint, decode, crop, trace, found in rows
        ),
    )
    side = rows[0][0].pos[1] - 30
    for column, nodes in enumerate((*strips, [strip])):
        flow.place(2660 + 370 * column, side, *nodes)
    flow.place(2660, side + 2 * (strip.height + 80) + 20, save)
    flow.group("1  Model, adapter and plexus", BLUE, loader, fast, adapter, norm, masks)
    for number, row in enumerate(rows):
        flow.group(f"2{'abc'[number]}  Severity {number}", (GREEN, VIOLET, AMBER)[number], *row)
    flow.group("3  Strip", BLUE, *strips[0], *strips[1], strip, save)
    return flow


def train_adapter(info: dict[str, Any], version: str) -> Flow:
    """Fine-tune an adapter, then paint with it."""
    flow = Flow("train_adapter", info, version)
    train = flow.add(
        "WDLoRATrain",
        width=480,
        room=400,
        models=MODELS,
        name="ccm",
        preset="consumer_24gb",
        source="single files",
        data="phantoms",
        phantoms_per_cohort=64,
        **FILES,
    )
    curve = flow.add("PreviewImage", "Loss", width=480, room=330, images=train["curve"])
    report = flow.add("PreviewAny", "Report", width=480, room=240, source=train["report"])
    loader = _loader(flow)
    adapter = flow.add("WDLoRAApply", width=380, model=loader["model"], linked_adapter=train["adapter"])
    shift, norm = _sampling(flow, adapter["model"])
    masks = flow.add("CCMSampleMasks", cohort="Control", count=1, size=384, seed=100000)
    words = flow.add(
        "CCMConditioning",
        width=360,
        clip=loader["clip"],
        vae=loader["vae"],
        mask=masks["masks"],
        linked_cohort=masks["cohort"],
        linked_variant=loader["variant"],
    )
    paint = flow.add(
        "KSampler",
        room=PREVIEW,
        width=360,
        model=norm["patched_model"],
        positive=words["positive"],
        negative=words["negative"],
        latent_image=words["latent"],
        seed=1,
        **OFFICIAL,
    )
    decode = flow.add("VAEDecode", samples=paint["LATENT"], vae=loader["vae"])
    crop = flow.add("CCMCropToMask", image=decode["IMAGE"], mask=masks["masks"])
    save = flow.add(
        "SaveImage", "First Picture", width=460, room=430, images=crop["image"], filename_prefix="ccm/after_training"
    )
    note = flow.note(
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
        f"{_FILES_NOTE}\n"
        "The adapter's name comes from WDLoRA Train by its link. Use it in *ccm_synthesis* by choosing it in WDLoRA "
        "Apply.\n\n"
        f"{_RESEARCH_NOTE}",
        400,
        600,
    )
    flow.place(0, 0, note)
    flow.rows(
        480,
        0,
        [[train], [curve, report]],
        [[loader], [adapter, shift, norm], [masks], [words], [paint, decode, crop], [save]],
    )
    flow.group("1  Train", AMBER, train, curve, report)
    flow.group("2  Model with the new adapter", BLUE, loader, adapter, norm)
    flow.group("3  A mask it has not seen", GREEN, masks, words)
    flow.group("4  Picture", VIOLET, paint, crop, save)
    return flow


FLOWS: tuple[Callable[[dict[str, Any], str], Flow], ...] = (
    quickstart_cpu,
    ccm_synthesis,
    cohort_dataset,
    lora_vs_wdlora,
    disease_progression,
    train_adapter,
)
"""Every shipped workflow."""
