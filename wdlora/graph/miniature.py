"""The miniature in the place of the models that a graph loads."""

from collections.abc import Collection
from typing import Any

from ..errors import InputError
from . import Graph
from .links import is_link
from .places import Place, title_of

MINIATURE = "miniature"
LOADER = "WDLoRALoadQwenImageEdit"
APPLY = "WDLoRAApply"
CONDITIONING = "CCMConditioning"
SHOWN = 12
TRACE, LINES = "CCMTrace", "lines"
_OUTPUT_OF_LOADER = {"UNETLoader": 0, "CLIPLoader": 1, "VAELoader": 2}


def use_miniature(graph: Graph, object_info: dict[str, Any], stated: Collection[Place] = ()) -> list[str]:
    """Put the miniature in the place of every model that a graph loads.

    Inputs that offer the value "miniature" are set to it; the core loaders of transformer, text encoder and VAE give
    way to one `WDLoRALoadQwenImageEdit` that is set so. CCM Trace takes the line filters. Adapters that are not there,
    because they belong to the big model, are left out; the result is a sentence for each. `object_info` says what
    inputs offer, `stated` are the places to which the user gave a value. Raises InputError where the graph loads no
    model, and where a stated value is not offered or would be replaced.
    """
    left_out = []
    for place in stated:
        _check_stated(graph, place, object_info)
    nodes = {
        id: node for id, node in graph.items() if isinstance(node, dict) and isinstance(node.get("class_type"), str)
    }
    changed = False
    said = {(place.node, place.input) for place in stated}
    for id, node in nodes.items():
        inputs = node.get("inputs")
        for name in _offering(object_info.get(str(node.get("class_type")), {})):
            if isinstance(inputs, dict) and not is_link(inputs.get(name)):
                inputs[name] = MINIATURE
                changed = True
        if node.get("class_type") == CONDITIONING and isinstance(inputs, dict) and not is_link(inputs.get("variant")):
            inputs["variant"] = "auto"  # the miniature knows what it is
        free = (id, "segmenter") not in said and isinstance(inputs, dict) and not is_link(inputs.get("segmenter"))
        if node.get("class_type") == TRACE and free and isinstance(inputs, dict):
            inputs["segmenter"] = LINES  # what the miniature paints are lines, not corneas
        if node.get("class_type") == APPLY and isinstance(inputs, dict):
            known = _options(_declared(object_info.get(APPLY, {})).get("adapter", [[]]))
            if not is_link(inputs.get("adapter")) and inputs.get("adapter") not in known:
                left_out.append(
                    f"{title_of('', node)}: the adapter {inputs.get('adapter')!r} of the graph is not in the models "
                    "folder and was left out: this is the base model's picture"
                )
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
    return left_out


def _check_stated(graph: Graph, place: Place, object_info: dict[str, Any]) -> None:
    kind, value = graph[place.node].get("class_type"), graph[place.node]["inputs"][place.input]
    spec = _declared(object_info.get(str(kind), {})).get(place.input)
    options = [] if spec is None else _options(spec)
    for_big_model = kind == CONDITIONING and place.input == "variant" and value != "auto"
    if kind in _OUTPUT_OF_LOADER or for_big_model or (MINIATURE in options and value != MINIATURE):
        raise InputError(
            f"--miniature takes the place of {place.title(graph)}, which was set to {value!r}: leave one of the two out"
        )
    if options and value not in options:
        shown = ", ".join(map(str, options[:SHOWN])) + (" …" if len(options) > SHOWN else "")
        raise InputError(f"{place.title(graph)} was set to {value!r}, which is not there; there are: {shown}")


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
