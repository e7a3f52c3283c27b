"""Names of input files in what a real ComfyUI writes: by this pack's nodes, by core nodes, and fetched by a batch."""

import json
import shutil

import numpy as np
import pytest

from tests.privacy.conftest import save, strokes, telling
from wdlora.cli import main

pytestmark = pytest.mark.slow

REFERENCE = "Smith_Johnny/Smith_OD.png"
GRAPH = {
    "1": {"class_type": "LoadImageMask", "inputs": {"image": "Müller_OS.png", "channel": "red"}},
    "2": {"class_type": "LoadImage", "inputs": {"image": REFERENCE}, "_meta": {"title": "Reference"}},
    "3": {"class_type": "CCMLoadImage", "inputs": {"image": REFERENCE, "pixel_size_um": 1.0}},
    "4": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "names/core"}},
    "5": {"class_type": "CCMBiomarkers", "inputs": {"masks": ["1", 0], "pixel_size_um": 1.0}},
    "6": {
        "class_type": "CCMSaveDataset",
        "inputs": {
            **{"images": ["3", 0], "masks": ["1", 0], "folder": "names/set", "cohort": "Control", "patient": "P001"},
            **{"eye": "OD", "visit": "V1", "pixel_size_um": 1.0, "synthetic": False, "hash_models": True},
        },
    },
    "7": {"class_type": "WDLoRAInspect", "inputs": {"adapter": "names.safetensors", "base": "none"}},
}
WORKFLOW = {"nodes": [{"id": 2, "type": "LoadImage", "widgets_values": [REFERENCE, "image"], "title": "Smith_OD"}]}


@pytest.fixture
def named(server, tmp_path, monkeypatch):
    """The server with inputs of telltale names and an adapter; a home folder for the key."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    save(server.base / "input" / "Müller_OS.png", np.repeat(strokes(1)[..., None], 3, 2))
    save(server.base / "input" / REFERENCE, np.repeat(strokes(2)[..., None], 3, 2))
    shutil.rmtree(server.base / "output" / "names", ignore_errors=True)
    return server


def test_this_packs_nodes_write_no_names_and_pseudonymise_removes_core_ones(named, tmp_path, capsys):
    from .test_server import parity

    parity().write_adapters(named.base / "models" / "loras")
    shutil.copy(named.base / "models/loras/wdlora.safetensors", named.base / "models/loras/names.safetensors")
    before = set((named.base / "temp").rglob("*.png"))
    entry = named.run(GRAPH, workflow=WORKFLOW)
    assert entry["status"]["status_str"] == "success", entry["status"]
    out = named.base / "output" / "names"
    assert telling(out / "set") == []
    previews = set((named.base / "temp").rglob("*.png")) - before
    assert previews  # of the adapter, by this pack
    for number, preview in enumerate(sorted(previews)):
        (tmp_path / "previews").mkdir(exist_ok=True)
        shutil.copy(preview, tmp_path / "previews" / f"{number}.png")
    assert telling(tmp_path / "previews") == []
    assert "core_00001_.png: smith" in telling(out)  # what ComfyUI's own node does
    pixels = (out / "core_00001_.png").read_bytes()
    assert main(["pseudonymise", str(out), "--check"]) == 1
    assert (out / "core_00001_.png").read_bytes() == pixels
    assert main(["pseudonymise", str(out)]) == 0
    assert telling(out) == []
    capsys.readouterr()


def test_a_batch_on_it_keeps_no_names(named, tmp_path, capsys, monkeypatch):
    """Masks of telltale names, and a reference that lies on the server: core Save Image there writes its name."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("Smith_a.png", "Smith_b.png")):
        save(tmp_path / "masks" / name, np.repeat(strokes(3 + number)[..., None], 3, 2))
    graph = {key: node for key, node in GRAPH.items() if key in "1245"}
    graph["1"] = {**graph["1"], "_meta": {"title": "Mask"}}
    (tmp_path / "flow.json").write_text(json.dumps(graph))
    url = f"http://127.0.0.1:{named.port}"
    command = ["batch", "flow.json", "--masks", "masks", "--mask-input", "Mask.image", "--out", "out", "--server", url]
    assert main(command) == 0, capsys.readouterr().err
    assert len(list((tmp_path / "out" / "results").rglob("core*.png"))) == 2
    assert telling(tmp_path / "out") == []
    capsys.readouterr()
