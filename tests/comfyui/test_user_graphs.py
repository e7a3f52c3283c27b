"""Graphs as users build them, in both hosts: one picture within a grey level, or one sentence that refuses it.

What only the embedded host refuses, it refuses by the name of what it does not offer.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from .test_parity import comfy as comfy_before
from .test_parity import graph, in_embedded_outputs, pictures
from .test_parity import host as host_before

pytestmark = pytest.mark.slow
GIVEN = comfy_before, host_before
"""Both hosts with the files of the parity of whole workflows."""

Graph = dict[str, Any]
BIG = {"width": 128, "height": 64}
"""Latents of another size than the masks', which are 96 × 64."""


def link(node: str, output: int = 0) -> list[Any]:
    return [node, output]


def put(nodes: Graph, name: str, kind: str, **inputs: Any) -> list[Any]:
    """Add a node; gives the link to its first output."""
    nodes[name] = {"class_type": kind, "inputs": inputs}
    return link(name)


def changed(nodes: Graph, **changes: dict[str, Any]) -> Graph:
    """A graph with other inputs of its nodes."""
    for name, inputs in changes.items():
        nodes[name]["inputs"] |= inputs
    return nodes


def latents(count: int, width: int = 96, height: int = 64, **case: Any) -> Graph:
    """Empty latents of a node of their own in the place of CCM Conditioning's."""
    nodes = graph(**case)
    empty = put(nodes, "empty", "EmptySD3LatentImage", width=width, height=height, batch_size=count)
    return changed(nodes, sample={"latent_image": empty})


def three_masks() -> Graph:
    """Two batches joined, of a file and of an animation."""
    nodes = graph(mask="masks", adapter=(1.0, 1.0))
    one = put(nodes, "one", "LoadImage", image="mask.png")
    both = put(nodes, "join", "ImageBatch", image1=one, image2=link("frames"))
    return changed(nodes, mask={"image": both})


def references(count: int, masks: str = "masks", variant: str = "2511") -> Graph:
    """`count` references of one file for a batch of masks."""
    nodes = graph(mask=masks, variant=variant, reference=True)
    shown = link("reference")
    for number in range(count - 1):
        shown = put(nodes, f"join {number}", "ImageBatch", image1=shown, image2=link("reference"))
    return changed(nodes, condition={"reference": shown})


def stretched_reference() -> Graph:
    nodes = graph(variant="2509", reference=True)
    sized = {"upscale_method": "area", "width": 64, "height": 64, "crop": "disabled"}
    return changed(
        nodes, condition={"reference": put(nodes, "stretch", "ImageScale", image=link("reference"), **sized)}
    )


def repeated(times: int, masks: str = "mask", **case: Any) -> Graph:
    nodes = graph(mask=masks, **case)
    many = put(nodes, "repeat", "RepeatLatentBatch", samples=link("condition", 2), amount=times)
    return changed(nodes, sample={"latent_image": many})


def from_picture(denoise: float, times: int = 1, batch: bool = False) -> Graph:
    """Image to image: the latents of a picture; `batch`: of two pictures at once."""
    nodes = graph(adapter=(1.0, 1.0))
    start = put(nodes, "picture", "LoadImage", image="reference.png")
    if batch:
        start = put(nodes, "pictures", "ImageBatch", image1=start, image2=start)
    start = put(nodes, "start", "VAEEncode", pixels=start, vae=link("load", 2))
    if times > 1:
        start = put(nodes, "repeat", "RepeatLatentBatch", samples=start, amount=times)
    return changed(nodes, sample={"latent_image": start, "denoise": denoise})


def inpainted() -> Graph:
    nodes = from_picture(0.7)
    held = put(nodes, "hold", "SetLatentNoiseMask", samples=link("start"), mask=link("mask"))
    return changed(nodes, sample={"latent_image": held})


def two_branches() -> Graph:
    """One mask under two prompts, both pictures in one file row."""
    nodes = graph()
    nodes["other"] = json.loads(json.dumps(nodes["condition"]))
    nodes["other"]["inputs"]["cohort"] = "Control"
    nodes["again"] = json.loads(json.dumps(nodes["sample"]))
    sides = {"positive": link("other"), "negative": link("other", 1), "latent_image": link("other", 2), "seed": 12}
    changed(nodes, again=sides)
    second = put(nodes, "decode again", "VAEDecode", samples=link("again"), vae=link("load", 2))
    both = put(nodes, "both", "ImageBatch", image1=link("decode"), image2=second)
    return changed(nodes, save={"images": both})


