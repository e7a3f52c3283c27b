"""Which strings of a graph are names of input files, and what becomes of them."""

import unicodedata

import pytest

from wdlora.privacy.names import Names, input_name
from wdlora.privacy.pseudonym import Pseudonyms

KEY = b"0123456789abcdef"


def names(*others: str) -> Names:
    return Names(Pseudonyms(key=lambda: KEY), others)


@pytest.mark.parametrize(
    ("value", "name", "note", "folder"),
    [
        ("Smith OD.png", "Smith OD.png", "", False),
        ("Smith/OD.DCM", "Smith/OD.DCM", "", False),
        ("Smith_00001_.png [output]", "Smith_00001_.png", " [output]", False),
        ("Smith study [input]", "Smith study", " [input]", True),
        ("scan.nii.gz", "scan.nii.gz", "", False),
        ("Smith.npy", "Smith.npy", "", False),
        ("Smith.jp2", "Smith.jp2", "", False),
        ("file:///data/Smith.png", "file:///data/Smith.png", "", False),
        ("file:///data/Smith", "file:///data/Smith", "", False),
        ("film.mp4", "film.mp4", "", False),
        ("/home/smith/images", "/home/smith/images", "", True),
        ("C:\\Smith\\images", "C:\\Smith\\images", "", True),
    ],
)
def test_input_files_and_folders(value, name, note, folder):
    assert input_name(value) == (name, note, folder)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "red",
            "euler",
            ".png",
            "a picture of a cornea",
            "Smith",
            "two lines\nof.png",
            "none",
            "disable",
            "image",
        ),
        *(
            "qwen_image.safetensors",
            "/models/qwen.gguf",
            "https://example.org/a.png",
            "see https://example.org/a.png",
            "ccm/picture",
            "1/2",
            "/",
        ),
    ],
)
def test_what_is_none(value):
    assert input_name(value) is None


def test_core_folders_are_known_by_their_node():
    assert input_name("Smith", "LoadImageDataSetFromFolder") == ("Smith", "", True)


def test_both_formats_and_subgraphs():
    """API graph, front end's workflow with widgets as list and as object, and a subgraph's definition."""
    document = {
        "prompt": {"7": {"class_type": "LoadImageMask", "inputs": {"image": "Smith_a.png", "channel": "red"}}},
        "extra_data": {
            "extra_pnginfo": {
                "workflow": {
                    "nodes": [
                        {"id": 7, "type": "LoadImageMask", "widgets_values": ["Smith_b.png", "red"]},
                        {"id": 8, "type": "VHS_LoadVideo", "widgets_values": {"video": "Smith_c.mp4", "n": 3}},
                        {"id": 9, "type": "LoadImageDataSetFromFolder", "widgets_values": ["Smith_d"]},
                    ],
                    "definitions": {
                        "subgraphs": [{"nodes": [{"type": "LoadImage", "widgets_values": ["Smith_e.png"]}]}]
                    },
                }
            }
        },
    }
    found = names()
    hidden = found.hide(document)
    assert set(found.files) == {"Smith_a.png", "Smith_b.png", "Smith_c.mp4", "Smith_d", "Smith_e.png"}
    assert "Smith" not in str(hidden)
    assert hidden["prompt"]["7"]["inputs"] == {"image": found.files["Smith_a.png"], "channel": "red"}
    nodes = hidden["extra_data"]["extra_pnginfo"]["workflow"]["nodes"]
    assert nodes[1]["widgets_values"] == {"video": found.files["Smith_c.mp4"], "n": 3}
    assert found.hide(hidden) == hidden  # once is enough


def test_names_are_replaced_wherever_they_stand():
    graph = {
        "1": {
            "class_type": "LoadImage",
            "inputs": {"image": "clinic/Smith_John.png"},
            "_meta": {"title": "Smith_John's eye"},
        },
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": "out/smith_john_OD"},
            "_meta": {"title": "see /view?filename=Smith_John.png&type=input"},
        },
    }
    found = names()
    hidden = found.hide(graph)
    pseudonym = found.files["clinic/Smith_John.png"]
    stem = pseudonym.removesuffix(".png")
    assert hidden["1"]["inputs"]["image"] == pseudonym and hidden["1"]["_meta"]["title"] == f"{stem}'s eye"
    assert hidden["2"]["inputs"] == {"images": ["1", 0], "filename_prefix": f"out/{stem}_OD"}
    assert hidden["2"]["_meta"]["title"] == f"see /view?filename={pseudonym}&type=input"


def test_keys_are_replaced_with_the_links_to_them():
    """Two ids that differ in their case alone stay two nodes; inputs and structure keep their names."""
    load = {"class_type": "LoadImage", "inputs": {"image": "Inputs.png"}}
    graph = {
        "Inputs.png": load,
        "inputs.png": load,
        "2": {"class_type": "ImageBatch", "inputs": {"image1": ["Inputs.png", 0], "image2": ["inputs.png", 0]}},
        "3": {"class_type": "X", "inputs": {"Inputs.png": ["Inputs.png", 0], "text": ["Inputs.png", 0.5]}},
    }
    found = names()
    hidden = found.hide(graph)
    pseudonym = found.files["Inputs.png"]
    one, two = list(hidden)[:2]
    assert one == pseudonym and two == f"{pseudonym}-2"
    assert hidden["2"]["inputs"] == {"image1": [one, 0], "image2": [two, 0]}
    assert hidden["3"]["inputs"] == {pseudonym: [one, 0], "text": [pseudonym, 0.5]}
    assert found.hide({"inputs.png": load}) == {two: hidden[two]}  # the same id in another text is the same
    assert found.hide(hidden) == hidden


