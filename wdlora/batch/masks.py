"""Mask files of a batch: which there are, where a graph takes them, and whether they are what it takes them for.

A mask has pixels of the size that the graph measures with.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..clinic.images import decode
from ..clinic.masks import OUTLINED, binary_mask, drawn_as_outlines
from ..clinic.pictures import Decoded
from ..errors import InputError
from ..files import sha256
from ..graph import Graph
from ..graph.links import descendants, is_link
from ..graph.places import Place, find_place, is_free, title_of
from ..privacy.pseudonym import content_pseudonym

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
SAMPLER = "CCMSampleMasks"
UPLOADS = "wdlora-batch"
"""Subfolder of the input folder where masks go, and of the output folder where results come from."""

_CHANNELS = ("red", "green", "blue")
_LOADERS = ("LoadImageMask", "LoadImage", "CCMLoadImage")
_PIXEL_SIZE = "pixel_size_um"
_TOLERANCE = 0.01


@dataclass(frozen=True)
class Mask:
    """A mask file. `name` is what outputs call it, `stored` its name in a host's input folder."""

    path: Path
    name: str
    sha256: str

    @property
    def stored(self) -> str:
        """Its pseudonym: it says what is in the file, so no host mistakes it for another one, and not who it is of."""
        return content_pseudonym(self.sha256, self.path.name)


def find_masks(folder: str | Path, keep_names: bool = False) -> list[Mask]:
    """The pictures of a folder and the folders in it, in the order of their names.

    Of a folder that holds a folder `masks`, as `sample-masks` and data sets have it, only that is searched. Outputs
    call them by the SHA-256 of their content; with `keep_names` by their path below the folder. Raises InputError
    where there are none.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"there is no folder {root} with masks")
    top = root / "masks" if (root / "masks").is_dir() else root
    paths = sorted(
        path
        for path in top.rglob("*")
        if path.suffix.lower() in PICTURES
        and path.is_file()
        and not any(part.startswith((".", "__MACOSX")) for part in path.relative_to(top).parts)
    )
    if not paths:
        raise InputError(f"the folder {root} holds no masks; they are pictures: {', '.join(sorted(PICTURES))}")
    return [
        Mask(path, path.relative_to(root).as_posix() if keep_names else content_pseudonym(hash, path.name), hash)
        for path, hash in ((path, sha256(path)) for path in paths)
    ]


def mask_place(graph: Graph, given: str | None = None) -> Place:
    """Where the mask goes: `given` ("Title.input"), or the `image` of the one node that loads a picture.

    A graph that draws its masks with CCM Sample Masks gets a Load Image (as Mask) in its place, and its cohort is then
    the conditioning's own. Raises InputError where it is not clear which node is meant.
    """
    if given is not None:
        return find_place(graph, given)
    loaders = [id for id, node in graph.items() if is_free(node, "image") and node.get("class_type") in _LOADERS]
    if len(loaders) == 1:
        return Place(loaders[0], "image")
    samplers = [id for id, node in graph.items() if node.get("class_type") == SAMPLER]
    if not loaders and len(samplers) == 1:
        _load_instead(graph, samplers[0])
        return Place(samplers[0], "image")
    titles = ", ".join(repr(title_of(id, graph[id])) for id in loaders or samplers)
    known = f"it has {titles}" if titles else "it has none"
    raise InputError(f"masks need one node that loads a picture, but {known}: name it with --mask-input 'Title.image'")


def _load_instead(graph: Graph, sampler: str) -> None:
    """Put a Load Image (as Mask) in the place of CCM Sample Masks, under the same id."""
    title = title_of(sampler, graph[sampler])
    for id, node in graph.items():
        for key, value in list(node["inputs"].items()):
            if not is_link(value) or value[0] != sampler or value[1] == 0:
                continue
            if value[1] == 1 and key.startswith("linked_"):
                del node["inputs"][key]  # the node's own widget counts then
                continue
            lost = "the cohort" if value[1] == 1 else "the nerves as lines"
            raise InputError(
                f"{title_of(id, node)!r} takes {lost} from {title!r}, which a mask file does not have: "
                "leave --masks out, or use a graph that loads its mask"
            )
    graph[sampler] = {
        "class_type": "LoadImageMask",
        "inputs": {"image": "", "channel": "red"},
        "_meta": {"title": f"Mask file in place of {title}"},
    }


def check_masks(graph: Graph, masks: Sequence[Mask], at: Place, stated: Collection[Place]) -> str:
    """A note on masks that are drawn as outlines, or nothing.

    `at` is the place of the masks; `stated` are places whose value the caller gave, which counts whatever a file says.
    Raises InputError for what is no mask, and where a file's own pixel size is not what the graph measures with. What
    cannot be read is left to the host that runs the job.
    """
    used = {
        id: float(size)
        for id in descendants(graph, at.node)
        if isinstance(size := graph[id]["inputs"].get(_PIXEL_SIZE), int | float)
        and size > 0
        and Place(id, _PIXEL_SIZE) not in stated
    }
    taken = _taken_for_mask(graph, at.node)
    hollow = 0
    for mask in masks:
        try:
            picture = decode(mask.path)
        except InputError:
            continue
        if taken:
            hollow += drawn_as_outlines(_checked(mask, picture, taken), picture.pixel_size_um)
        if picture.pixel_size_um is not None:
            _check_pixel_size(graph, mask, picture.pixel_size_um, used)
    return f"{hollow} of {len(masks)} masks: {OUTLINED}" if hollow else ""


def _checked(mask: Mask, picture: Decoded, channels: Collection[str]) -> np.ndarray:
    """bool [H, W] of what is nerve. Raises InputError where that is not what the graph takes."""
    pixels = picture.pixels
    if pixels.ndim == 3:
        drawn = pixels.max(2) > pixels.max() / 2
        for channel in sorted(set(channels) & set(_CHANNELS)):
            lost = drawn & (pixels[..., _CHANNELS.index(channel)] <= pixels.max() / 2)
            if lost.sum() > 0.05 * drawn.sum():
                raise InputError(
                    f"{mask.path} is drawn in colours, of which the graph takes {channel} alone: "
                    "draw all nerves white on black"
                )
        pixels = pixels.max(2)
    try:
        return binary_mask(pixels)
    except InputError:
        raise InputError(f"{mask.path} is not a mask of nerves, white on black: take it out of the folder") from None


def _check_pixel_size(graph: Graph, mask: Mask, sides: tuple[float, float], used: dict[str, float]) -> None:
    wrong = [id for id, size in used.items() if max(abs(side / size - 1) for side in sides) > _TOLERANCE]
    if not wrong:
        return
    own = (sides[0] * sides[1]) ** 0.5
    titles = [title_of(id, node) for id, node in graph.items()]
    names = [title if titles.count(title := title_of(id, graph[id])) == 1 else id for id in wrong]
    options = " ".join(f"--set '{name}.{_PIXEL_SIZE}={own:.4f}'" for name in names)
    raise InputError(
        f"{mask.path} says that its pixels are {own:.4f} µm, and the graph measures with {used[wrong[0]]:g}: add "
        f"{options}; masks of several pixel sizes need a batch each"
    )


def _taken_for_mask(graph: Graph, loader: str) -> set[str]:
    """The channels of the picture that a node loads which become a mask at once."""
    takers = [
        node
        for id, node in graph.items()
        if (node.get("class_type") == "LoadImageMask" and id == loader)
        or (node.get("class_type") == "ImageToMask" and node["inputs"].get("image") == [loader, 0])
    ]
    return {str(node["inputs"].get("channel")) for node in takers} - {"alpha"}