def two_adapters() -> Graph:
    nodes = graph(adapter=(1.0, 0.5))
    strengths = {"direction_strength": -0.5, "magnitude_strength": 1.0}
    second = put(nodes, "second", "WDLoRAApply", model=link("apply"), adapter="other.safetensors", **strengths)
    return changed(nodes, shift={"model": second})


def linked_adapter() -> Graph:
    """Its name from one primitive and its strength from another."""
    nodes = graph(adapter=(1.0, 1.0))
    name = put(nodes, "name", "PrimitiveString", value="wdlora.safetensors")
    half = put(nodes, "half", "PrimitiveFloat", value=0.5)
    return changed(nodes, apply={"adapter": "none", "linked_adapter": name, "direction_strength": half})


def core_lora(name: str) -> Graph:
    return changed(graph(core="before"), lora={"lora_name": name})


def masks_from(kind: str, **inputs: Any) -> Graph:
    """The mask of another node that takes the file's."""
    nodes = graph()
    return changed(nodes, condition={"mask": put(nodes, "made", kind, mask=link("mask"), **inputs)})


def file_mask(name: str, channel: str = "red", crop: bool = False, **condition: Any) -> Graph:
    nodes = changed(graph(), mask={"image": name, "channel": channel}, condition=condition)
    if crop:
        cut = put(nodes, "cut", "CCMCropToMask", image=link("decode"), mask=link("mask"))
        changed(nodes, save={"images": cut})
    return nodes


def solid(value: float) -> Graph:
    nodes = graph()
    plain = put(nodes, "solid", "SolidMask", value=value, width=96, height=64)
    return changed(nodes, condition={"mask": plain})


def drawn(variant: str = "edit") -> Graph:
    """Masks of a cohort at a later stage, with the prompt that fits; 2509 sees a phantom of them as its reference."""
    nodes = graph(variant=variant)
    put(nodes, "masks", "CCMSampleMasks", cohort="Control", count=2, size=128, seed=21)
    late = put(nodes, "late", "CCMDegenerate", plexus=link("masks", 2), severity=0.6)
    changed(nodes, condition={"mask": late, "linked_cohort": link("late", 1)})
    if variant != "edit":
        given = {"seed": 4, "appearance": "common", "version": "phantom 2"}
        phantom = put(nodes, "phantom", "CCMPhantom", plexus=link("late", 2), **given)
        changed(nodes, condition={"reference": phantom})
    return nodes


def measured() -> Graph:
    """What was painted is traced, measured and drawn over."""
    nodes = graph()
    put(nodes, "trace", "CCMTrace", images=link("decode"), pixel_size_um=1.0417, segmenter="lines", detail="annotated")
    found = {"masks": link("trace"), "valid": link("trace", 1), "pixel_size_um": 1.0417, "images": link("decode")}
    put(nodes, "measure", "CCMBiomarkers", **found)
    return changed(nodes, save={"images": link("measure", 2)})


def combined() -> Graph:
    nodes = graph()
    sum_ = put(nodes, "sum", "ConditioningCombine", conditioning_1=link("condition"), conditioning_2=link("condition"))
    return changed(nodes, sample={"positive": sum_})


def listed() -> Graph:
    """Two masks one after the other, as nodes that give lists do it."""
    nodes = graph(mask="masks")
    each = put(nodes, "each", "RebatchImages", images=link("frames"), batch_size=1)
    return changed(nodes, mask={"image": each})


def noise_of_two_stages() -> Graph:
    nodes = repeated(2, adapter=(1.0, 1.0))
    inputs = {key: value for key, value in nodes["sample"]["inputs"].items() if key not in ("seed", "denoise")}
    first = {"noise_seed": 11, "add_noise": "enable", "start_at_step": 0, "end_at_step": 2}
    later = {"noise_seed": 0, "add_noise": "disable", "start_at_step": 2, "end_at_step": 10000}
    begun = put(nodes, "first", "KSamplerAdvanced", **inputs, **first, return_with_leftover_noise="enable")
    put(nodes, "sample", "KSamplerAdvanced", **inputs, **later, return_with_leftover_noise="disable")
    return changed(nodes, sample={"latent_image": begun})


