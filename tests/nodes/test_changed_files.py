"""A file that changes on disk is read again, also where a link names it; nothing is read twice while none changes."""

import importlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.nodes.conftest import write_grey
from tests.nodes.painting import FILES, NAMES, apply, make_adapter, node
from wdlora.adapter.configuration import PEFT_CONFIG


def executed(host, graph):
    """The nodes that ran; everything else was kept."""
    _, result = host.run(graph)
    assert result is not None and result.status == "success", result and result.failure
    return set(result.executed)


def once_and_after(host, graph, change, again):
    """`again` names the nodes that run once more after `change`, and after nothing else."""
    assert again <= executed(host, graph)
    assert executed(host, graph) == set()
    change()
    assert executed(host, graph) == again
    assert executed(host, graph) == set()


def touched(path):
    """The file with a later time."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))


def two_adapters(host, name):
    """An adapter of that name, and a function that puts another one in its place."""
    make_adapter(host, name, seed=1)
    make_adapter(host, "next.safetensors", seed=2)
    folder = host.folders.base / "models" / "loras"
    return lambda: os.replace(folder / "next.safetensors", folder / name)


def loaded(**changes):
    return node("WDLoRALoadQwenImageEdit", **(FILES | changes))


@pytest.mark.parametrize("linked", ["linked_adapter", "adapter"])
def test_an_adapter_named_by_a_link(painter, linked):
    change = two_adapters(painter, "changing.safetensors")
    given = {"adapter": "none"} | {linked: ["name", 0]}
    graph = {
        "load": loaded(),
        "name": node("Say", text="changing.safetensors"),
        "apply": apply(**given),
        "keep": node("Keep", value=["apply", 1]),
    }
    once_and_after(painter, graph, change, {"apply", "keep"})


def test_the_settings_beside_an_adapter(painter):
    """They say how it is scaled, so other settings are another adapter; the file itself is the same."""
    folder = painter.folders.base / "models" / "loras" / "peft"
    folder.mkdir(parents=True, exist_ok=True)
    make_adapter(painter, "peft/adapter_model.safetensors", rank=2)
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "use_dora": True, "target_modules": list(NAMES)}
    (folder / PEFT_CONFIG).write_text(json.dumps(settings))
    for graph_adapter in ("peft/adapter_model.safetensors", ["name", 0]):
        graph = {
            "load": loaded(),
            "name": node("Say", text="peft/adapter_model.safetensors"),
            "apply": apply(graph_adapter),
            "keep": node("Keep", value=["apply", 1]),
        }
        changed = json.dumps(settings | {"lora_dropout": 0.1 if isinstance(graph_adapter, str) else 0.2})
        again = {"apply", "keep"}
        once_and_after(painter, graph, lambda text=changed: (folder / PEFT_CONFIG).write_text(text), again)


def test_a_change_that_another_graph_saw_first(painter):
    """The node by its widget reads the changed file; what a link has kept of it is old all the same."""
    make_adapter(painter, "seen.safetensors", seed=1)
    files = importlib.import_module("wdlora_pack.nodes.files")
    named, path = files.Named(), painter.folders.base / "models" / "loras" / "seen.safetensors"
    named.note(path)
    assert named.changes() == named.changes() == 0
    touched(path)
    named.note(path)
    assert named.changes() == named.changes() == 1
    path.unlink()
    assert named.changes() == 2


def test_an_inspected_adapter_named_by_a_link(painter):
    change = two_adapters(painter, "inspected.safetensors")
    graph = {"name": node("Say", text="inspected.safetensors")}
    graph["show"] = node("WDLoRAInspect", adapter=["name", 0], base="none")
    once_and_after(painter, graph, change, {"show"})


@pytest.mark.parametrize("changed", ["tokenizer.json", FILES["vae"]])
@pytest.mark.parametrize("vae", [FILES["vae"], ["name", 0]], ids=["chosen", "linked"])
def test_a_models_files_and_its_tokenizer(painter, vae, changed):
    """The tokenizer lies beside the text encoder and is no input of the node."""
    painter.executor.clear_cache()
    graph = {
        "name": node("Say", text=FILES["vae"]),
        "load": loaded(vae=vae),
        "keep": node("Keep", value=["load", 3]),
    }
    models = Path(painter.folders.get_full_path("vae", FILES["vae"])).parents[1]
    (path,) = models.rglob(changed)
    once_and_after(painter, graph, lambda: touched(path), {"load", "keep"})


def test_an_image_named_by_a_link(run):
    path = run.host.folders.input / "frame.png"
    write_grey(path, np.full((32, 32), 90, np.uint8))
    graph = {
        "name": node("Say", text="frame.png"),
        "image": node("CCMLoadImage", image=["name", 0], pixel_size_um=1.0),
        "keep": node("Keep", value=["image", 0]),
    }
    once_and_after(run.host, graph, lambda: write_grey(path, np.full((32, 32), 91, np.uint8)), {"image", "keep"})


def test_a_data_set_named_by_a_link(run):
    root = run.host.folders.input / "clinic"
    for kind in ("images", "masks"):
        write_grey(root / kind / "a.png", np.eye(64, dtype=np.uint8) * 255)
    (root / "dataset.csv").write_text("file,cohort,patient\na.png,Control,P1\n")
    graph = {
        "name": node("Say", text="clinic [input]"),
        "data": node("CCMLoadDataset", dataset=["name", 0], cohort="all", start=0, count=1),
        "keep": node("Keep", value=["data", 0]),
    }
    once_and_after(run.host, graph, lambda: touched(root / "images" / "a.png"), {"data", "keep"})
