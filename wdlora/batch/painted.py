"""What the graph of a job painted: the files that show it, the cohort, and the size of a pixel."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..cohorts import NO_PROMPT, TEXT_ONLY
from ..errors import InputError
from ..graph import Graph
from ..graph.links import linked
from ..graph.places import title_of

_CONDITIONING = "CCMConditioning"
_DRAWS_MASKS = "CCMDegenerate"
_DRAWINGS = ("MaskToImage", "CCMTrace", "CCMBiomarkers")
"""Nodes whose pictures are drawn of a picture, and are none that a model painted."""


def painted_files(graph: Graph, record: Mapping[str, Any]) -> Iterator[str]:
    """The PNG files of a result that show what a model painted: in a graph that decodes no latents, all of them."""
    decodes = any(_decodes(node) for node in graph.values())
    for output in record["outputs"]:
        if not decodes or _shows_painted(graph, output["node"]):
            yield from (file["file"] for file in output["files"] if file["file"].lower().endswith(".png"))


def cohort_of(graph: Graph) -> str:
    """The cohort under which a graph paints the masks that it is given; empty where no CCM Conditioning says it.

    Raises InputError where there are several, where a link brings it or it is none, and where the graph degenerates
    nerves.
    """
    named: dict[str, str] = {}
    for id, node in graph.items():
        title, inputs = title_of(id, node), node["inputs"]
        if node.get("class_type") == _DRAWS_MASKS:
            raise InputError(f"{title!r} draws masks of its own, so that the mask files do not show what was painted")
        if node.get("class_type") != _CONDITIONING:
            continue
        cohort = inputs.get("linked_cohort") or inputs.get("cohort")
        if not isinstance(cohort, str):
            raise InputError(f"a link brings the cohort of {title!r}: remove the link and choose the cohort there")
        if cohort in (TEXT_ONLY, NO_PROMPT):
            raise InputError(f"they were painted without a cohort ({cohort!r} in {title!r}): choose a cohort there")
        named.setdefault(cohort.strip().lower(), cohort)
    if len(named) > 1:
        raise InputError(
            f"their graph paints several cohorts ({', '.join(named.values())}): use a graph with one CCM Conditioning, "
            "and name the cohorts with --cohort"
        )
    return next(iter(named.values()), "")


def pixel_size_of(graph: Graph) -> str:
    """The side of a pixel in µm with which all nodes of a graph measure; empty where there is none, where there are
    several, and where a link brings it.
    """
    stated = [node["inputs"]["pixel_size_um"] for node in graph.values() if "pixel_size_um" in node["inputs"]]
    sizes = {size if isinstance(size, int | float) else 0 for size in stated}
    return f"{sizes.pop():.6g}" if len(sizes) == 1 and min(sizes) > 0 else ""


def _shows_painted(graph: Graph, node: str) -> bool:
    """Whether a picture comes from decoded latents without being drawn anew on the way."""
    waiting, seen = [node], set()
    while waiting:
        id = waiting.pop()
        if id in seen or id not in graph or graph[id].get("class_type") in _DRAWINGS:
            continue
        if _decodes(graph[id]):
            return True
        seen.add(id)
        waiting += linked(graph[id]["inputs"], graph)
    return False


def _decodes(node: Mapping[str, Any]) -> bool:
    return str(node.get("class_type")).startswith("VAEDecode")
