"""Graphs as files: read one, set values by node title, put the miniature in a full-size graph's place."""

import json
from pathlib import Path
from typing import Any

from ..errors import InputError
from .validation import is_link


def read(path: str | Path) -> dict[str, Any]:
    """The API-format graph of a JSON file, or the one in a PNG that a host wrote.

    Raises InputError for a file that is neither, and for a workflow in the front end's own format, with the name of
    its API twin where that lies in the folder `api` beside it.
    """
    path = Path(path)
    try:
        text = _in_picture(path) if path.suffix.lower() == ".png" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        graph = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}") from None
    if isinstance(graph, dict) and isinstance(graph.get("nodes"), list):
        twin = path.parent / "api" / path.name
        if twin.is_file():
            return read(twin)
        raise InputError(
            f"{path} is a workflow for the front end; export it there with File → Export (API), or drop it on the page"
        )
    if isinstance(graph, dict) and isinstance(graph.get("prompt"), dict) and "class_type" not in graph["prompt"]:
        graph = graph["prompt"]  # the body of POST /prompt
    if not isinstance(graph, dict):
        raise InputError(f"{path} holds no graph: an API-format workflow is a JSON object of nodes")
    return graph


def _in_picture(path: Path) -> str:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            text = getattr(picture, "text", {}).get("prompt")
    except (UnidentifiedImageError, SyntaxError) as error:
        raise InputError(f"{path} cannot be read as a picture: {error}") from None
    if text is None:
        raise InputError(f"{path} holds no graph; pictures saved by Save Image do")
    return text


def title(node_id: str, node: Any) -> str:
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
    meant = [id for id, node in nodes.items() if title(id, node) == name] or [id for id in nodes if id == name]
    if len(meant) != 1:
        known = ", ".join(sorted({title(id, node) for id, node in nodes.items()}))
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


MINIATURE = "miniature"
LOADER = "WDLoRALoadQwenImageEdit"
APPLY = "WDLoRAApply"
_OUTPUT_OF_LOADER = {"UNETLoader": 0, "CLIPLoader": 1, "VAELoader": 2}


def use_miniature(graph: dict[str, Any], object_info: dict[str, Any]) -> None:
    """Put the miniature in the place of every model that a graph loads.

    Inputs that offer the value "miniature" are set to it; the core loaders of transformer, text encoder and VAE give
    way to one `WDLoRALoadQwenImageEdit` that is set so. Adapters that are not there, because they belong to the big
    model, are left out. `object_info` says what inputs offer. Raises InputError where the graph loads no model.
    """
    nodes = {
        id: node for id, node in graph.items() if isinstance(node, dict) and isinstance(node.get("class_type"), str)
    }
    changed = False
    for node in nodes.values():
        inputs = node.get("inputs")
        for name in _offering(object_info.get(str(node.get("class_type")), {})):
            if isinstance(inputs, dict) and not is_link(inputs.get(name)):
                inputs[name] = MINIATURE
                changed = True
        if node.get("class_type") == APPLY and isinstance(inputs, dict):
            known = _options(_declared(object_info.get(APPLY, {})).get("adapter", [[]]))
            if not is_link(inputs.get("adapter")) and inputs.get("adapter") not in known:
                inputs |= {"adapter": "none", "sha256": ""}
    replaced = {id: node["class_type"] for id, node in nodes.items() if node.get("class_type") in _OUTPUT_OF_LOADER}
    if replaced and LOADER in object_info:
        loader = next(id for id in (MINIATURE, *map(str, range(len(graph) + 1))) if id not in graph)
        graph[loader] = {
            "class_type": LOADER,
            "inputs": _defaults(object_info[LOADER]),
            "_meta": {"title": "Miniature"},
        }
        for id in replaced:
            del graph[id]
        for node in nodes.values():
            inputs = node.get("inputs")
            if not isinstance(inputs, dict):
                continue
            for name, value in inputs.items():
                if is_link(value) and value[0] in replaced:
                    inputs[name] = [loader, _OUTPUT_OF_LOADER[replaced[value[0]]]]
        changed = True
    if not changed:
        raise InputError("the graph loads no Qwen-Image-Edit, so there is nothing to put the miniature in place of")


def _declared(info: dict[str, Any]) -> dict[str, Any]:
    inputs = info.get("input", {})
    return {**inputs.get("required", {}), **inputs.get("optional", {})}


def _options(spec: Any) -> list[Any]:
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    return kind if isinstance(kind, list) else options.get("options") or []


def _offering(info: dict[str, Any]) -> list[str]:
    return [name for name, spec in _declared(info).items() if MINIATURE in _options(spec)]


def _defaults(info: dict[str, Any]) -> dict[str, Any]:
    """Values for a node's widgets: "miniature" where it is offered, else the default, else the first option."""
    values = {}
    for name, spec in _declared(info).items():
        options = _options(spec)
        default = spec[1].get("default", options[0] if options else None) if len(spec) > 1 else None
        if MINIATURE in options:
            values[name] = MINIATURE
        elif default is not None:
            values[name] = default
    return values
