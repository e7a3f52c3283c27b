"""Graphs as files: an API-format workflow, or the one that a picture carries."""

from pathlib import Path

from ..errors import InputError
from ..strict_json import loads
from . import Graph


def read_graph(path: str | Path) -> Graph:
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
        graph = loads(text)
    except InputError as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    if isinstance(graph, dict) and isinstance(graph.get("nodes"), list):
        twin = path.parent / "api" / path.name
        if twin.is_file():
            return read_graph(twin)
        raise InputError(
            f"{path} is a workflow for the front end; export it there with File → Export (API), or drop it on the page"
        )
    if isinstance(graph, dict) and isinstance(graph.get("prompt"), dict) and "class_type" not in graph["prompt"]:
        graph = graph["prompt"]  # the body of POST /prompt
    if not isinstance(graph, dict):
        raise InputError(f"{path} holds no graph: an API-format workflow is a JSON object of nodes")
    return graph


def check_graph(graph: Graph) -> None:
    """Raise InputError unless every node of the graph is an object with inputs."""
    for id, node in graph.items():
        if not isinstance(node, dict) or not isinstance(node.get("inputs", {}), dict):
            raise InputError(f"the node {id!r} of the graph is not a node: it needs class_type and inputs")
        node.setdefault("inputs", {})


def _in_picture(path: Path) -> str:
    from PIL import Image

    from ..clinic.pictures import DAMAGED

    try:
        with Image.open(path) as picture:
            text = getattr(picture, "text", {}).get("prompt")
    except DAMAGED as error:
        raise InputError(f"{path} cannot be read as a picture: {error}") from None
    if text is None:
        raise InputError(f"{path} holds no graph; pictures saved by Save Image do")
    return text
