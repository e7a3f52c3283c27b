"""ComfyUI's validation errors as sentences for a reader."""

from typing import Any

from . import Graph
from .places import title_of

MISSING_FILE = "missing_file"
"""Key of an error's extra information, true where the node lacks a model's file; ComfyUI's own errors have none."""


def refusal(error: dict[str, Any] | None, node_errors: dict[str, Any], prompt: Graph) -> str:
    """Why a graph was refused, one part a node under the node's title."""
    if not node_errors:
        return str((error or {}).get("message") or "the graph was refused")
    return "; ".join(
        f"{title_of(id, prompt.get(id, {}))}: {node_refusal(errors)}" for id, errors in node_errors.items()
    )


def node_refusal(errors: dict[str, Any]) -> str:
    """What is wrong with one node; what the node's own validator says stands alone and once for all inputs."""
    sentences = []
    for one in errors.get("errors", []):
        details = str(one.get("details") or "")
        if one.get("type") == "custom_validation_failed" and " - " in details:
            sentences.append(details.partition(" - ")[2])
        else:
            sentences.append(f"{one.get('message')} ({details})" if details else str(one.get("message")))
    return ", ".join(dict.fromkeys(sentences))


def miniature_hint(node_errors: dict[str, Any], models: str) -> str:
    """The end of the sentence where files of a model are missing, which the miniature could stand in for; else "".

    `models`: where the host's folder of that name is.
    """
    errors = [error for of_node in node_errors.values() for error in of_node.get("errors", [])]
    if any((error.get("extra_info") or {}).get(MISSING_FILE) for error in errors):
        return f" ({models}); or add --miniature, and the small model that ships with the pack is used"
    return ""
