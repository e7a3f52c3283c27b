"""Graph files: reading them, setting values, and the miniature in a full-size graph's place."""

import json

import pytest

from wdlora.errors import InputError
from wdlora.files import sha256
from wdlora.graph.file import read_graph
from wdlora.graph.miniature import use_miniature
from wdlora.graph.places import set_value


@pytest.fixture
def titled(graph):
    graph["1"]["_meta"] = {"title": "Load the mask"}
    return graph


def test_values_are_set_by_title_or_by_id(titled):
    set_value(titled, "Load the mask.image=other.png")
    set_value(titled, "ImageToMask.channel=green")
    set_value(titled, "4.filename_prefix=a.b=c")
    assert titled["1"]["inputs"]["image"] == "other.png"
    assert titled["2"]["inputs"]["channel"] == "green"
    assert titled["4"]["inputs"]["filename_prefix"] == "a.b=c"


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ("3.5", 3.5), ("true", True), ('"3"', "3"), ("three", "three"), ("", "")]
)
def test_values_are_json_or_texts(titled, text, value):
    set_value(titled, f"ImageToMask.channel={text}")
    assert titled["2"]["inputs"]["channel"] == value


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("nothing", "is no assignment"),
        ("channel=green", "is no assignment"),
        ("Nowhere.channel=green", "no node of the title 'Nowhere'; the graph has: ImageToMask, Load the mask"),
        ("ImageToMask.colour=green", "has no input 'colour'; it has: image, channel"),
        ("ImageToMask.image=x", "is linked to another node"),
    ],
)
def test_what_cannot_be_set(titled, assignment, sentence):
    with pytest.raises(InputError, match=sentence):
        set_value(titled, assignment)


def test_an_ambiguous_title(titled):
    titled["5"] = {"class_type": "ImageToMask", "inputs": {"image": ["1", 0], "channel": "red"}}
    with pytest.raises(InputError, match="2 nodes of the title 'ImageToMask'"):
        set_value(titled, "ImageToMask.channel=green")
    set_value(titled, "5.channel=green")
    assert titled["5"]["inputs"]["channel"] == "green"


def test_files(titled, tmp_path, host):
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(titled))
    assert read_graph(plain) == titled
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"prompt": titled, "client_id": "x"}))
    assert read_graph(body) == titled
    host.run(titled)
    saved = read_graph(host.folders.output / "out_00001_.png")
    assert saved["1"]["inputs"].pop("image") == f"image-{sha256(host.folders.input / 'mask.png')[:16]}.png"
    del titled["1"]["inputs"]["image"]
    assert saved == titled
    with pytest.raises(InputError, match="holds no graph"):
        read_graph(host.folders.input / "mask.png")


def test_a_workflow_of_the_front_end_stands_for_its_api_twin(titled, tmp_path):
    for_page = tmp_path / "flow.json"
    for_page.write_text(json.dumps({"nodes": [], "links": []}))
    with pytest.raises(InputError, match="is a workflow for the front end"):
        read_graph(for_page)
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "flow.json").write_text(json.dumps(titled))
    assert read_graph(for_page) == titled


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '"x"', "\x00", "[" * 100_000, '{"nodes": []}'])
def test_files_that_are_no_graph(tmp_path, content):
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"bad\.json"):
        read_graph(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_graph(tmp_path / "missing.json")


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


def test_a_graph_without_models():
    with pytest.raises(InputError, match="loads no Qwen-Image-Edit"):
        use_miniature({"1": {"class_type": "LoadImage", "inputs": {}}}, INFO)
