"""Whether mask files are what a graph takes them for: masks, with pixels of the size that it measures with."""

from collections.abc import Collection, Sequence

from ..clinic.images import ClinicImage, as_mask, read_image
from ..errors import InputError
from ..graph.links import is_link
from ..graph.places import title_of
from .jobs import Graph, Mask

_KEY = "pixel_size_um"
_TOLERANCE = 0.01


def check_masks(graph: Graph, masks: Sequence[Mask], at: str, stated: Collection[str]) -> None:
    """Raise InputError for what is no mask, and where a file's own pixel size is not what the graph measures with.

    `at` is the place ("node id.input") of the masks; `stated` are places whose value the caller gave, which counts
    whatever a file says. What cannot be read is left to the host that runs the job.
    """
    loader = at.rpartition(".")[0]
    used = {
        id: float(size)
        for id in _fed_by(graph, loader)
        if isinstance(size := graph[id]["inputs"].get(_KEY), int | float) and size > 0 and f"{id}.{_KEY}" not in stated
    }
    taken = _taken_for_mask(graph, loader)
    for mask in masks:
        try:
            picture = read_image(mask.path)
        except InputError:
            continue
        if taken:
            _check_mask(mask, picture)
        if picture.pixel_size_um is not None:
            _check_pixel_size(graph, mask, picture.pixel_size_um, used)


def _check_mask(mask: Mask, picture: ClinicImage) -> None:
    try:
        as_mask(picture.pixels)
    except InputError:
        raise InputError(f"{mask.path} is no mask of nerves, white on black: take it out of the folder") from None


def _check_pixel_size(graph: Graph, mask: Mask, sides: tuple[float, float], used: dict[str, float]) -> None:
    wrong = [id for id, size in used.items() if max(abs(side / size - 1) for side in sides) > _TOLERANCE]
    if not wrong:
        return
    own = (sides[0] * sides[1]) ** 0.5
    titles = [title_of(id, node) for id, node in graph.items()]
    names = [title if titles.count(title := title_of(id, graph[id])) == 1 else id for id in wrong]
    options = " ".join(f"--set '{name}.{_KEY}={own:.4f}'" for name in names)
    raise InputError(
        f"{mask.path} says that its pixels are {own:.4f} µm, and the graph measures with {used[wrong[0]]:g}: add "
        f"{options}; masks of several pixel sizes need a batch each"
    )


def _taken_for_mask(graph: Graph, loader: str) -> bool:
    """Whether colours of the picture that a node loads become a mask at once."""
    takers = [
        node
        for id, node in graph.items()
        if (node.get("class_type") == "LoadImageMask" and id == loader)
        or (node.get("class_type") == "ImageToMask" and node["inputs"].get("image") == [loader, 0])
    ]
    return any(node["inputs"].get("channel") != "alpha" for node in takers)


def _fed_by(graph: Graph, source: str) -> list[str]:
    """A node and all that take something from it, in the graph's order."""
    found: set[str] = set()
    wave = {source}
    while wave:
        found |= wave
        wave = {
            id
            for id, node in graph.items()
            if id not in found and any(is_link(value) and value[0] in wave for value in node["inputs"].values())
        }
    return [id for id in graph if id in found]
