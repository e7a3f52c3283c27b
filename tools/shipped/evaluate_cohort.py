"""The workflow evaluate_cohort."""

from typing import Any

from tools.flow import Flow
from tools.shipped import parts

NOTE = (
    "# Can the pictures of a cohort be trusted?\n"
    "Paints the masks of a cohort and compares every picture with the image of the same mask: fidelity beside real "
    "against real, variety, biomarkers with a test of equivalence, copies. Four answers stand under *CCM Evaluate*, "
    "the report lies in `output/ccm_evaluation`.\n\n"
    "**It runs as it is, on phantoms.** For your own patients put *CCM Load Data Set* in the place of *CCM Sample "
    "Masks* and *CCM Phantom*: its images to *real_images*, its masks and cohort to *CCM Conditioning*, its records to "
    "*real_records*, its masks to *CCM Crop To Mask*. Take patients whom the adapter was not trained on (`split.csv` "
    "of its run), and choose the data set that it was trained on as *training_set*: without it copying cannot be "
    "ruled out.\n\n"
    "**What to change:** *cohort*, *count* and *seed* in CCM Sample Masks. 8 pictures are the least, 100 give "
    "answers. For as many, paint into a data set with *cohort_dataset* and choose it as "
    "*synthetic_set*, or let `python -m training evaluate --data DATA` do it.\n\n"
    f"{parts.ADAPTER_NOTE}\n{parts.FILES_NOTE}\n{parts.CARD_NOTE}\n{parts.FAST_NOTE}\n"
    f"{parts.RESEARCH_NOTE}"
)


def evaluate_cohort(info: dict[str, Any], version: str) -> Flow:
    """Masks of a cohort → pictures, and images of the same masks → the evaluation."""
    flow = Flow("evaluate_cohort", info, version)
    loader, fast, adapter, shift, norm = parts.add_model(flow)
    masks = flow.add("CCMSampleMasks", width=380, cohort="Control", count=16, size=384, seed=0)
    images = flow.add("CCMPhantom", "Real Images (stand-in)", width=380, plexus=masks["plexus"], seed=1)
    words = parts.add_conditioning(flow, loader, masks)
    paint = parts.add_painting(flow, norm["patched_model"], words, seed=0)
    decode = flow.add("VAEDecode", samples=paint["LATENT"], vae=loader["vae"])
    crop = flow.add("CCMCropToMask", image=decode["IMAGE"], mask=masks["masks"])
    judged = flow.add(
        "CCMEvaluate",
        width=520,
        room=240,
        real_images=images["images"],
        synthetic_images=crop["image"],
        pairs=True,
        report_folder="ccm_evaluation",
    )
    plot = flow.add("PreviewImage", "Figures Of The Report", width=520, room=620, images=judged["plot"])
    note = flow.note(NOTE, 400, 680)
    flow.place(0, 0, note)
    parts.place_synthesis(
        flow,
        ([loader, fast], [adapter, shift, norm]),
        ([masks, images], [words], [paint, decode, crop], []),
        low=640,
    )
    flow.place(parts.COLUMNS[4], 840, judged)
    flow.place(parts.COLUMNS[4] + judged.width + 80, 840, plot)
    flow.group("1  Model and adapter", parts.BLUE, loader, fast, adapter, shift, norm)
    flow.group("2  Masks, cohort and real images", parts.GREEN, masks, images, words)
    flow.group("3  Pictures", parts.VIOLET, paint, decode, crop)
    flow.group("4  Evaluation", parts.AMBER, judged, plot)
    return flow
