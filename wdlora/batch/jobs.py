"""What a batch consists of: one graph, and for each job the values that differ, by node title and input name."""

import copy
import itertools
import json
import math
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cohorts import COHORTS
from ..errors import InputError
from ..files import sha256
from ..graph.links import is_link
from ..graph.places import set_value, title_of
from ..privacy.names import Names
from ..privacy.pseudonym import content_pseudonym

Graph = dict[str, Any]

NAMESPACE = uuid.UUID("c4d7c0e7-6d2e-5d6a-9d0b-2f3a4f1c7a55")
"""Of the UUID5 of every job."""

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
UPLOADS = "wdlora-batch"
"""Subfolder of the input folder where masks go, and of the output folder where results come from."""

SAMPLER = "CCMSampleMasks"
_LOADERS = ("LoadImageMask", "LoadImage", "CCMLoadImage")
_LARGEST_SEED = 2**53 - 1
_MOST_JOBS = 500_000
"""Each holds its graph, some eight kilobytes."""


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


@dataclass(frozen=True)
class Job:
    """One run of the graph. `id` is the UUID5 of the graph that is run; `values` are those that differ, by place.

    `graph` is what hosts get; names of input files are pseudonyms in all else, also in the graph that `id` is made of,
    since an id would confirm a guess at them.
    """

    id: str
    name: str
    values: dict[str, Any]
    mask: Mask | None
    graph: Graph

    def prompt(self, attempt: int = 0) -> Graph:
        """The graph to run: what it saves goes to a folder of the job's own."""
        prompt = copy.deepcopy(self.graph)
        for node in prompt.values():
            prefix = node["inputs"].get("filename_prefix")
            if isinstance(prefix, str):
                node["inputs"]["filename_prefix"] = f"{self.folder(attempt)}/{prefix.replace(chr(92), '/')}"
        return prompt

    def folder(self, attempt: int = 0) -> str:
        """Where this job's files go in a host's output folder."""
        return f"{UPLOADS}/{self.id}" + (f"-{attempt}" if attempt else "")


@dataclass(frozen=True)
class Axis:
    """One thing that differs between jobs: values for the inputs named by `places` ("node id.input")."""

    label: str
    places: tuple[str, ...]
    values: tuple[Any, ...]


def parse_seeds(text: str) -> list[int]:
    """ "0:100" (100 is left out), "3", or several of them with commas. Raises InputError."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,16})\s*(?::\s*(\d{1,16})\s*)?", part)
        if match is None:
            raise InputError(f"the seeds {text!r} cannot be read: write 0:100, 7 or 1,5,10:20")
        first = int(match[1])
        last = int(match[2]) if match[2] else first + 1
        if last <= first or last - 1 > _LARGEST_SEED:
            raise InputError(f"the seeds {part.strip()!r} are none: write FIRST:END with END above FIRST, below 2^53")
        if last - first > _MOST_JOBS:
            raise InputError(f"the seeds {part.strip()!r} are more than {_MOST_JOBS:,} jobs")
        seeds.extend(range(first, last))
    return list(dict.fromkeys(seeds))


def parse_cohorts(names: Iterable[str]) -> list[str]:
    """Names of cohorts, with commas or apart; "all" is all of them. Raises InputError."""
    found: list[str] = []
    for name in (part.strip() for text in names for part in text.split(",")):
        if name == "all":
            found.extend(COHORTS)
        elif name in COHORTS:
            found.append(name)
        else:
            raise InputError(f"there is no cohort {name!r}; the cohorts are {', '.join(COHORTS)}")
    return list(dict.fromkeys(found))


def parse_variation(graph: Graph, text: str) -> Axis:
    """ "Title.input=1,2,3" or "Title.input=["a", "b"]". Raises InputError."""
    target, equals, listed = text.partition("=")
    place = find(graph, target, text if equals else f"{text}=")
    try:
        values = json.loads(listed)
    except ValueError:
        values = None
    if not isinstance(values, list):
        values = [_value(part.strip()) for part in listed.split(",")]
    if not values or not listed.strip():
        raise InputError(f"{text!r} names no values; write --vary 'Title.input=1,2,3'")
    return Axis(target.rpartition(".")[2], (place,), tuple(values))


def find(graph: Graph, target: str, said: str | None = None) -> str:
    """ "node id.input" of "Title.input". Raises InputError where it is not exactly one unlinked input."""
    trial = copy.deepcopy(graph)
    marker = uuid.uuid4().hex
    set_value(trial, said if said and not said.endswith("=") else f"{target}={marker}")
    name, _, key = target.rpartition(".")
    ids = [id for id, node in graph.items() if title_of(id, node) == name] or [name]
    return f"{ids[0]}.{key}"


def find_masks(folder: str | Path, keep_names: bool = False) -> list[Mask]:
    """The pictures of a folder and the folders in it, in the order of their names.

    Of a folder that holds a folder `masks`, as `sample-masks` and data sets have it, only that is searched. Outputs
    call them by the SHA-256 of their content; with `keep_names` by their path below the folder. Raises InputError
    where there are none.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"there is no folder {root} with masks")
    paths = sorted(
        path
        for path in (root / "masks" if (root / "masks").is_dir() else root).rglob("*")
        if path.suffix.lower() in PICTURES and path.is_file() and not path.name.startswith(".")
    )
    if not paths:
        raise InputError(f"the folder {root} holds no masks; they are pictures: {', '.join(sorted(PICTURES))}")
    return [
        Mask(path, path.relative_to(root).as_posix() if keep_names else content_pseudonym(hash, path.name), hash)
        for path, hash in ((path, sha256(path)) for path in paths)
    ]


