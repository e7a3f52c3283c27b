"""The miniature in a full-size graph's place."""

import pytest

from wdlora.errors import InputError
from wdlora.graph.miniature import use_miniature
from wdlora.graph.places import set_value


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


WITH_ADAPTER = INFO | {"WDLoRAApply": {"input": {"required": {"adapter": [["none", "ccm.safetensors"], {}]}}}}


def with_adapter(name):
    return {
        "1": {
            "class_type": "WDLoRALoadQwenImageEdit",
            "inputs": {"diffusion_model": "full.safetensors", "dtype": "fp8"},
        },
        "2": {"class_type": "WDLoRAApply", "inputs": {"model": ["1", 0], "adapter": name, "sha256": "0" * 64}},
    }


def test_an_adapter_of_the_graph_that_is_missing_is_left_out_and_told():
    graph = with_adapter("big.safetensors")
    (said,) = use_miniature(graph, WITH_ADAPTER)
    assert said.startswith("WDLoRAApply: the adapter 'big.safetensors' of the graph is not in the models folder")
    assert graph["2"]["inputs"]["adapter"] == "none"
    assert use_miniature(with_adapter("ccm.safetensors"), WITH_ADAPTER) == []


@pytest.mark.parametrize(
    "assignment,sentence",
    [
        ("WDLoRAApply.adapter=cmm.safetensors", "set to 'cmm.safetensors', which is not there; there are: none, ccm"),
        ("WDLoRALoadQwenImageEdit.dtype=fp9", "set to 'fp9', which is not there; there are: default, fp8"),
        ("WDLoRALoadQwenImageEdit.diffusion_model=full.safetensors", "--miniature takes the place of"),
    ],
)
def test_what_the_user_states_is_not_replaced(assignment, sentence):
    graph = with_adapter("big.safetensors")
    place = set_value(graph, assignment)
    with pytest.raises(InputError, match=sentence):
        use_miniature(graph, WITH_ADAPTER, {place})


def test_what_the_user_states_and_is_there_stays():
    graph = with_adapter("big.safetensors")
    stated = {set_value(graph, "WDLoRAApply.adapter=ccm.safetensors")}
    stated.add(set_value(graph, "WDLoRALoadQwenImageEdit.diffusion_model=miniature"))
    assert use_miniature(graph, WITH_ADAPTER, stated) == []
    assert graph["2"]["inputs"]["adapter"] == "ccm.safetensors"
