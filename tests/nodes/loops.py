"""Graphs whose work takes a minute or more, and when to ask them to stop: the loops of this pack's own nodes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wdlora.anatomy import sample_mask
from wdlora.dataset.folder import read_folder
from wdlora.dataset.writer import Entry, append

PIXEL, FRAMES = 1.0417, 32
LOAD = {
    "source": "miniature",
    "variant": "auto",
    "dtype": "default",
    **dict.fromkeys(("diffusion_model", "text_encoder", "vae", "folder"), "none"),
}
SETS = {"real_set": "real [input]", "synthetic_set": "painted [input]", "training_set": "none"}


@dataclass(frozen=True)
class Loop:
    """A graph and the node to be stopped while it works, at once or when it says `text`."""

    graph: dict[str, Any]
    node: str
    text: str = ""


def write_inputs(folder: Path) -> None:
    """Two data sets of 32 frames with nerves and grain."""
    generator = np.random.default_rng(0)
    mask = sample_mask("Control", 1).mask
    frames = []
    for _ in range(FRAMES):
        grain = np.clip(60 + 120 * mask + generator.normal(0, 30, mask.shape), 0, 255).astype(np.uint8)
        frames.append(np.roll(grain, int(generator.integers(384)), axis=1))
    for name in ("real", "painted"):
        shift = 1 if name == "painted" else 0
        entries = [Entry(np.roll(one, shift, 0), mask, "Control", pixel_size_um=PIXEL) for one in frames]
        append(folder / name, entries)


def whole_or_absent(output: Path) -> bool:
    """Whether the data set of "save a data set" is not there, or holds all of its 32 images."""
    folder = output / "stopped"
    return not folder.exists() or len(read_folder(folder)) == FRAMES


def loops() -> dict[str, Loop]:
    """By what they do."""

    def node(kind: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": kind, "inputs": inputs}

    frames = {"frames": node("CCMLoadDataset", dataset="real [input]", cohort="all", start=0, count=FRAMES)}
    drawn = {"masks": node("CCMSampleMasks", cohort="Control", count=64, size=768, seed=5)}
    shown = {"image": node("MaskToImage", mask=["work", 0]), "show": node("PreviewImage", images=["image", 0])}
    phantoms = {
        "masks": node("CCMSampleMasks", cohort="Control", count=24, size=384, seed=5),
        "work": node("CCMPhantom", plexus=["masks", 2], seed=1, appearance="cohort", version="phantom 2"),
        "show": node("PreviewImage", images=["work", 0]),
    }
    traced = node("CCMTrace", images=["frames", 0], pixel_size_um=PIXEL, segmenter="network", detail="annotated")
    saved = node(
        "CCMSaveDataset",
        images=["frames", 0],
        masks=["frames", 1],
        folder="stopped",
        cohort="Control",
        patient="",
        eye="unknown",
        visit="",
        pixel_size_um=PIXEL,
        synthetic=True,
        hash_models=False,
    )
    judged = {"work": node("CCMEvaluate", **SETS, pairs=False, pixel_size_um=PIXEL, report_folder="")}
    measured = node("CCMBiomarkers", masks=["frames", 1], pixel_size_um=PIXEL)
    return {
        "sample masks": Loop(
            {**drawn, "work": node("CCMBiomarkers", masks=["masks", 0], pixel_size_um=PIXEL)}, "masks"
        ),
        "phantoms": Loop(phantoms, "work"),
        "trace": Loop({**frames, "work": traced, **shown}, "work"),
        "measure": Loop({**frames, "work": measured}, "work"),
        "save a data set": Loop({**frames, "work": saved}, "work"),
        "evaluate, reading": Loop(judged, "work"),
        "evaluate, comparing": Loop(judged, "work", "comparing the sets"),
        "condition": Loop(painting(), "condition"),
        "sample": Loop(painting(), "sample"),
    }


def painting() -> dict[str, Any]:
    """Eight pictures of 384 × 384 of the miniature, in 400 steps."""
    texts = {"cohort": "Control", "variant": "auto", "text": "", "negative_text": "", "allow_empty": False}
    sides = {"positive": ["condition", 0], "negative": ["condition", 1], "latent_image": ["condition", 2]}
    steps = {"seed": 1, "steps": 400, "cfg": 2.5, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "load": ("WDLoRALoadQwenImageEdit", LOAD),
        "masks": ("CCMSampleMasks", {"cohort": "Control", "count": 8, "size": 384, "seed": 5}),
        "condition": ("CCMConditioning", {"clip": ["load", 1], "vae": ["load", 2], "mask": ["masks", 0], **texts}),
        "sample": ("KSampler", {"model": ["load", 0], **sides, **steps}),
        "decode": ("VAEDecode", {"samples": ["sample", 0], "vae": ["load", 2]}),
        "show": ("PreviewImage", {"images": ["decode", 0]}),
    }
    return {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in kinds.items()}