def check_graph(graph: Graph) -> None:
    """Raise InputError unless every node of the graph is an object with inputs."""
    for id, node in graph.items():
        if not isinstance(node, dict) or not isinstance(node.get("inputs", {}), dict):
            raise InputError(f"the node {id!r} of the graph is no node: it needs class_type and inputs")
        node.setdefault("inputs", {})


def mask_place(graph: Graph, given: str | None = None) -> str:
    """Where the mask goes: `given` ("Title.input"), or the `image` of the one node that loads a picture.

    A graph that draws its masks with CCM Sample Masks gets a Load Image (as Mask) in its place, and its cohort is then
    the conditioning's own. Raises InputError where it is not clear which node is meant.
    """
    if given is not None:
        return find(graph, given)
    loaders = [id for id, node in graph.items() if _free(node, "image") and node.get("class_type") in _LOADERS]
    if len(loaders) == 1:
        return f"{loaders[0]}.image"
    samplers = [id for id, node in graph.items() if node.get("class_type") == SAMPLER]
    if not loaders and len(samplers) == 1:
        return f"{_load_instead(graph, samplers[0])}.image"
    titles = ", ".join(repr(title_of(id, graph[id])) for id in loaders or samplers)
    known = f"it has {titles}" if titles else "it has none"
    raise InputError(f"masks need one node that loads a picture, but {known}: name it with --mask-input 'Title.image'")


def places_of(graph: Graph, key: str, given: Sequence[str] = ()) -> tuple[str, ...]:
    """Where "seed" or "cohort" goes: `given`, or every node that has such an input with a value of its own."""
    if given:
        return tuple(find(graph, target) for target in given)
    found = tuple(f"{id}.{key}" for id, node in graph.items() if _free(node, key))
    if not found:
        raise InputError(f"no node of the graph has a {key} to set; name the input with --vary 'Title.input=…'")
    return found


def check_places(graph: Graph, stated: Iterable[str], at: str | None, axes: Sequence[Axis]) -> None:
    """Raise InputError where a value would be lost: given by two options, or to a node whose place the masks take.

    `stated` are the places of --set, `at` is that of the masks.
    """
    given = [*stated, *([at] if at else []), *(place for axis in axes for place in axis.places)]
    for place in given:
        id, _, key = place.rpartition(".")
        name = f"{title_of(id, graph.get(id))}.{key}"
        if given.count(place) > 1:
            raise InputError(
                f"{name!r} is given values by two options: leave one out, or say with --cohort-input or --seed-input "
                "which inputs the other sets"
            )
        if id in graph and key not in graph[id]["inputs"]:
            raise InputError(f"--set gives a {key} to a node whose place the masks take: leave it out, or --masks")


