"""Damaged workflow files through everything that `run` does before it runs: a verdict or a sentence, at once."""

import copy
import json
import os
import random
import time

import pytest

from wdlora.errors import InputError
from wdlora.graph.file import read_graph
from wdlora.graph.miniature import use_miniature
from wdlora.graph.places import title_of

from .conftest import NAMES, api, ui

CASES = int(os.environ.get("MUTATED_WORKFLOWS", "1000"))
LONGEST_S = 5.0  # one takes milliseconds; a machine under load takes longer

GARBAGE = [
    None,
    True,
    -1,
    7,
    1e308,
    2**70,
    "",
    "../../etc/passwd",
    "none",
    "\x00",
    "é" * 3000,
    [],
    {},
    ["1", 0],
    ["1", 99],
    ["1", -1],
    ["999", 0],
    ["1", "0"],
    [["1", 0]],
    {"class_type": "KSampler"},
    {"class_type": "NoSuchNode", "inputs": {}},
    float("nan"),
    float("inf"),
]


def places(value, path=()):
    """Every place in a JSON value: paths of keys and indices."""
    yield path
    if isinstance(value, dict):
        for key, member in value.items():
            yield from places(member, (*path, key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from places(member, (*path, index))


def mutate(value, generator):
    """A value with one place in it replaced, removed, doubled or linked elsewhere."""
    changed = copy.deepcopy(value)
    path = generator.choice(list(places(changed))[1:])
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    kind = generator.random()
    if kind < 0.5:
        parent[path[-1]] = copy.deepcopy(generator.choice(GARBAGE))
    elif kind < 0.7:
        del parent[path[-1]]
    elif kind < 0.85 and isinstance(parent, dict):
        parent[generator.choice(["extra", "inputs", "class_type", "1", "seed"])] = copy.deepcopy(
            generator.choice([*GARBAGE, parent[path[-1]]])
        )
    else:
        link = generator.choice([str(number) for number in range(1, 20)])
        parent[path[-1]] = [link, generator.choice([0, 0, 1, 2, 3])]
    return changed


def torn(text, generator):
    """A text with some letters cut out, doubled or changed."""
    place = generator.randrange(len(text))
    kind = generator.random()
    if kind < 0.4:
        return text[:place]
    if kind < 0.7:
        return text[:place] + text[place + generator.randint(1, 40) :]
    return text[:place] + generator.choice('{}[]",:0x\x00é') + text[place:]


@pytest.mark.slow
def test_a_verdict_or_a_sentence(host, tmp_path):
    generator = random.Random(3)
    info = host.object_info()
    path = tmp_path / "mutated.json"
    sound = refused = unreadable = 0
    for case in range(CASES):
        name = generator.choice(NAMES)
        flow = (ui if case % 5 == 4 else api)(name)
        for _ in range(generator.randint(1, 3)):
            flow = mutate(flow, generator)
        text = json.dumps(flow)
        path.write_text(torn(text, generator) if case % 7 == 6 else text, encoding="utf-8", errors="replace")
        started = time.monotonic()
        try:
            graph = read_graph(path)
            if generator.random() < 0.8:
                use_miniature(graph, info)
            for id, node in list(graph.items()):
                title_of(id, node)
            verdict = host.validate(graph)
        except InputError as error:
            unreadable += 1
            assert str(error) and "Traceback" not in str(error) and "\n" not in str(error)
        else:
            assert bool(verdict.outputs) != (verdict.error is not None)
            json.dumps({"error": verdict.error, "node_errors": verdict.node_errors}, default=str)
            sound += bool(verdict.outputs)
            refused += not verdict.outputs
        assert time.monotonic() - started < LONGEST_S, text[:300]
    assert sound and refused and unreadable, (sound, refused, unreadable)
    print(f"{CASES} mutated files: {sound} sound, {refused} refused, {unreadable} no graph")
