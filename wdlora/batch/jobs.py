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
from ..graph import Graph
from ..graph.places import Place, find_place, free_places, parse_value
from ..privacy.names import Names
from .masks import UPLOADS, Mask

NAMESPACE = uuid.UUID("c4d7c0e7-6d2e-5d6a-9d0b-2f3a4f1c7a55")
"""Of the UUID5 of every job."""

_LARGEST_SEED = 2**53 - 1
_MOST_JOBS = 500_000
"""Each holds its graph, some eight kilobytes."""


@dataclass(frozen=True)
class BatchJob:
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
    """One thing that differs between jobs: values for the inputs at `places`, which all get the same one."""

    label: str
    places: tuple[Place, ...]
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Design:
    """What differs between the jobs of a batch: masks, which go to `mask_place`, and the values of some axes."""

    masks: Sequence[Mask] = ()
    mask_place: Place | None = None
    axes: Sequence[Axis] = ()

    @property
    def places(self) -> list[Place]:
        """Every place that gets values, as often as it gets some."""
        masks = [] if self.mask_place is None else [self.mask_place]
        return [*masks, *(place for axis in self.axes for place in axis.places)]


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
        elif name in COHORTS or re.fullmatch(r"[\w-]+: ?\w+", name):  # the node knows its studies
            found.append(name)
        else:
            raise InputError(f"there is no cohort {name!r}; the cohorts are {', '.join(COHORTS)}")
    return list(dict.fromkeys(found))


def parse_variation(graph: Graph, text: str) -> Axis:
    """ "Title.input=1,2,3" or "Title.input=["a", "b"]". Raises InputError."""
    target, _, listed = text.partition("=")
    place = find_place(graph, target)
    values = parse_value(listed)
    if not isinstance(values, list):
        values = [parse_value(part.strip()) for part in listed.split(",")]
    if not values or not listed.strip():
        raise InputError(f"{text!r} names no values; write --vary 'Title.input=1,2,3'")
    return Axis(place.input, (place,), tuple(values))


def places_of(graph: Graph, key: str, given: Sequence[str] = ()) -> tuple[Place, ...]:
    """Where "seed" or "cohort" goes: `given`, or every node that has such an input with a value of its own."""
    if given:
        return tuple(find_place(graph, target) for target in given)
    found = free_places(graph, key)
    if not found:
        raise InputError(f"no node of the graph has a {key} to set; name the input with --vary 'Title.input=…'")
    return found


def check_places(graph: Graph, stated: Iterable[Place], design: Design) -> None:
    """Raise InputError where a value would be lost: given by two options, or to a node whose place the masks take.

    `stated` are the places of --set.
    """
    given = [*stated, *design.places]
    for place in given:
        if given.count(place) > 1:
            raise InputError(
                f"{place.title(graph)!r} is given values by two options: leave one out, or say with --cohort-input or "
                "--seed-input which inputs the other sets"
            )
        if place.node in graph and place.input not in graph[place.node]["inputs"]:
            raise InputError(
                f"--set gives a {place.input} to a node whose place the masks take: leave it out, or --masks"
            )


@dataclass(frozen=True)
class _Level:
    """One value of an axis: what its places get in the graph that runs and, without names, in what is written of it.

    `word` is what the job's name says of it, `mask` the mask file that the value stands for.
    """

    places: tuple[Place, ...]
    own: tuple[Any, ...]
    public: tuple[Any, ...]
    word: str
    mask: Mask | None = None


def plan(graph: Graph, design: Design, names: Names) -> list[BatchJob]:
    """Every combination of masks and the axes' values, the last axis fastest. Raises InputError for a wrong value."""
    count = max(len(design.masks), 1) * math.prod(len(axis.values) for axis in design.axes)
    if count > _MOST_JOBS:
        raise InputError(f"the batch would have {count:,} jobs; the most is {_MOST_JOBS:,}")
    listings = [_listing(graph, axis) for axis in design.axes]
    names.collect([graph, listings])
    public = names.hide(graph)
    levels = [_mask_levels(design)] if design.masks else []
    for axis, listing in zip(design.axes, listings, strict=True):
        levels.append(_levels(axis, [_listed(node) for node in names.hide(listing)]))
    return [_job(graph, public, chosen, names) for chosen in itertools.product(*levels)]


def _listing(graph: Graph, axis: Axis) -> list[dict[str, Any]]:
    """A node for each place of an axis; its input holds the list of all values in a list, which is no link."""
    return [
        {"class_type": str(graph[place.node].get("class_type")), "inputs": {place.input: [[*axis.values]]}}
        for place in axis.places
    ]


def _listed(node: dict[str, Any]) -> list[Any]:
    """The values of such a node."""
    ((values,),) = node["inputs"].values()
    return values


def _levels(axis: Axis, public: Sequence[Sequence[Any]]) -> list[_Level]:
    """The levels of an axis; `public` are its values without names, for each of its places."""
    levels = []
    for value, *without_names in zip(axis.values, *public, strict=True):
        last = without_names[-1]
        word = _slug(last if isinstance(last, str) else json.dumps(last))
        if axis.label not in ("cohort", "seed"):
            word = _slug(axis.label) + word
        levels.append(_Level(axis.places, (value,) * len(axis.places), tuple(without_names), word))
    return levels


def _mask_levels(design: Design) -> list[_Level]:
    assert design.mask_place is not None
    levels = []
    for mask in design.masks:
        stored = f"{UPLOADS}/{mask.stored}"
        word = _slug(Path(mask.name).with_suffix("").as_posix())
        levels.append(_Level((design.mask_place,), (stored,), (stored,), word, mask))
    return levels


def _job(graph: Graph, public_graph: Graph, levels: Sequence[_Level], names: Names) -> BatchJob:
    """The job of some levels; `public_graph` is the graph without `names`."""
    own, public = (
        {id: {**node, "inputs": dict(node["inputs"])} for id, node in one.items()} for one in (graph, public_graph)
    )
    values: dict[str, Any] = {}
    for level in levels:
        for place, value, without_names in zip(level.places, level.own, level.public, strict=True):
            place.put(own, value)
            public_place = Place(names.key(place.node), place.input)
            public_place.put(public, without_names)
            if level.mask is None:
                values[public_place.title(public_graph)] = without_names
    id = job_id(public)
    name = "-".join([*(level.word for level in levels if level.word), id[:8]])[-120:].lstrip("-.")
    return BatchJob(id, name, values, next((level.mask for level in levels if level.mask), None), own)


def job_id(graph: Graph) -> str:
    """UUID5 of a graph: the same graph, the same job. Masks are named by their content in it."""
    text = json.dumps(graph, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return str(uuid.uuid5(NAMESPACE, text))


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+]+", "_", text).strip("_.")[:60]
