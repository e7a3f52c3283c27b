"""Every workflow file hangs together: links, slots, values, twins, models, layout; and equals what writes it.

The front end heals wrong links silently, so this looks at the files themselves and reads nothing of the generator.
"""

import json
import math
import re
import uuid

import pytest
from PIL import Image

from .conftest import FOLDER, NAMES, ROOT, api, ui

NOTES = {"MarkdownNote"}
BYPASSED = 4


def declared(info, kind):
    """(name, type, options, required) of every input, in order."""
    found = []
    for part in ("required", "optional"):
        for name in info[kind]["input_order"].get(part, []):
            spec = info[kind]["input"][part][name]
            options = dict(spec[1]) if len(spec) > 1 else {}
            if isinstance(spec[0], list):
                options["options"] = spec[0]
            found.append((name, "COMBO" if isinstance(spec[0], list) else spec[0], options, part == "required"))
    return found


def is_widget(kind, options):
    return kind in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO") and not options.get("forceInput")


def widget_values(info, node):
    """A node's values by input name, read by position as the front end does."""
    values = list(node["widgets_values"])
    found = {}
    for name, kind, options, _ in declared(info, node["type"]):
        if not is_widget(kind, options):
            continue
        found[name] = values.pop(0)
        if options.get("control_after_generate"):
            assert values.pop(0) == "fixed"
        if options.get("image_upload"):
            assert values.pop(0) == "image"
    assert values == [], f"{node['title']}: {values} are left over"
    return found


def test_all_files_are_known():
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(NAMES)
    assert sorted(path.stem for path in (FOLDER / "api").glob("*.json")) == sorted(NAMES)
    assert sorted(path.stem for path in FOLDER.glob("*.jpg")) == sorted(NAMES)


def test_files_are_those_that_the_generator_writes():
    from tools import build

    written = build.texts(build.object_info())
    assert len(written) == 2 * len(NAMES)
    for name, text in written.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, f"run python -m tools.build ({name})"


@pytest.mark.parametrize("name", NAMES)
def test_links_join_slots_that_exist_and_fit(name, info):
    flow = ui(name)
    nodes = {node["id"]: node for node in flow["nodes"]}
    assert len(nodes) == len(flow["nodes"]) and max(nodes) == flow["last_node_id"]
    links = {link[0]: link for link in flow["links"]}
    assert len(links) == len(flow["links"]) and max(links) == flow["last_link_id"]
    for id, source, out, target, into, kind in links.values():
        given, taken = nodes[source]["outputs"][out], nodes[target]["inputs"][into]
        assert id in given["links"] and taken["link"] == id
        assert given["type"] == kind and taken["type"] in (kind, "*")
    for node in nodes.values():
        if node["type"] in NOTES:
            assert node["inputs"] == node["outputs"] == []
            continue
        assert node["type"] in info, f"no node {node['type']}"
        assert [out["name"] for out in node["outputs"]] == info[node["type"]]["output_name"]
        assert [out["type"] for out in node["outputs"]] == info[node["type"]]["output"]
        for slot in node["outputs"]:
            assert all(links[id][1] == node["id"] for id in slot["links"] or [])
        known = {name: (kind, options, required) for name, kind, options, required in declared(info, node["type"])}
        slots = {slot["name"]: slot for slot in node["inputs"]}
        assert set(slots) == set(known) and len(slots) == len(node["inputs"])
        for key, (kind, options, required) in known.items():
            assert slots[key]["type"] == kind
            assert ("widget" in slots[key]) == is_widget(kind, options)
            if slots[key]["link"] is not None:
                assert links[slots[key]["link"]][3] == node["id"]
            elif required and not is_widget(kind, options):
                pytest.fail(f"{node['title']}.{key} is not linked")


@pytest.mark.parametrize("name", NAMES)
def test_values_are_in_range(name, info):
    for node in ui(name)["nodes"]:
        if node["type"] in NOTES:
            continue
        models = {model["name"] for model in node["properties"].get("models", [])}
        for key, value in widget_values(info, node).items():
            kind, options = next((k, o) for n, k, o, _ in declared(info, node["type"]) if n == key)
            if kind == "COMBO":
                shipped = {"ccm.safetensors", "ccm_lora.safetensors"} if key == "adapter" else set()
                assert value in {*options["options"], *models, *shipped}, (node["title"], key, value)
            elif kind in ("INT", "FLOAT"):
                assert isinstance(value, (int, float)) and not isinstance(value, bool)
                assert options.get("min", value) <= value <= options.get("max", value), (node["title"], key, value)
                assert kind == "FLOAT" or isinstance(value, int)
                assert key != "seed" or value < 2**53
            else:
                assert isinstance(value, bool if kind == "BOOLEAN" else str)


@pytest.mark.parametrize("name", NAMES)
def test_the_api_twin_is_the_same_graph(name, info):
    """Converted here once more, by the rules of the front end: bypassed nodes pass on what has their output's type."""
    flow, twin = ui(name), api(name)
    nodes = {node["id"]: node for node in flow["nodes"]}
    links = {link[0]: link for link in flow["links"]}

    def source(link):
        _, id, out, *_ = links[link]
        while nodes[id]["mode"] == BYPASSED:
            kind = nodes[id]["outputs"][out]["type"]
            into = next(slot for slot in nodes[id]["inputs"] if slot["type"] == kind and slot["link"])
            _, id, out, *_ = links[into["link"]]
        return [str(id), out]

    converted = {}
    for node in nodes.values():
        if node["type"] in NOTES or node["mode"] == BYPASSED:
            continue
        inputs = widget_values(info, node)
        inputs |= {slot["name"]: source(slot["link"]) for slot in node["inputs"] if slot["link"] is not None}
        meta = {"title": node["title"], "cnr_id": node["properties"]["cnr_id"], "ver": node["properties"]["ver"]}
        converted[str(node["id"])] = {"class_type": node["type"], "inputs": inputs, "_meta": meta}
    assert converted == twin


