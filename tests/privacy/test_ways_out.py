"""Telltale names go in; every byte of every output is searched for them."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.dataset import public_trees as trees
from wdlora.cli import main
from wdlora.host import Host

from .conftest import save, strokes, telling

REFERENCE = "Smith_Johnny/Smith_Johnny_19500131_OD.png"
MASK = "Smith_mask_OS.png"
GRAPH = {
    "1": {"class_type": "LoadImageMask", "inputs": {"image": MASK, "channel": "red"}, "_meta": {"title": "Mask"}},
    "2": {"class_type": "LoadImage", "inputs": {"image": REFERENCE}, "_meta": {"title": "Reference"}},
    "3": {"class_type": "CCMLoadImage", "inputs": {"image": REFERENCE, "pixel_size_um": 1.0}},
    "4": {
        "class_type": "SaveImage",
        "inputs": {"images": ["2", 0], "filename_prefix": "a"},
        "_meta": {"title": "Save"},
    },
    "5": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
    "6": {"class_type": "CCMBiomarkers", "inputs": {"masks": ["1", 0], "pixel_size_um": 1.0}},
    "7": {
        "class_type": "CCMSaveDataset",
        "inputs": {
            "images": ["3", 0],
            "masks": ["1", 0],
            "folder": "set",
            "cohort": "Control",
            "patient": "P001",
            "eye": "OD",
            "visit": "V1",
            "pixel_size_um": 1.0,
            "synthetic": False,
            "hash_models": True,
        },
    },
    "8": {"class_type": "LoadImage", "inputs": {"image": "Müller_gone.png"}, "_meta": {"title": "Not linked"}},
}
WORKFLOW = {"nodes": [{"id": 2, "type": "LoadImage", "widgets_values": [REFERENCE, "image"], "title": "Smith_Johnny"}]}


def fill(folder):
    save(folder / MASK, strokes(1))
    save(folder / REFERENCE, np.repeat(strokes(2)[..., None], 3, 2))


def test_nodes_and_save_image(tmp_path):
    """The embedded host: pictures with graph and workflow in them, previews, a data set with provenance."""
    host = Host(tmp_path / "data", device="cpu")
    fill(host.folders.input)
    verdict, result = host.run(GRAPH, {"workflow": WORKFLOW})
    assert not verdict.node_errors and result.status == "success", (verdict, result.failure)
    assert len(list((tmp_path / "data" / "output").rglob("*.png"))) == 3
    assert len(list((tmp_path / "data" / "temp").rglob("*.png"))) >= 1
    assert telling(tmp_path / "data" / "output") + telling(tmp_path / "data" / "temp") == []
    told = json.loads((tmp_path / "data" / "output" / "set" / "provenance" / "Control-000001.json").read_text())
    assert set(told["inputs"]) == {told["graph"][id]["inputs"]["image"] for id in "13"}


def test_ids_of_nodes_and_prefixes_of_files(tmp_path):
    """A node called by its file, and pictures named after it, hold pseudonyms, and the graph in them still runs."""
    host = Host(tmp_path / "data", device="cpu")
    fill(host.folders.input)
    prefix = "Smith_mask_OS/of Smith_mask_OS.png %batch_num%"
    save_image = {"class_type": "SaveImage", "inputs": {"images": ["shown", 0], "filename_prefix": prefix}}
    graph = {
        "Smith_mask_OS.png": GRAPH["1"],
        "smith_mask_os": GRAPH["1"],
        "shown": {"class_type": "MaskToImage", "inputs": {"mask": ["Smith_mask_OS.png", 0]}},
        "SMITH_MASK_OS": save_image,
    }
    workflow = {**WORKFLOW, "extra": {"Smith_mask_OS.png": 1}}
    verdict, result = host.run(graph, {"workflow": workflow, "Smith_mask_OS.png": {}})
    assert not verdict.node_errors and result.status == "success", (verdict, result.failure)
    output = tmp_path / "data" / "output"
    assert telling(output) == []
    (picture,) = output.rglob("*.png")
    with Image.open(picture) as saved:
        hidden = json.loads(saved.text["prompt"])
    assert len(hidden) == 4 and hidden["shown"]["inputs"]["mask"][0] in hidden
    verdict, again = host.run(hidden)
    assert not verdict.node_errors and again.status == "success", verdict
    assert len(list(output.rglob("*.png"))) == 2


def test_a_picture_that_comes_back_is_painted_again(tmp_path, monkeypatch):
    """The graph in a saved picture names its inputs by their content, and the host finds them by it."""
    monkeypatch.chdir(tmp_path)
    host = Host(tmp_path / "data", device="cpu")
    fill(host.folders.input)
    host.run(GRAPH)
    first, second = (tmp_path / "data" / "output" / f"a_0000{number}_.png" for number in (1, 2))
    assert main(["run", str(first), "--data", "data", "--device", "cpu"]) == 0
    assert second.read_bytes() == first.read_bytes()


def test_run_with_its_own_folder_for_results(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "data" / "input")
    save(tmp_path / "clinic" / "Smith_mask_OS.png", strokes(1))
    graph = {key: node for key, node in GRAPH.items() if key != "8"}
    (tmp_path / "flow.json").write_text(json.dumps(graph))
    arguments = ["--data", "data", "--out", "out", "--device", "cpu", "--input", "clinic/Smith_mask_OS.png", "--json"]
    assert main(["run", "flow.json", *arguments]) == 0
    assert telling(tmp_path / "out") == []
    assert not [tale for tale in ("smith", "johnny") if tale in capsys.readouterr().out.lower()]


def test_batch(tmp_path, capsys, monkeypatch):
    """Masks, a reference in the graph, one that differs between jobs, a job that fails, and a lost reference."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "data" / "input")
    save(tmp_path / "data" / "input" / "Smith_second.png", strokes(3))
    for number, name in enumerate(("Smith_OD.png", "deep/Müller_OS.png")):
        save(tmp_path / "masks" / name, strokes(4 + number))
    (tmp_path / "masks" / "Smith_broken.png").write_bytes(b"no picture")
    graph = {**GRAPH, "4": {**GRAPH["4"], "inputs": {"images": ["2", 0], "filename_prefix": "Smith_Johnny"}}}
    graph["9"] = {"class_type": "PreviewAny", "inputs": {"source": ["3", 3]}}
    del graph["5"], graph["8"]
    save(tmp_path / "Smith_flow.png", strokes(1), {"prompt": graph})
    vary = f"Reference.image={REFERENCE},Smith_second.png"
    arguments = ["--masks", "masks", "--mask-input", "Mask.image", "--vary", vary, "--out", "out", "--data", "data"]
    assert main(["batch", "Smith_flow.png", *arguments, "--device", "cpu", "--attempts", "1"]) == 1
    said = capsys.readouterr()
    assert "Smith_broken.png" in said.err  # the terminal says which file it is
    assert telling(tmp_path / "out") == []
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["count"] == {"done": 4, "failed": 2, "open": 0}
    assert len({job["values"]["Reference.image"] for job in manifest["jobs"]}) == 2
    events = (tmp_path / "out" / "journal.jsonl").read_text()
    assert main(["batch", "Smith_flow.png", *arguments, "--device", "cpu", "--attempts", "1"]) == 1  # goes on as it was
    assert (tmp_path / "out" / "journal.jsonl").read_text().count('"done"') == events.count('"done"') == 4
    capsys.readouterr()


