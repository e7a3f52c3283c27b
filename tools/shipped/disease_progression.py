"""The workflow disease_progression."""

from typing import Any

from tools.flow import Flow, Node, Socket
from tools.shipped import parts

NOTE = (
    "# One plexus, three severities\n"
    "The same nerves as they would look healthy (0), with type 1 diabetes (1) and with neuropathy (2): branches "
    "let go, fibres die back, trunks break. Each mask is painted with the prompt of its nearest cohort and the "
    "same noise.\n\n"
    "**What to change:** *seed* of The Plexus; *severity* of the three CCM Degenerate nodes, from 0 to 2 in any "
    "steps; the *same* seed in all KSamplers.\n\n"
    "**What it is not:** the published data are cross-sectional. This is a model of the differences between "
    "groups, not of anybody's future.\n\n"
    f"{parts.ADAPTER_NOTE}\n{parts.FILES_NOTE}\n{parts.CARD_NOTE}\n{parts.FAST_NOTE}\n{parts.RESEARCH_NOTE}"
)


def disease_progression(info: dict[str, Any], version: str) -> Flow:
    """One plexus at three severities, as a strip."""
    flow = Flow("disease_progression", info, version)
    loader, fast, adapter, shift, norm = parts.add_model(flow)
    masks = flow.add("CCMSampleMasks", "The Plexus", width=340, cohort="Control", count=1, size=384, seed=5)
    rows = []
    for severity in (0, 1, 2):
        name = f"Severity {severity}"
        declined = flow.add("CCMDegenerate", name, plexus=masks["plexus"], severity=float(severity))
        words = parts.add_conditioning(flow, loader, declined, f"Conditioning {severity}")
        paint = parts.add_painting(flow, norm["patched_model"], words, f"Paint {severity}")
        decode = flow.add("VAEDecode", f"Decode {severity}", samples=paint["LATENT"], vae=loader["vae"])
        crop = flow.add("CCMCropToMask", f"Crop {severity}", image=decode["IMAGE"], mask=declined["masks"])
        trace = flow.add("CCMTrace", f"Trace {severity}", images=crop["image"])
        found = parts.add_biomarkers(flow, f"Biomarkers At {severity}", trace["masks"], crop["image"])
        grey = flow.add("MaskToImage", f"Mask {severity}", mask=declined["masks"])
        rows.append((declined, grey, words, paint, decode, crop, trace, found))
    strips = [
        _strip(flow, "Masks", [row[1]["IMAGE"] for row in rows]),
        _strip(flow, "Pictures", [row[5]["image"] for row in rows]),
    ]
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
    note = flow.note(NOTE, 400, 600)
    flow.place(0, 0, note)
    parts.place_synthesis(flow, ([loader, fast], [adapter, shift, norm]), ([], [masks], [], []), low=640)
    flow.rows(
        parts.COLUMNS[3],
        0,
        *(
            [[declined, grey], [words], [paint], [decode, crop, trace], [found]]
            for declined, grey, words, paint, decode, crop, trace, found in rows
        ),
    )
    beside = rows[0][-1].pos[0] + rows[0][-1].width + 140
    flow.place(beside, 0, *strips[0], *strips[1])
    flow.place(beside + strip.width + 80, 0, strip, save)
    flow.group("1  Model and adapter", parts.BLUE, loader, fast, adapter, shift, norm)
    flow.group("2  Plexus", parts.GREEN, masks)
    flow.group("3  Severity 0, 1 and 2, from above", parts.VIOLET, *(node for row in rows for node in row))
    flow.group("4  Strip", parts.AMBER, *strips[0], *strips[1], strip, save)
    return flow


def _strip(flow: Flow, what: str, images: list[Socket]) -> tuple[Node, Node]:
    """Three images side by side: the first two, then all."""
    first = flow.add("ImageStitch", f"{what} 0 And 1", image1=images[0], image2=images[1], spacing_width=8)
    title = f"{what} 0, 1 And 2"
    return first, flow.add("ImageStitch", title, image1=first["IMAGE"], image2=images[2], spacing_width=8)
