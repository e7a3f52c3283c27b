"""A search of every byte that an output has, written apart from the one under test."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

TELLTALES = ("smith", "johnny", "müller", "m\\u00fcller", "19500131")
"""What no output may hold, in lower case, as text and as JSON writes it."""


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own, where the key is made."""
    place = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("USERPROFILE", str(place))
    return place


def words(file: Path) -> str:
    """Everything in a file in lower case: its bytes as Latin-1 and as UTF-8, and a picture's texts unpacked."""
    data = file.read_bytes()
    said = [data.decode("latin-1"), data.decode("utf-8", "replace")]
    if file.suffix == ".png":
        with Image.open(file) as picture:
            picture.load()
            said += [f"{key} {value}" for key, value in picture.info.items()]
    return "\n".join(said).lower()


def telling(folder: Path, telltales: tuple[str, ...] = TELLTALES) -> list[str]:
    """Files in a folder that hold a telltale, in their name or in any byte."""
    found = []
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert files, f"{folder} is empty: nothing was tested"
    for file in files:
        name = file.relative_to(folder).as_posix().lower()
        found += [f"{name}: {tale}" for tale in telltales if tale in name or tale in words(file)]
    return found


def strokes(seed: int, side: int = 64) -> np.ndarray:
    """A mask with two lines at places of its own."""
    mask = np.zeros((side, side), np.uint8)
    mask[:, 10 + 3 * seed : 13 + 3 * seed] = 255
    mask[30 + seed, :] = 255
    return mask


def save(path: Path, pixels: np.ndarray, texts: dict[str, object] | None = None) -> Path:
    """A PNG, with texts as ComfyUI's Save Image writes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    info = PngInfo()
    for key, value in (texts or {}).items():
        info.add_text(key, json.dumps(value))
    Image.fromarray(pixels).save(path, pnginfo=info)
    return path