def test_import_dataset(tmp_path, capsys):
    """The trees' patients are Smith, Jones and Brown."""
    for name, tree, more in (("q", trees.qilu, ["--cohort", "Control"]), ("o", trees.own, [])):
        arguments = [str(tree(tmp_path / name)), "--out", str(tmp_path / "out" / name), "--pixel-size-um", "1.0417"]
        assert main(["import-dataset", *arguments, *more]) == 0
    assert telling(tmp_path / "out", ("smith", "jones", "brown")) == []


@pytest.mark.slow
def test_training(tmp_path):
    """A run on a data set whose files, patients and folder are telltale names."""
    from tests.training.test_finetune import SMALL
    from training.cli import finetune
    from wdlora.cli import dispatch

    data = tmp_path / "Smith_study"
    rows = ["file,cohort,patient"]
    for number, name in enumerate(("Smith_Johnny", "Müller_19500131", "Smith_other", "Johnny_x")):
        mask = strokes(number)
        save(data / "images" / f"{name}.png", np.maximum(mask, 40))
        save(data / "masks" / f"{name}.png", mask)
        rows.append(f"{name}.png,Control,{name}_patient")
    (data / "dataset.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    settings = [f"{key}={value}" for key, value in (SMALL | {"steps": 2, "validation_share": 0}).items()]
    arguments = ["--preset", "miniature", "--model", "miniature", "--data", str(data), "--pixel-size-um", "1"]
    arguments += ["--out", str(tmp_path / "out"), "--device", "cpu", "--set", *settings]
    assert dispatch("training", {"finetune": ""}, finetune.__package__, ["finetune", *arguments]) == 0
    assert (tmp_path / "out" / "adapter.safetensors").is_file() and (tmp_path / "out" / "README.md").is_file()
    assert telling(tmp_path / "out") == []
