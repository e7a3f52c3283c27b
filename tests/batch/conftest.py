"""A small graph, a folder of masks, and a way to start and kill real processes."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]

GRAPH = {
    "1": {
        "class_type": "LoadImageMask",
        "inputs": {"image": "any.png", "channel": "red"},
        "_meta": {"title": "The mask"},
    },
    "2": {"class_type": "MaskToImage", "inputs": {"mask": ["1", 0]}},
    "3": {
        "class_type": "SaveImage",
        "inputs": {"images": ["2", 0], "filename_prefix": "picture"},
        "_meta": {"title": "Save"},
    },
}
"""mask file → picture → saved: as cheap as a graph can be."""


def write_masks(folder: Path, count: int, side: int = 64) -> None:
    """Masks that all differ: one line each, at its own place."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        mask = np.zeros((side, side), np.uint8)
        mask[index % side, :] = 255
        mask[:, index // side : index // side + 2] = 255
        Image.fromarray(mask).save(folder / f"mask{index:02}.png")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home folder of the test's own, where the key of pseudonyms is made."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path_factory.getbasetemp()))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with flow.json and masks/, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow.json").write_text(json.dumps(GRAPH))
    write_masks(tmp_path / "masks", 3)
    return tmp_path


def start(*arguments: str, **options: Any) -> subprocess.Popen:
    """`python -m wdlora …` as a process of its own, single-threaded, that hears Ctrl-C.

    A shell starts what it puts into the background with SIGINT ignored, and its children inherit that.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen([sys.executable, "-m", "wdlora", *arguments], env=environment, text=True, **options)
    finally:
        signal.signal(signal.SIGINT, before)


def serve(data: Path) -> tuple[subprocess.Popen, str]:
    """A server on a free port and its address."""
    process = start("serve", "--port", "0", "--data", str(data), "--device", "cpu", stdout=subprocess.PIPE)
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert found, line
    return process, found.group()


def check_whole(out: Path, count: int) -> dict[str, Any]:
    """Assert that a batch has `count` results, one a job, none torn; returns its manifest."""
    import hashlib

    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["count"] == {"done": count, "failed": 0, "open": 0}
    names = [job["name"] for job in manifest["jobs"]]
    assert len(names) == len(set(names)) == len({job["id"] for job in manifest["jobs"]}) == count
    assert sorted(path.name for path in (out / "results").iterdir()) == sorted(names)
    assert not (out / ".unfinished").exists()
    for job in manifest["jobs"]:
        folder = out / "results" / job["name"]
        record = json.loads((folder / "result.json").read_text())
        assert record["id"] == job["id"]
        assert {path.name for path in folder.iterdir()} == {"result.json"} | {
            Path(file["file"]).name for file in job["files"]
        }
        assert job["files"]
        for file in job["files"]:
            content = (out / file["file"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == file["sha256"]
            with Image.open(out / file["file"]) as picture:
                picture.load()
    return manifest