@pytest.mark.parametrize("name", NAMES)
def test_it_is_made_to_be_shared(name, info):
    flow = ui(name)
    assert flow["version"] == 0.4 and str(uuid.UUID(flow["id"])) == flow["id"]
    titles = [node["title"] for node in flow["nodes"]]
    assert len(set(titles)) == len(titles)  # so that a value can be set by title and input
    notes = [node for node in flow["nodes"] if node["type"] == "MarkdownNote"]
    assert notes and "What to change" in notes[0]["widgets_values"][0]
    assert len(flow["groups"]) >= 3
    loaders = 0
    for node in flow["nodes"]:
        assert node["flags"] == {} and node["mode"] in (0, BYPASSED)
        if node["type"] in NOTES:
            continue
        ours = info[node["type"]]["python_module"].startswith("custom_nodes.")
        assert node["properties"]["cnr_id"] == ("wdlora-ccm" if ours else "comfy-core")
        assert re.fullmatch(r"\d+\.\d+\.\d+", node["properties"]["ver"])
        for model in node["properties"].get("models", []):
            loaders += 1
            assert set(model) == {"name", "url", "directory"}
            assert re.fullmatch(r"https://huggingface\.co/[\w.-]+/[\w.-]+/resolve/main/\S+", model["url"])
            assert model["url"].endswith("/" + model["name"])
            assert model["directory"] in ("diffusion_models", "text_encoders", "vae", "loras")
            assert model["name"] in node["widgets_values"]
    assert (loaders == 0) == (name == "quickstart_cpu")
    if "Lightning" in json.dumps(flow):
        note = notes[0]["widgets_values"][0]
        assert "Ctrl-B" in note and "steps 4 and cfg 1" in note


@pytest.mark.parametrize("name", NAMES)
def test_nothing_lies_on_anything(name):
    flow = ui(name)
    boxes = [
        (n["pos"][0], n["pos"][1] - 30, n["pos"][0] + n["size"][0], n["pos"][1] + n["size"][1], n["title"])
        for n in flow["nodes"]
    ]
    groups = [
        (x, y, x + width, y + height, group["title"])
        for group in flow["groups"]
        for x, y, width, height in [group["bounding"]]
    ]

    def meet(one, other):
        return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]

    def holds(outer, inner):
        return outer[0] <= inner[0] and inner[2] <= outer[2] and outer[1] <= inner[1] and inner[3] <= outer[3]

    for kind in (boxes, groups):
        for index, one in enumerate(kind):
            assert not [other[4] for other in kind[index + 1 :] if meet(one, other)], one[4]
    for box in boxes:
        assert all(holds(group, box) for group in groups if meet(group, box)), box[4]
        assert box[4] == "Read me" or any(holds(group, box) for group in groups), box[4]


@pytest.mark.parametrize("name", NAMES)
def test_thumbnails(name):
    with Image.open(FOLDER / f"{name}.jpg") as picture:
        picture.load()
        assert picture.format == "JPEG" and picture.width == picture.height == 384
    assert (FOLDER / f"{name}.jpg").stat().st_size < 80_000


def test_no_other_folder_is_taken_for_the_templates():
    """ComfyUI serves templates from the first of these folders that a pack has: another would hide the workflows."""
    taken = ("example_workflows", "example", "examples", "workflow", "workflows")
    assert [name for name in taken if (ROOT / name).exists()] == ["workflows"]


def on_link(flow, link):
    """Points of a link as the front end draws it: a Bézier curve that leaves and arrives horizontally."""
    _, origin, slot, target, place, _ = link
    nodes = {node["id"]: node for node in flow["nodes"]}
    x0, y0 = nodes[origin]["pos"][0] + nodes[origin]["size"][0], nodes[origin]["pos"][1] + 14 + 20 * slot
    x1 = nodes[target]["pos"][0]
    wired = [slot["link"] is not None or "widget" not in slot for slot in nodes[target]["inputs"]]
    y1 = nodes[target]["pos"][1] + 14 + 20 * sum(wired[:place])
    bend = math.hypot(x1 - x0, y1 - y0) / 4
    for step in range(101):
        t = step / 100
        weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
        yield tuple(
            sum(w * v for w, v in zip(weights, values, strict=True))
            for values in ((x0, x0 + bend, x1 - bend, x1), (y0, y0, y1, y1))
        )


@pytest.mark.parametrize("name", NAMES)
def test_every_workflow_reads_from_left_to_right(name):
    """The first view is larger than the least that shows texts; every link goes to the right or down a column, and none
    crosses a group that it has nothing to do with."""
    flow = ui(name)
    nodes = {node["id"]: node for node in flow["nodes"]}
    assert flow["extra"]["ds"]["scale"] >= 0.6

    def inside(group, x, y):
        left, top, width, height = group["bounding"]
        return left < x < left + width and top < y < top + height

    for link in flow["links"]:
        ends = [nodes[link[1]], nodes[link[3]]]
        assert ends[0]["pos"][0] <= ends[1]["pos"][0], link
        foreign = [group for group in flow["groups"] if not any(inside(group, *end["pos"]) for end in ends)]
        crossed = [group["title"] for group in foreign if any(inside(group, *point) for point in on_link(flow, link))]
        assert not crossed, (ends[0]["title"], ends[1]["title"], crossed)
