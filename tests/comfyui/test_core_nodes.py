"""ComfyUI's own nodes that the embedded host has too: the same graph, the same values, on the miniature.

Pictures agree to one grey level of 255, as in the parity of whole workflows.
"""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from .test_parity import comfy as comfy
from .test_parity import graph, in_comfyui_graph, in_embedded_graph
from .test_parity import host as host

pytestmark = pytest.mark.slow


def link(node: str) -> list[Any]:
    return [node, 0]


def masks_graph() -> dict[str, Any]:
    """A mask inverted, grown and shrunk with both kinds of corners, and masks of one value."""
    nodes: dict[str, Any] = {
        "mask": {"class_type": "LoadImageMask", "inputs": {"image": "reference.png", "channel": "green"}},
        "invert": {"class_type": "InvertMask", "inputs": {"mask": link("mask")}},
        "solid": {"class_type": "SolidMask", "inputs": {"value": 0.37, "width": 50, "height": 30}},
    }
    for expand in (-40, -3, 0, 1, 4):
        for tapered in (True, False):
            inputs = {"mask": link("mask"), "expand": expand, "tapered_corners": tapered}
            nodes[f"grow {expand} {tapered}"] = {"class_type": "GrowMask", "inputs": inputs}
    return saved(nodes, [name for name in nodes if name != "mask"], mask=True)


def scaled_graph() -> dict[str, Any]:
    """A picture of 96 × 64 pixels in other sizes by every method."""
    nodes: dict[str, Any] = {"image": {"class_type": "LoadImage", "inputs": {"image": "reference.png"}}}
    for method in ("nearest-exact", "bilinear", "area", "bicubic", "lanczos"):
        for crop in ("disabled", "center"):
            for width, height in ((50, 70), (200, 33), (0, 40), (131, 0), (0, 0), (96, 64)):
                inputs = {"image": link("image"), "upscale_method": method, "crop": crop}
                name = f"{method} {crop} {width} {height}"
                nodes[name] = {"class_type": "ImageScale", "inputs": inputs | {"width": width, "height": height}}
    return saved(nodes, [name for name in nodes if name != "image"])


def saved(nodes: dict[str, Any], names: list[str], mask: bool = False) -> dict[str, Any]:
    """Every one of some nodes saved."""
    for name in names:
        shown = name
        if mask:
            shown = f"image of {name}"
            nodes[shown] = {"class_type": "MaskToImage", "inputs": {"mask": link(name)}}
        inputs = {"images": link(shown), "filename_prefix": "core"}
        nodes[f"save {name}"] = {"class_type": "SaveImage", "inputs": inputs}
    return nodes


def repeated(masks: str = "mask") -> dict[str, Any]:
    nodes = graph(mask=masks)
    nodes["repeat"] = {"class_type": "RepeatLatentBatch", "inputs": {"samples": ["condition", 2], "amount": 3}}
    nodes["sample"]["inputs"]["latent_image"] = link("repeat")
    return nodes


def zeroed() -> dict[str, Any]:
    nodes = graph()
    nodes["zero"] = {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["condition", 0]}}
    nodes["sample"]["inputs"]["negative"] = link("zero")
    return nodes


def advanced(
    start: int, end: int, leave: str = "disable", noise: str = "enable", plain: bool = False
) -> dict[str, Any]:
    """The sampler in the place of KSampler; `plain`: from a picture's latents."""
    nodes = graph(plain=plain)
    inputs = {name: value for name, value in nodes["sample"]["inputs"].items() if name not in ("seed", "denoise")}
    inputs |= {"noise_seed": 11, "add_noise": noise, "start_at_step": start, "end_at_step": end}
    nodes["sample"] = {"class_type": "KSamplerAdvanced", "inputs": {**inputs, "return_with_leftover_noise": leave}}
    return nodes


def two_stages() -> dict[str, Any]:
    nodes = advanced(0, 2, "enable")
    nodes["first"] = copy.deepcopy(nodes["sample"])
    inputs = {"latent_image": link("first"), "add_noise": "disable", "start_at_step": 2, "end_at_step": 10000}
    nodes["sample"]["inputs"] |= inputs | {"return_with_leftover_noise": "disable"}
    return nodes