def plan(graph: Graph, masks: Sequence[Mask], at: str | None, axes: Sequence[Axis], names: Names) -> list[Job]:
    """Every combination of masks and the axes' values, the last axis fastest. Raises InputError for a wrong value."""
    count = max(len(masks), 1) * math.prod(len(axis.values) for axis in axes)
    if count > _MOST_JOBS:
        raise InputError(f"the batch would have {count:,} jobs; the most is {_MOST_JOBS:,}")
    listings = [_listing(graph, axis) for axis in axes]
    names.collect([graph, listings])
    told, shown = names.hide(graph), [[_listed(node) for node in names.hide(listing)] for listing in listings]
    chosen = list(itertools.product(*(range(len(axis.values)) for axis in axes)))
    each: Sequence[Mask | None] = masks or [None]
    return [_job(graph, told, mask, at, axes, shown, numbers) for mask in each for numbers in chosen]


def _listing(graph: Graph, axis: Axis) -> list[dict[str, Any]]:
    """A node for each place of an axis; its input holds the list of all values in a list, which is no link."""
    placed = [place.rpartition(".")[::2] for place in axis.places]
    return [{"class_type": str(graph[id].get("class_type")), "inputs": {key: [[*axis.values]]}} for id, key in placed]


def _listed(node: dict[str, Any]) -> list[Any]:
    """The values of such a node."""
    ((values,),) = node["inputs"].values()
    return values


def _job(
    graph: Graph,
    told: Graph,
    mask: Mask | None,
    at: str | None,
    axes: Sequence[Axis],
    shown: Sequence[list[list[Any]]],
    numbers: Sequence[int],
) -> Job:
    """The job of the values with these numbers; `told` and `shown` are graph and values without names."""
    own, public = ({id: {**node, "inputs": dict(node["inputs"])} for id, node in one.items()} for one in (graph, told))
    values: dict[str, Any] = {}
    label = [] if mask is None else [_slug(Path(mask.name).with_suffix("").as_posix())]
    if mask is not None and at is not None:
        for one in (own, public):
            _put(one, at, f"{UPLOADS}/{mask.stored}")
    for axis, hidden, number in zip(axes, shown, numbers, strict=True):
        for place, listed in zip(axis.places, hidden, strict=True):
            _put(own, place, axis.values[number])
            _put(public, place, listed[number])
            id, _, key = place.rpartition(".")
            values[f"{title_of(id, told[id])}.{key}"] = said = listed[number]
        text = _slug(said if isinstance(said, str) else json.dumps(said))
        label.append(text if axis.label in ("cohort", "seed") else f"{_slug(axis.label)}{text}")
    id = job_id(public)
    return Job(id, "-".join([*(part for part in label if part), id[:8]])[-120:].lstrip("-."), values, mask, own)


def job_id(graph: Graph) -> str:
    """UUID5 of a graph: the same graph, the same job. Masks are named by their content in it."""
    text = json.dumps(graph, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return str(uuid.uuid5(NAMESPACE, text))


def _put(graph: Graph, place: str, value: Any) -> None:
    id, _, key = place.rpartition(".")
    graph[id]["inputs"][key] = value


def _free(node: Any, key: str) -> bool:
    return key in node["inputs"] and not is_link(node["inputs"][key])


def _load_instead(graph: Graph, sampler: str) -> str:
    """Put a Load Image (as Mask) in the place of CCM Sample Masks; returns its id, which is the sampler's."""
    title = title_of(sampler, graph[sampler])
    for id, node in graph.items():
        for key, value in list(node["inputs"].items()):
            if not is_link(value) or value[0] != sampler or value[1] == 0:
                continue
            if value[1] == 1 and key.startswith("linked_"):
                del node["inputs"][key]  # the node's own widget counts then
                continue
            said = "the cohort" if value[1] == 1 else "the nerves as lines"
            raise InputError(
                f"{title_of(id, node)!r} takes {said} from {title!r}, which a mask file does not have: "
                "leave --masks out, or use a graph that loads its mask"
            )
    graph[sampler] = {
        "class_type": "LoadImageMask",
        "inputs": {"image": "", "channel": "red"},
        "_meta": {"title": f"Mask file in place of {title}"},
    }
    return sampler


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+]+", "_", text).strip("_.")[:60]
