"""Places: found and set by title or id, and named again by title."""

import copy
import json

import pytest

from wdlora.errors import InputError
from wdlora.graph.places import Place, find_place, free_places, set_value


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
        ("nothing", "is not an assignment"),
        ("channel=green", "is not an assignment"),
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


def test_a_place_is_found_set_and_named(titled):
    before = copy.deepcopy(titled)
    place = find_place(titled, "Load the mask.image")
    assert place == Place("1", "image") and titled == before  # looking changes nothing
    assert set_value(titled, "1.image=other.png") == place
    assert place.title(titled) == "Load the mask.image" and Place("9", "image").title(titled) == "9.image"
    place.put(titled, ["any", "value"])
    assert titled["1"]["inputs"]["image"] == ["any", "value"]


@pytest.mark.parametrize("target", ["image", ".image", "1.", ""])
def test_what_names_no_place(titled, target):
    with pytest.raises(InputError, match='names no input; write "Title'):
        find_place(titled, target)


def test_inputs_with_values_of_their_own(titled):
    titled["5"] = {"class_type": "LoadImage", "inputs": {"image": "b.png"}}
    assert free_places(titled, "image") == (Place("1", "image"), Place("5", "image"))  # that of 2 is a link


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_no_value_that_is_no_number_is_set(titled, number):
    before = json.dumps(titled)
    with pytest.raises(InputError, match=f"{number} is not a number"):
        set_value(titled, f"ImageToMask.channel={number}")
    assert json.dumps(titled) == before
    set_value(titled, f'ImageToMask.channel="{number}"')