def test_files_of_one_name_in_two_folders_stay_apart():
    inputs = {"a": "left/Smith.png", "b": "Smith.png", "c": "right/Smith.png [output]"}
    found = names()
    hidden = found.hide({"1": {"class_type": "LoadImage", "inputs": inputs}})["1"]["inputs"]
    assert hidden["a"] == found.files["left/Smith.png"] and hidden["b"] == found.files["Smith.png"]
    assert hidden["c"] == f"{found.files['right/Smith.png']} [output]" and len(set(found.files.values())) == 3


def test_what_a_graph_means_stays():
    """Plain words, links, classes, models and numbers, though files are called like them."""
    graph = {
        "1024": {"class_type": "LoadImage", "inputs": {"image": "mask.png"}},
        "2": {"class_type": "LoadImage", "inputs": {"image": "1024.png"}},
        "3": {"class_type": "KSampler", "inputs": {"latent": ["1024", 0], "seed": 1024, "text": "a mask of nerves"}},
        "4": {"class_type": "Load_Image", "inputs": {"image": "Load_Image.png", "lora_name": "Load_Image.safetensors"}},
    }
    hidden = names().hide(graph)
    assert list(hidden) == ["1024", "2", "3", "4"] and hidden["3"] == graph["3"]
    assert hidden["4"]["class_type"] == "Load_Image"
    assert hidden["4"]["inputs"]["lora_name"] == "Load_Image.safetensors"
    assert "mask.png" not in str(hidden) and "1024.png" not in str(hidden)


def test_other_identifiers_and_hints():
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "Smith_John.png"}, "_meta": {"title": "Mrs Smith, left"}},
        "2": {"class_type": "Note", "inputs": {"text": "Müller, MRN 4711"}},
    }
    found = names()
    hidden = found.hide(graph)
    assert found.hints(hidden, found.files) == [("Smith", "Mrs Smith, left")] and found.hints(hidden, []) == []
    told = names("Smith", "Müller", "4711")
    hidden = told.hide(graph)
    assert told.hints(hidden, told.files) == []
    assert hidden["2"]["inputs"]["text"] == f"{told.others['Müller']}, MRN {told.others['4711']}"


@pytest.mark.parametrize(
    "name", ["Weiß", "Özdemir", "İlker", "Иванов OD", "Νίκος", "Νίκος.png", "Işık", "ŉame", "Ǆabic"]
)
def test_names_beyond_ascii_are_found_in_any_case(name):
    """Spelt identically, in lower case, in capitals, as a title, and with accents as letters of their own."""
    told = names(name)
    pseudonym = told.others[name]
    for spelling in (name, name.lower(), name.upper(), name.title(), name.casefold()):
        for form in ("NFC", "NFD"):
            said = unicodedata.normalize(form, spelling)
            assert told.hide_text(f"cornea of {said}, left") == f"cornea of {pseudonym}, left", said
    assert told.hide_text(f"x{name}x") == f"x{name}x"
    told = names()
    told.collect({"1": {"class_type": "LoadImage", "inputs": {"image": f"{name} 1.png"}}})
    assert told.hide_text(f"as in {name} 1.png") == f"as in {told.files[f'{name} 1.png']}"
    assert told.hints({"title": f"eye of {name}"}, told.files)


def test_a_text_and_a_number_are_no_link():
    """Only the values of an API node's inputs are links: not a list of widgets, nor a list deeper in an input."""
    graph = {
        "nodes": [{"type": "LoadImage", "title": "a", "widgets_values": ["Smith_John.png", 3]}],
        "prompt": {
            "Smith_Two.png": {"class_type": "LoadImage", "inputs": {"image": ["Smith_Two.png", 0]}},
            "2": {"class_type": "Several", "inputs": {"images": [["Smith_Two.png", 1]], "of": ["Smith_John", 0]}},
        },
        "values": ["Smith_John", 7],
        "inputs": {"picture": ["Smith_John", 7]},
    }
    told = names()
    hidden = told.hide(graph)
    assert set(told.files) == {"Smith_John.png", "Smith_Two.png"}
    pseudonym = told.files["Smith_John.png"]
    stem = pseudonym.removesuffix(".png")
    assert hidden["nodes"][0]["widgets_values"] == [pseudonym, 3]
    assert hidden["values"] == hidden["inputs"]["picture"] == [stem, 7]
    first, second = hidden["prompt"].values()
    assert first["inputs"] == {"image": [told.files["Smith_Two.png"], 0]}  # a node may be called so
    assert second["inputs"] == {"images": [[told.files["Smith_Two.png"], 1]], "of": ["Smith_John", 0]}
    assert told.hints({"type": "Note", "widgets_values": ["of Smith", 1]}, told.files) == [("Smith", "of Smith")]
    assert told.hints({"class_type": "Note", "inputs": {"text": ["Smith", 1]}}, told.files) == []
