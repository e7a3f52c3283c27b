"""Bad graphs: ComfyUI's error types and shapes, and never an exception."""

import copy
import json
import random

import pytest

from wdlora.host.validation import types_fit


def only_error(verdict, node_id):
    (error,) = verdict.node_errors[node_id]["errors"]
    return error


def test_a_sound_graph_names_its_outputs(host, graph):
    verdict = host.validate(graph)
    assert (verdict.outputs, verdict.error, verdict.node_errors) == (["4"], None, {})


def test_an_unknown_node(host, graph):
    graph["3"] = {"class_type": "Nowhere", "inputs": {}, "_meta": {"title": "My node"}}
    error = host.validate(graph).error
    assert error["type"] == "missing_node_type"
    assert "My node" in error["message"] and "'Nowhere'" in error["message"]
    assert error["extra_info"] == {"node_id": "3", "class_type": "Nowhere", "node_title": "My node"}


def test_a_node_without_a_class(host, graph):
    graph["3"] = {"inputs": {}}
    error = host.validate(graph).error
    assert error["type"] == "missing_node_type" and error["details"] == "Node ID '#3'"


def test_nothing_to_output(host, graph):
    del graph["4"]
    assert host.validate(graph).error == {
        "type": "prompt_no_outputs",
        "message": "Prompt has no outputs",
        "details": "",
        "extra_info": {},
    }


def test_a_missing_required_input(host, graph):
    del graph["4"]["inputs"]["images"]
    verdict = host.validate(graph)
    assert verdict.error["type"] == "prompt_outputs_failed_validation"
    assert verdict.error["details"] == "Required input is missing: images"
    assert verdict.node_errors["4"] == {
        "errors": [
            {
                "type": "required_input_missing",
                "message": "Required input is missing",
                "details": "images",
                "extra_info": {"input_name": "images"},
            }
        ],
        "dependent_outputs": ["4"],
        "class_type": "SaveImage",
    }


def test_a_value_that_is_not_in_the_list(host, graph):
    graph["2"]["inputs"]["channel"] = "ultraviolet"
    error = only_error(host.validate(graph), "2")
    assert error["type"] == "value_not_in_list"
    assert error["details"] == "channel: 'ultraviolet' not in ['red', 'green', 'blue', 'alpha']"
    assert error["extra_info"]["received_value"] == "ultraviolet"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (0, "value_smaller_than_min"),
        (257, "value_bigger_than_max"),
        ("many", "invalid_input_type"),
        (float("nan"), "invalid_input_type"),
        (float("inf"), "invalid_input_type"),
        (None, "invalid_input_type"),
        ({"a": 1}, "invalid_input_type"),
        (["1"], "bad_linked_input"),
        (["nowhere", 0], "bad_linked_input"),
        (["1", 7], "bad_linked_input"),
        (["1", -1], "bad_linked_input"),
        (["1", 0], "return_type_mismatch"),
    ],
)
def test_numbers(host, graph, value, kind):
    graph["5"] = {
        "class_type": "CCMSampleMasks",
        "inputs": {"cohort": "Control", "count": value, "size": 128, "seed": 0},
    }
    graph["3"]["inputs"]["mask"] = ["5", 0]
    assert only_error(host.validate(graph), "5")["type"] == kind


def test_numbers_in_texts_are_converted_as_comfyui_does(host, graph):
    graph["5"] = {
        "class_type": "CCMSampleMasks",
        "inputs": {"cohort": "Control", "count": "2", "size": 128.0, "seed": 0},
    }
    graph["3"]["inputs"]["mask"] = ["5", 0]
    assert host.validate(graph).error is None
    assert graph["5"]["inputs"]["count"] == 2 and graph["5"]["inputs"]["size"] == 128


def test_types_must_fit(host, graph):
    graph["3"]["inputs"]["mask"] = ["1", 0]
    error = only_error(host.validate(graph), "3")
    assert error["type"] == "return_type_mismatch"
    assert error["details"] == "mask, received_type(IMAGE) mismatch input_type(MASK)"
    assert error["extra_info"]["linked_node"] == ["1", 0]


def test_a_value_where_a_link_is_needed(host, graph):
    graph["3"]["inputs"]["mask"] = "a mask"
    assert only_error(host.validate(graph), "3")["message"] == "Input must be linked to a node that gives MASK"


def test_a_cycle_names_its_path(host, graph):
    graph["1"] = {"class_type": "MaskToImage", "inputs": {"mask": ["2", 0]}}
    verdict = host.validate(graph)
    assert set(verdict.node_errors) == {"1", "2"}
    error = only_error(verdict, "1")
    assert error["type"] == "dependency_cycle"
    assert error["details"] == "2 (ImageToMask) -> 1 (MaskToImage) -> 2 (ImageToMask)"
    assert error["extra_info"]["cycle_nodes"] == ["2", "1"]


def test_a_node_that_feeds_itself(host, graph):
    graph["2"]["inputs"]["image"] = ["4", 0]
    assert host.validate(graph).error["type"] == "prompt_outputs_failed_validation"


def test_the_nodes_own_check(host, graph):
    graph["1"]["inputs"]["image"] = "nowhere.png"
    error = only_error(host.validate(graph), "1")
    assert error["type"] == "custom_validation_failed"
    assert error["details"] == "image - Invalid image file: nowhere.png"


def test_a_path_that_leaves_the_folder_is_no_file(host, graph):
    graph["1"]["inputs"]["image"] = "../../../etc/passwd"
    assert only_error(host.validate(graph), "1")["type"] == "custom_validation_failed"


