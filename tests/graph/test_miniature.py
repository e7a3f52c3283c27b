"""The miniature in a full-size graph's place."""

import pytest

from wdlora.errors import InputError
from wdlora.graph.miniature import use_miniature


def loader_info(*names):
    inputs = {name: ["COMBO", {"options": ["full.safetensors", "miniature"]}] for name in names}
    return {"input": {"required": {**inputs, "dtype": ["COMBO", {"options": ["default", "fp8"]}]}}}


INFO = {
    "WDLoRALoadQwenImageEdit": loader_info("diffusion_model", "text_encoder", "vae"),
    "UNETLoader": {"input": {"required": {"unet_name": [["full.safetensors"], {}]}}},
}


def test_the_miniature_takes_the_place_of_our_loader():
    graph = {
        "1": {
            "class_type": "WDLoRALoadQwenImageEdit",
            "inputs": {"diffusion_model": "full.safetensors", "text_encoder": "t", "vae": "v", "dtype": "fp8"},
        }
    }
    use_miniature(graph, INFO)
    assert graph["1"]["inputs"] == {
        "diffusion_model": "miniature",
        "text_encoder": "miniature",
        "vae": "miniature",
        "dtype": "fp8",
    }


def test_the_miniature_takes_the_place_of_the_core_loaders():
    graph = {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "full.safetensors"}},
        "2": {"class_type": "CLIPLoader", "inputs": {}},
        "3": {"class_type": "VAELoader", "inputs": {}},
        "4": {"class_type": "KSampler", "inputs": {"model": ["1", 0], "seed": 1}},
        "5": {"class_type": "Encode", "inputs": {"clip": ["2", 0], "vae": ["3", 0]}},
    }
    use_miniature(graph, INFO)
    (loader,) = [id for id, node in graph.items() if node["class_type"] == "WDLoRALoadQwenImageEdit"]
    assert set(graph) == {loader, "4", "5"}
    assert graph["4"]["inputs"] == {"model": [loader, 0], "seed": 1}
    assert graph["5"]["inputs"] == {"clip": [loader, 1], "vae": [loader, 2]}
    assert graph[loader]["inputs"]["dtype"] == "default"


def test_the_conditioning_asks_the_miniature_what_it_is():
    """A variant chosen for the big model would contradict it; one that is linked stays linked."""
    graph = {
        "1": {"class_type": "WDLoRALoadQwenImageEdit", "inputs": {"diffusion_model": "full.safetensors"}},
        "2": {"class_type": "CCMConditioning", "inputs": {"clip": ["1", 1], "variant": "2511"}},
        "3": {"class_type": "CCMConditioning", "inputs": {"clip": ["1", 1], "variant": ["9", 0]}},
    }
    use_miniature(graph, INFO)
    assert graph["2"]["inputs"]["variant"] == "auto" and graph["3"]["inputs"]["variant"] == ["9", 0]


def test_a_graph_without_models():
    with pytest.raises(InputError, match="loads no Qwen-Image-Edit"):
        use_miniature({"1": {"class_type": "LoadImage", "inputs": {}}}, INFO)
