"""Places in a graph: inputs of nodes, named by the node's title or id and the input."""

import json
from typing import Any

from ..errors import InputError
from .links import is_link


def title_of(node_id: str, node: Any) -> str:
    """The title that the front end shows: the node's own, or its class."""
    meta = node.get("_meta") if isinstance(node, dict) else None
    own = meta.get("title") if isinstance(meta, dict) else None
    return str(own or (node.get("class_type") if isinstance(node, dict) else None) or node_id)


def set_value(graph: dict[str, Any], assignment: str) -> None:
    """Set one widget by "Title.input=value" or "id.input=value"; the value is JSON, or else a text.

    Raises InputError where no node or more than one is meant, where the node has no such input, or where the input
    is linked.
    """
    target, equals, text = assignment.partition("=")
    name, dot, key = target.rpartition(".")
    if not equals or not dot or not name or not key:
        raise InputError(f'{assignment!r} is no assignment; write "Title.input=value"')
    nodes = {id: node for id, node in graph.items() if isinstance(node, dict)}
    meant = [id for id, node in nodes.items() if title_of(id, node) == name] or [id for id in nodes if id == name]
    if len(meant) != 1:
        known = ", ".join(sorted({title_of(id, node) for id, node in nodes.items()}))
        said = "no node" if not meant else f"{len(meant)} nodes"
        raise InputError(f"{said} of the title {name!r}; the graph has: {known}")
    inputs = nodes[meant[0]].get("inputs")
    if not isinstance(inputs, dict) or key not in inputs:
        known = ", ".join(inputs) if isinstance(inputs, dict) else ""
        raise InputError(f"the node {name!r} has no input {key!r}; it has: {known}")
    if is_link(inputs[key]):
        raise InputError(f"the input {key!r} of {name!r} is linked to another node, so it has no value to set")
    try:
        inputs[key] = json.loads(text)
    except ValueError:
        inputs[key] = text
