"""Places in a graph: inputs of nodes, as a user names them ("Title.input") and as they are found."""

from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..strict_json import loads
from . import Graph
from .links import is_link


@dataclass(frozen=True)
class Place:
    """An input of a node: the node's id and the input's name."""

    node: str
    input: str

    def title(self, graph: Graph) -> str:
        """ "Title.input", as a user writes it."""
        return f"{title_of(self.node, graph.get(self.node))}.{self.input}"

    def put(self, graph: Graph, value: Any) -> None:
        """Give the input a value."""
        graph[self.node]["inputs"][self.input] = value


def title_of(node_id: str, node: Any) -> str:
    """The title that the front end shows: the node's own, or its class."""
    meta = node.get("_meta") if isinstance(node, dict) else None
    own = meta.get("title") if isinstance(meta, dict) else None
    return str(own or (node.get("class_type") if isinstance(node, dict) else None) or node_id)


def titles_in(graph: Graph) -> dict[str, str]:
    """The title of every node, by its id."""
    return {id: title_of(id, node) for id, node in graph.items()}


def find_place(graph: Graph, target: str) -> Place:
    """The place that "Title.input" or "id.input" names; of two nodes of one title none is meant.

    Raises InputError where it is not exactly one node's input that has a value of its own.
    """
    name, dot, key = target.rpartition(".")
    if not dot or not name or not key:
        raise InputError(f'{target!r} names no input; write "Title.input"')
    nodes = {id: node for id, node in graph.items() if isinstance(node, dict)}
    meant = [id for id, node in nodes.items() if title_of(id, node) == name] or [id for id in nodes if id == name]
    if len(meant) != 1:
        known = ", ".join(sorted(set(titles_in(nodes).values())))
        count = f"{len(meant)} nodes" if meant else "no node"
        raise InputError(f"{count} of the title {name!r}; the graph has: {known}")
    inputs = nodes[meant[0]].get("inputs")
    if not isinstance(inputs, dict) or key not in inputs:
        known = ", ".join(inputs) if isinstance(inputs, dict) else ""
        raise InputError(f"the node {name!r} has no input {key!r}; it has: {known}")
    if is_link(inputs[key]):
        raise InputError(f"the input {key!r} of {name!r} is linked to another node, so it has no value to set")
    return Place(meant[0], key)


def set_value(graph: Graph, assignment: str) -> Place:
    """Set one widget by "Title.input=value" or "id.input=value"; the value is JSON, or else a text.

    Returns the place that was set. Raises InputError as `find_place` does.
    """
    target, equals, text = assignment.partition("=")
    if not equals or not all(target.rpartition(".")):
        raise InputError(f'{assignment!r} is not an assignment; write "Title.input=value"')
    place = find_place(graph, target)
    place.put(graph, parse_value(text))
    return place


def parse_value(text: str) -> Any:
    """A value as a user writes it: JSON, or else a text. Raises InputError for NaN and infinities."""
    try:
        return loads(text)
    except InputError:
        raise InputError(f"{text[:40]} is not a number that a graph can hold; give a finite one") from None
    except (ValueError, RecursionError):
        return text


def free_places(graph: Graph, name: str) -> tuple[Place, ...]:
    """Every input of that name that has a value of its own."""
    return tuple(Place(id, name) for id, node in graph.items() if is_free(node, name))


def is_free(node: Any, name: str) -> bool:
    """Whether a node has an input of that name with a value of its own."""
    return name in node["inputs"] and not is_link(node["inputs"][name])
