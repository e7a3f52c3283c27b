"""Links by hand: what is one, the order in which nodes run, and what lies above and below a node."""

import pytest

from wdlora.graph.links import Step, ancestors, descendants, execution_order, is_link, linked, parents_in, walk


def node(*parents, **values):
    """A node that takes something from each of its parents."""
    return {"inputs": {**values, **{f"input{index}": [parent, 0] for index, parent in enumerate(parents)}}}


DIAMOND = {"a": node(), "b": node("a"), "c": node("a"), "d": node("b", "c"), "e": node("c"), "alone": node()}
"""a feeds b and c, both feed d; e takes from c."""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["1", 0], True),
        (["Smith.png", 2], True),  # in the inputs of a node; elsewhere a text and a number
        ([1, 0], False),
        (["1", True], False),
        (["1", 0.0], False),
        (["1", 0, 0], False),
        (["1"], False),
        (("1", 0), False),
        ("1", False),
        (None, False),
    ],
)
def test_links(value, expected):
    assert is_link(value) is expected


def test_nodes_that_inputs_link_to():
    """ComfyUI follows an index that is a float; what names no node of the graph leads nowhere."""
    inputs = {"x": ["b", 0], "y": ["a", 1.0], "z": ["gone", 0], "text": ["a", "b"], "value": 3, "deep": [["a", 0], 0]}
    assert linked(inputs, DIAMOND) == ["b", "a"]


def test_parents_come_first():
    assert execution_order(DIAMOND, ["d"]) == ["a", "b", "c", "d"]
    assert execution_order(DIAMOND, ["e", "d", "e"]) == ["a", "c", "e", "b", "d"]


def test_above_and_below():
    assert ancestors("d", parents_in(DIAMOND)) == ["d", "c", "a", "b"]
    assert ancestors("alone", parents_in(DIAMOND)) == ["alone"]
    assert descendants(DIAMOND, "c") == ["c", "d", "e"]
    assert descendants(DIAMOND, "a") == ["a", "b", "c", "d", "e"]


def test_a_circle_is_told_with_its_members():
    graph = {"out": node("a"), "a": node("b"), "b": node("c"), "c": node("a")}
    steps = list(walk(["out"], parents_in(graph)))
    assert (Step.CIRCLE, ["a", "b", "c", "a"]) in steps
    assert [ids for step, ids in steps if step is Step.LEAVE] == [["c"], ["b"], ["a"], ["out"]]
    assert sorted(ancestors("a", parents_in(graph))) == descendants(graph, "a")[1:] == ["a", "b", "c"]


def test_a_node_linked_twice_is_visited_once():
    graph = {"a": node(), "b": node("a", "a")}
    assert [ids for step, ids in walk(["b"], parents_in(graph)) if step is Step.ENTER] == [["b"], ["a"]]
    assert ancestors("b", parents_in(graph)) == ["b", "a"]


def test_a_graph_may_be_deep():
    depth = 5000
    graph = {"0": node()} | {str(index): node(str(index - 1)) for index in range(1, depth)}
    assert execution_order(graph, [str(depth - 1)]) == [str(index) for index in range(depth)]
    assert len(ancestors(str(depth - 1), parents_in(graph))) == depth


def test_a_long_circle_is_told_in_part():
    graph = {str(i): node(str((i + 1) % 50)) for i in range(50)}
    (circle,) = [ids for step, ids in walk(["0"], parents_in(graph)) if step is Step.CIRCLE]
    assert circle == [*map(str, range(19)), "49", "0"]