BOTH_PAINT: dict[str, Callable[[], Graph]] = {
    "three masks, joined": three_masks,
    "two masks, one reference, 2511": lambda: references(1),
    "two masks, two references, 2509": lambda: references(2, variant="2509"),
    "two masks three times, one reference": lambda: repeated(3, "masks", variant="2511", reference=True),
    "two latents under one mask": lambda: latents(2),
    "four latents under two masks": lambda: latents(4, mask="masks"),
    "image to image": lambda: from_picture(0.6),
    "image to image, three of one": lambda: from_picture(0.6, times=3),
    "image to image, denoise 0": lambda: from_picture(0.0),
    "two stages, two of a mask": noise_of_two_stages,
    "two prompts in one graph": two_branches,
    "two adapters, one backwards": two_adapters,
    "name and strength of an adapter linked": linked_adapter,
    "heun": lambda: changed(graph(), sample={"sampler_name": "heun"}),
    "cfg 1": lambda: changed(graph(adapter=(1.0, 1.0)), sample={"cfg": 1.0}),
    "negative text, cfg 4": lambda: changed(graph(), condition={"negative_text": "cells"}, sample={"cfg": 4.0}),
    "Unicode in text and file name": lambda: changed(
        graph(), condition={"text": "тонкие нервы, 角膜神経 – 50 µm 🙂"}, save={"filename_prefix": "Нервы/神経 é"}
    ),
    "Unicode in an input's name": lambda: file_mask("маска é 神経.png"),
    "text only": lambda: changed(graph(), condition={"cohort": "text only", "text": "few thin nerves"}),
    "no prompt": lambda: changed(graph(), condition={"cohort": "no prompt"}),
    "mask in the alpha channel": lambda: file_mask("alpha.png", "alpha"),
    "odd size, cut back": lambda: file_mask("odd.png", crop=True),
    "odd size, not cut back": lambda: file_mask("odd.png"),
    "inverted file, inverted back": lambda: changed(masks_from("InvertMask"), mask={"image": "inverted.png"}),
    "grown mask": lambda: masks_from("GrowMask", expand=2, tapered_corners=True),
    "black mask, allowed": lambda: changed(solid(0.0), condition={"allow_empty": True}),
    "masks of a cohort, declined": drawn,
    "a phantom as reference, 2509": lambda: drawn("2509"),
    "painted, traced, measured": measured,
}
BOTH_REFUSE: dict[str, tuple[Callable[[], Graph], str]] = {
    "three latents under two masks": (lambda: latents(3, mask="masks"), "the latents are a batch of 3, but"),
    "one latent under two masks": (lambda: latents(1, mask="masks"), "the latents are a batch of 1, but"),
    "latents of another size": (lambda: latents(1, **BIG), "does not lie on the output's grid of 128×64"),
    "three references for two masks": (lambda: references(3), "reference is a batch of 3 for 2 masks"),
    "reference of another size": (stretched_reference, "the reference is 64 × 64 pixels and the mask 96 × 64"),
    "reference for the first model": (lambda: references(1, variant="edit"), "takes one picture, the mask"),
    "inverted mask": (lambda: file_mask("inverted.png"), "probably inverted"),
    "dim mask": (lambda: solid(0.37), "is dim: its brightest value is 0.37"),
    "black mask": (lambda: solid(0.0), "holds no nerve"),
    "text only without a text": (
        lambda: changed(graph(), condition={"cohort": "text only"}),
        "cohort is 'text only' and the text is empty",
    ),
    "a variant that the model is not": (
        lambda: changed(graph(variant="2511"), condition={"variant": "edit"}),
        "variant is edit and clip is 2511",
    ),
    "a shift below 0": (lambda: changed(graph(), shift={"shift": -1.0}), "-1"),
    "lost adapter": (lambda: changed(graph(adapter=(1.0, 1.0)), apply={"adapter": "lost.safetensors"}), "lost"),
}
EMBEDDED_REFUSES: dict[str, tuple[Callable[[], Graph], str]] = {
    "a WDLoRA in core's loader": (lambda: core_lora("wdlora.safetensors"), "wdlora.safetensors"),
    "two pictures at once to latents": (lambda: from_picture(0.6, batch=True), "takes one picture at a time"),
    "a mask on latents": (inpainted, "SetLatentNoiseMask"),
    "two conditionings combined": (combined, "ConditioningCombine"),
    "a list of masks": (listed, "RebatchImages"),
    "another sampler": (lambda: changed(graph(), sample={"sampler_name": "dpmpp_2m"}), "dpmpp_2m"),
    "another scheduler": (lambda: changed(graph(), sample={"scheduler": "karras"}), "karras"),
}


