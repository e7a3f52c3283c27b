"""Links of a graph: which nodes feed which, in what order they run, and what lies above and below a node."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum, auto
from typing import Any

from . import Graph

Parents = Callable[[str], Iterable[str]]
"""The nodes that feed a node."""


def is_link(value: object) -> bool:
    """Whether an input is a link [node id, output index].

    Only in a node's `inputs` is such a list a link; anywhere else it is a text and a number. True and False are no
    indices, though Python counts them as whole numbers.
    """
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int


def linked(inputs: Mapping[str, Any], graph: Graph) -> list[str]:
    """The nodes of a graph that some inputs link to, in the inputs' order.

    ComfyUI follows a link whose index is a float, so it counts here, although `is_link` has none such.
    """
    return [
        value[0]
        for value in inputs.values()
        if isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int | float)
        and value[0] in graph
    ]


def parents_in(graph: Graph) -> Parents:
    """The nodes that feed a node of `graph`, by all of its inputs."""
    return lambda node_id: linked(graph[node_id]["inputs"], graph)


LONGEST_CIRCLE = 20
"""Nodes of a circle that are named."""


class Step(Enum):
    """What a walk comes by: a node before all that it needs, the node after it, or a circle of links."""

    ENTER = auto()
    LEAVE = auto()
    CIRCLE = auto()


def walk(starts: Iterable[str], parents: Parents) -> Iterator[tuple[Step, list[str]]]:
    """Visit some nodes and everything that they need, depth first and each once.

    Yields ENTER and LEAVE with the node's id, CIRCLE with the ids around it, of which the first and last are one. Of a
    circle of more than `LONGEST_CIRCLE` nodes only so many are told, the last among them: what is said of a graph grows
    with its nodes and not with their square. Parents are asked for after ENTER was taken, which may change the graph.
    Without recursion: a graph may be thousands deep.
    """
    path: list[str] = []
    on_path: dict[str, int] = {}
    left: set[str] = set()
    for start in starts:
        todo = [(start, False)]
        while todo:
            node_id, done = todo.pop()
            if done:
                left.add(path.pop())
                del on_path[node_id]
                yield Step.LEAVE, [node_id]
            elif node_id in on_path:
                first = on_path[node_id]
                around = path[first : first + LONGEST_CIRCLE]
                if len(path) - first > LONGEST_CIRCLE:
                    around[-1] = path[-1]
                yield Step.CIRCLE, [*around, node_id]
            elif node_id not in left:
                on_path[node_id] = len(path)
                path.append(node_id)
                yield Step.ENTER, [node_id]
                todo.append((node_id, True))
                todo.extend((parent, False) for parent in reversed(list(parents(node_id))))


def execution_order(graph: Graph, outputs: Iterable[str]) -> list[str]:
    """Every node that `outputs` need, parents first. The graph must be free of circles (validation sees to it)."""
    return [node_id for step, (node_id, *_) in walk(outputs, parents_in(graph)) if step is Step.LEAVE]


def ancestors(node_id: str, parents: Parents) -> list[str]:
    """A node and everything that it needs, the node itself first."""
    found: list[str] = []
    seen, todo = {node_id}, [node_id]
    while todo:
        found.append(todo.pop())
        new = [parent for parent in dict.fromkeys(parents(found[-1])) if parent not in seen]
        seen.update(new)
        todo.extend(new)
    return found


def descendants(graph: Graph, node_id: str) -> list[str]:
    """A node and everything that takes something from it, directly or not, in the graph's order."""
    found: set[str] = set()
    wave = {node_id}
    while wave:
        found |= wave
        wave = {
            id for id, node in graph.items() if id not in found and not wave.isdisjoint(linked(node["inputs"], graph))
        }
    return [id for id in graph if id in found]
