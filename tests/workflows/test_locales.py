"""The English texts for translators equal what the schemas say, and the front end can show them."""

import copy
import json

import pytest

from tools import build, locales


@pytest.fixture(scope="module")
def info():
    return build.object_info()


def test_file_is_what_the_script_writes(info):
    assert locales.ENGLISH.read_text(encoding="utf-8") == locales.text(info), "run python -m tools.locales"


def test_every_node_input_and_output_has_its_text(info):
    """Read from the file, by the front end's keys: nodeDefs.ID.inputs.NAME.tooltip, nodeDefs.ID.outputs.INDEX.name."""
    texts = json.loads(locales.ENGLISH.read_text(encoding="utf-8"))
    pages = {page.stem for page in (locales.ROOT / "web" / "docs").glob("*.md")}
    assert set(texts) == pages  # one help page a node
    for name, node in texts.items():
        assert node["display_name"] and node["description"]
        declared = info[name]["input"].get("required", {}) | info[name]["input"].get("optional", {})
        assert set(node.get("inputs", {})) == set(declared)
        assert all(slot["name"] and slot["tooltip"] for slot in node.get("inputs", {}).values())
        assert [slot["name"] for slot in node.get("outputs", {}).values()] == info[name]["output_name"]
        assert not any("." in key for key in [name, *node.get("inputs", {})])  # the front end replaces dots in keys


@pytest.mark.parametrize("character", locales.SPECIAL)
def test_a_text_that_the_front_end_would_misread_is_refused(info, character):
    changed = copy.deepcopy(info)
    changed["CCMTrace"]["input"]["required"]["images"][1]["tooltip"] += character
    with pytest.raises(ValueError, match="CCMTrace"):
        locales.text(changed)