def write_more_inputs(folder: Path) -> None:
    """Masks under other names, of an odd size, inverted, and in an alpha channel."""
    mask = np.asarray(Image.open(folder / "mask.png").convert("L"))
    Image.fromarray(mask).convert("RGB").save(folder / "маска é 神経.png")
    Image.fromarray(255 - mask).convert("RGB").save(folder / "inverted.png")
    Image.fromarray(mask[:50, :70]).convert("RGB").save(folder / "odd.png")
    alpha = Image.fromarray(np.zeros((*mask.shape, 3), np.uint8))
    alpha.putalpha(Image.fromarray(255 - mask))  # ComfyUI's mask is 1 where it is transparent
    alpha.save(folder / "alpha.png")


@pytest.fixture(scope="module")
def comfy(comfy_before):
    write_more_inputs(comfy_before.base / "input")
    return comfy_before


@pytest.fixture(scope="module")
def host(host_before):
    write_more_inputs(Path(host_before.folders.input))
    return host_before


def said_by_comfyui(server: Any, nodes: Graph) -> np.ndarray | str:
    """The pictures that were saved, or the sentence that refused them."""
    try:
        entry = server.run(nodes, timeout=200)
    except AssertionError as refusal:  # before the run
        return str(refusal)
    if entry["status"]["status_str"] != "success":
        failure = next(value for name, value in entry["status"]["messages"] if name == "execution_error")
        return str(failure["exception_message"])
    shown = entry["outputs"]["save"]["images"]
    return pictures([server.path(one) for one in shown])


def said_by_embedded_host(host: Any, nodes: Graph) -> np.ndarray | str:
    """As `said_by_comfyui`."""
    verdict, result = host.run(nodes)
    if result is None:
        return json.dumps([verdict.error, verdict.node_errors], ensure_ascii=False)
    if result.status != "success":
        return str(result.failure["exception_message"])
    return in_embedded_outputs(host, result)["save"]


@pytest.mark.parametrize("name", BOTH_PAINT)
def test_both_hosts_paint_the_same(comfy, host, figures, name):
    theirs, ours = said_by_comfyui(comfy, BOTH_PAINT[name]()), said_by_embedded_host(host, BOTH_PAINT[name]())
    assert not isinstance(theirs, str), theirs
    assert not isinstance(ours, str), ours
    assert theirs.shape == ours.shape and theirs.std() > 1
    greys = int(np.abs(theirs - ours).max())
    figures(f"user's graph: {name}", greys)
    assert greys <= 1


@pytest.mark.parametrize("name", BOTH_REFUSE)
def test_both_hosts_refuse_with_one_sentence(comfy, host, name):
    make, sentence = BOTH_REFUSE[name]
    theirs, ours = said_by_comfyui(comfy, make()), said_by_embedded_host(host, make())
    assert isinstance(theirs, str) and sentence in theirs
    assert isinstance(ours, str) and sentence in ours
    if "prompt" not in theirs:  # it was no refusal of a value before the run, which each host words by itself
        assert theirs.strip() == ours.strip()


@pytest.mark.parametrize("name", EMBEDDED_REFUSES)
def test_what_only_comfyui_paints_is_refused_by_name(comfy, host, name):
    make, named = EMBEDDED_REFUSES[name]
    theirs, ours = said_by_comfyui(comfy, make()), said_by_embedded_host(host, make())
    assert not isinstance(theirs, str), theirs
    assert isinstance(ours, str) and named in ours


def test_a_list_of_masks_is_painted_as_each_mask_alone(comfy, host):
    """ComfyUI runs the nodes once a mask, each with the seed's noise: the pictures of two graphs of one mask."""
    both = said_by_comfyui(comfy, listed())
    assert len(both) == 2
    frames = Image.open(comfy.base / "input" / "masks.gif")
    for index, picture in enumerate(both):
        frames.seek(index)
        for folder in (comfy.base / "input", Path(host.folders.input)):
            frames.convert("RGB").save(folder / f"frame{index}.png")
        alone = said_by_embedded_host(host, file_mask(f"frame{index}.png"))
        assert np.abs(picture - alone[0]).max() <= 1