def primitives() -> dict[str, Any]:
    """Values of nodes of their own, also where a value is not linked to its like."""
    nodes = graph()
    values = {
        "seed": ("PrimitiveInt", 11),
        "cfg": ("PrimitiveFloat", 3.25),
        "text": ("PrimitiveString", "thin nerves"),
        "negative_text": ("PrimitiveStringMultiline", "dark\nblurred"),
        "allow_empty": ("PrimitiveBoolean", True),
    }
    for name, (class_type, value) in values.items():
        nodes[f"value of {name}"] = {"class_type": class_type, "inputs": {"value": value}}
        taker = "sample" if name in ("seed", "cfg") else "condition"
        nodes[taker]["inputs"][name] = link(f"value of {name}")
    return nodes


PAINTED = {
    "RepeatLatentBatch, one mask": repeated,
    "RepeatLatentBatch, two masks": lambda: repeated("masks"),
    "ConditioningZeroOut as negative": zeroed,
    "KSamplerAdvanced, all steps": lambda: advanced(0, 10000),
    "KSamplerAdvanced, ended early": lambda: advanced(0, 2),
    "KSamplerAdvanced, noise left": lambda: advanced(0, 2, "enable"),
    "KSamplerAdvanced, from a picture": lambda: advanced(2, 10000, plain=True),
    "KSamplerAdvanced, from a picture without noise": lambda: advanced(1, 3, noise="disable", plain=True),
    "KSamplerAdvanced, no step": lambda: advanced(3, 3, plain=True),
    "KSamplerAdvanced, two stages": two_stages,
    "Primitives": primitives,
}


@pytest.mark.parametrize("make", [masks_graph, scaled_graph])
def test_same_pixels(comfy, host, figures, make):
    theirs, ours = in_comfyui_graph(comfy, make()), in_embedded_graph(host, make())
    assert set(theirs) == set(ours)
    worst = 0
    for name, picture in theirs.items():
        assert picture.shape == ours[name].shape, name
        greys = int(np.abs(picture - ours[name]).max())
        worst = max(worst, greys)
        assert greys <= 1, name
    figures(f"{make.__name__}, {len(theirs)} nodes", worst)


@pytest.mark.parametrize("name", PAINTED)
def test_same_paintings(comfy, host, figures, name):
    theirs, ours = (
        run(place, PAINTED[name]()) for run, place in ((in_comfyui_graph, comfy), (in_embedded_graph, host))
    )
    greys = int(np.abs(theirs["save"] - ours["save"]).max())
    figures(name, greys)
    assert theirs["save"].shape == ours["save"].shape and theirs["save"].std() > 1
    assert greys <= 1


def test_two_stages_are_one(host):
    """Half of the steps and the other half give what all steps give, but for rounding."""
    one, two = (host.run(nodes)[1].values["sample"][0]["samples"] for nodes in (advanced(0, 4), two_stages()))
    assert torch.allclose(one, two, atol=1e-4)


def test_sockets_are_comfyuis(comfy, host):
    """Every core node of the host takes and gives what ComfyUI's takes and gives, in its order."""
    theirs, ours = comfy.get("/object_info"), host.object_info()
    core = {name: node for name, node in ours.items() if not node["python_module"].startswith("custom_nodes.")}
    assert len(core) >= 30
    for name, node in core.items():
        own = theirs[name]
        given = ("output", "output_name", "output_is_list", "output_node")
        assert {key: node[key] for key in given} == {key: own[key] for key in given}, name
        for group in ("required", "optional"):
            mine, known = (one["input"].get(group, {}) for one in (node, own))
            assert list(mine) == list(known), (name, group)
            for socket, spec in mine.items():
                kind, options = (*known[socket], {})[:2]
                assert (spec[0] == kind) or isinstance(kind, list) or kind == "COMBO", (name, socket)
                told = {key: options.get(key) for key in ("default", "min", "max", "step", "multiline", "round")}
                for key, value in told.items():
                    if value is not None and not isinstance(kind, list):
                        assert spec[1].get(key) == value, (name, socket, key)
