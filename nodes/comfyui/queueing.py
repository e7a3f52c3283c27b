"""What is noted of a graph when it is put into ComfyUI's queue: core Save Image writes it into pictures."""

from typing import Any

from .. import studies


def note_studies() -> None:
    """From now on, note the hashes of a graph's studies beside the workflow that goes with it."""
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.add_on_prompt_handler(noted)


def noted(request: dict[str, Any]) -> dict[str, Any]:
    """A request of /prompt with the hashes in its `extra_pnginfo`; one that is not of ComfyUI's form as it is."""
    graph = request.get("prompt")
    if not isinstance(graph, dict) or not all(_is_node(node) for node in graph.values()):
        return request
    stamps = studies.stamps(graph)
    extra = request.get("extra_data") or {}
    pnginfo = extra.get("extra_pnginfo") or {} if isinstance(extra, dict) else None
    if not stamps or not isinstance(pnginfo, dict):
        return request
    return request | {"extra_data": extra | {"extra_pnginfo": pnginfo | stamps}}


def _is_node(node: Any) -> bool:
    return isinstance(node, dict) and isinstance(node.get("inputs"), dict)