def test_sound_outputs_run_beside_broken_ones(host, graph):
    graph["5"] = {"class_type": "PreviewImage", "inputs": {}}
    verdict = host.validate(graph)
    assert verdict.outputs == ["4"] and verdict.error is None
    assert set(verdict.node_errors) == {"5"}


def test_an_error_upstream_is_reported_once_with_the_outputs_that_need_it(host, graph):
    graph["2"]["inputs"]["channel"] = "x"
    graph["5"] = {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}}
    verdict = host.validate(graph)
    assert set(verdict.node_errors) == {"2"}
    assert verdict.node_errors["2"]["dependent_outputs"] == ["4", "5"]


def test_partial_execution(host, graph):
    graph["5"] = {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}}
    assert host.validate(graph, ["5"]).outputs == ["5"]
    assert host.validate(graph, []).error["type"] == "prompt_no_outputs"


@pytest.mark.parametrize("prompt", [None, [], 3, "graph", {"1": None}, {"1": {"class_type": []}}])
def test_what_is_no_graph(host, prompt):
    assert host.validate(prompt).error["type"] in ("invalid_prompt", "missing_node_type")


def test_inputs_that_are_no_object(host):
    prompt = {"1": {"class_type": "PreviewImage", "inputs": [1]}}
    assert host.validate(prompt).error["type"] == "invalid_prompt"


def test_a_graph_of_five_thousand_nodes_in_a_row(host, graph):
    """Deeper than Python's recursion limit."""
    before = "3"
    for index in range(2500):
        mask, image = f"m{index}", f"i{index}"
        graph[mask] = {"class_type": "ImageToMask", "inputs": {"image": [before, 0], "channel": "red"}}
        graph[image] = {"class_type": "MaskToImage", "inputs": {"mask": [mask, 0]}}
        before = image
    graph["4"]["inputs"]["images"] = [before, 0]
    assert host.validate(graph).error is None


def test_types():
    assert types_fit("IMAGE", "IMAGE") and types_fit("IMAGE", "*") and types_fit("*", "MASK")
    assert types_fit("IMAGE,MASK", "MASK") and types_fit(["a"], "COMBO")
    assert not types_fit("IMAGE", "MASK") and not types_fit(["a"], "STRING")


def test_a_thousand_mutated_graphs_raise_nothing(host, graph):
    """Values, links and keys replaced at random; validation answers each time, with JSON that can be sent."""
    generator = random.Random(0)
    garbage = [None, True, -1, 10**30, 1e300, "", "..", "../x", [], ["1", 0], ["9", 0], ["4", 0], {}, {"__value__": []}]
    for _ in range(1000):
        mutated = copy.deepcopy(graph)
        for _ in range(generator.randint(1, 3)):
            node = mutated[generator.choice(list(mutated))]
            if not isinstance(node, dict):
                continue
            inputs = node.get("inputs")
            what = generator.random()
            if what < 0.6 and isinstance(inputs, dict) and inputs:
                inputs[generator.choice(list(inputs))] = copy.deepcopy(generator.choice(garbage))
            elif what < 0.8:
                node[generator.choice(["class_type", "inputs", "_meta"])] = copy.deepcopy(generator.choice(garbage))
            else:
                mutated[generator.choice(list(mutated))] = copy.deepcopy(generator.choice(garbage))
        verdict = host.validate(mutated)
        json.dumps([verdict.error, verdict.node_errors])
        assert (verdict.error is None) == bool(verdict.outputs)


def circle(n):
    """n nodes, each fed by the next and by another one: a graph of many circles."""
    graph = {
        str(i): {"class_type": "ImageBatch", "inputs": {"image1": [str((i + 1) % n), 0], "image2": [str(i * 7 % n), 0]}}
        for i in range(n)
    }
    graph["p"] = {"class_type": "PreviewImage", "inputs": {"images": ["0", 0]}}
    return graph


def chain(n):
    """n pictures shown one after another, from one that is not there."""
    graph = {"0": {"class_type": "LoadImage", "inputs": {"image": "nowhere.png"}}}
    for i in range(1, n):
        graph[str(i)] = {"class_type": "SaveImage", "inputs": {"images": [str(i - 1), 0], "filename_prefix": []}}
    return graph


def misread(n):
    """n nodes that each name a file by what is no name."""
    graph = {str(i): {"class_type": "LoadImage", "inputs": {"image": {}}} for i in range(n)}
    return graph | {f"p{i}": {"class_type": "PreviewImage", "inputs": {"images": [str(i), 0]}} for i in range(n)}


@pytest.mark.parametrize("make", [circle, chain, misread])
def test_an_answer_grows_with_the_graph_and_not_with_its_square(host, make):
    for index in range(300):
        (host.folders.input / f"{index}.png").touch()

    def size(n):
        verdict = host.validate(make(n))
        assert verdict.error is not None and verdict.node_errors
        return len(json.dumps(verdict.node_errors))

    assert size(800) < 5 * size(200)  # four times, and longer numbers
    assert size(800) < 800 * 4000


def test_of_a_long_circle_some_members_are_told(host):
    graph = {}
    for i in range(30):
        graph[str(i)] = {"class_type": "ImageStitch", "inputs": {"image1": [str((i + 1) % 30), 0]}}
        graph[str(i)]["inputs"] |= {"direction": "right", "match_image_size": True, "spacing_width": 0}
        graph[str(i)]["inputs"]["spacing_color"] = "white"
    graph["p"] = {"class_type": "PreviewImage", "inputs": {"images": ["0", 0]}}
    verdict = host.validate(graph)
    error = only_error(verdict, "0")
    assert error["extra_info"]["cycle_nodes"] == [*map(str, range(19)), "29"]
    assert verdict.outputs == [] and error["details"].endswith("29 (ImageStitch) -> 0 (ImageStitch)")
