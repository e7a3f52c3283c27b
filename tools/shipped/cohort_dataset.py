"""The workflow cohort_dataset."""

from typing import Any

from tools.flow import Flow
from tools.shipped import parts

NOTE = (
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
    f"{parts.ADAPTER_NOTE}\n{parts.FILES_NOTE}\n{parts.CARD_NOTE}\n{parts.FAST_NOTE}\n"
    "**Before using the data:** look at *Masks Against Pictures*. The columns should agree.\n\n"
    f"{parts.RESEARCH_NOTE}"
)


def cohort_dataset(info: dict[str, Any], version: str) -> Flow:
    """Masks of a cohort → images → biomarkers → a data set."""
    flow = Flow("cohort_dataset", info, version)
    loader, fast, adapter, shift, norm = parts.add_model(flow)
    masks = flow.add("CCMSampleMasks", width=380, cohort="T1DPN", count=4, size=384, seed=0)
    words = parts.add_conditioning(flow, loader, masks)
    paint = parts.add_painting(flow, norm["patched_model"], words, seed=0)
    decode = flow.add("VAEDecode", samples=paint["LATENT"], vae=loader["vae"])
    crop = flow.add("CCMCropToMask", image=decode["IMAGE"], mask=masks["masks"])
    trace = flow.add("CCMTrace", images=crop["image"])
    own = parts.add_biomarkers(flow, "Biomarkers Of The Masks", masks["masks"])
    found = parts.add_biomarkers(flow, "Biomarkers Of The Pictures", trace["masks"], crop["image"])
    compare = flow.add(
        "CCMCompareBiomarkers",
        "Masks Against Pictures",
        width=620,
        room=220,
        group_a=own["json"],
        group_b=found["json"],
        name_a="masks",
        name_b="pictures",
        paired=True,
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
    note = flow.note(NOTE, 400, 660)
    flow.place(0, 0, note)
    parts.place_synthesis(
        flow,
        ([loader, fast], [adapter, shift, norm]),
        ([masks, own], [words], [paint, decode, crop], [trace, found]),
        low=640,
    )
    beside = parts.COLUMNS[4] + found.width + 80
    below = flow.place(beside, 780, compare)
    flow.place(beside + compare.width + 80, 400, plot)
    flow.place(beside, below + 140, save)
    flow.group("1  Model and adapter", parts.BLUE, loader, fast, adapter, shift, norm)
    flow.group("2  Masks and cohort", parts.GREEN, masks, own, words)
    flow.group("3  Pictures", parts.VIOLET, paint, decode, crop)
    flow.group("4  Biomarkers", parts.AMBER, trace, found)
    flow.group("5  Masks against pictures", parts.AMBER, compare, plot)
    flow.group("6  Data set", parts.BLUE, save)
    return flow
