"""A host on an empty folder, in process and behind its server."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


class Recorder:
    """A sink that keeps every message."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any], str | None]] = []
        self.previews: list[tuple[Any, dict[str, Any]]] = []
        self.texts: list[tuple[str, str]] = []

    def send(self, event: str, data: dict[str, Any], client_id: str | None) -> None:
        self.events.append((event, data, client_id))

    def send_preview(self, image: Any, metadata: dict[str, Any], client_id: str | None) -> None:
        self.previews.append((image, metadata))

    def send_text(self, node_id: str, text: str, client_id: str | None) -> None:
        self.texts.append((node_id, text))

    def watched(self, client_id: str | None) -> bool:
        return True


@pytest.fixture
def sink() -> Recorder:
    return Recorder()


@pytest.fixture
def host(tmp_path: Path, sink: Recorder) -> Any:
    from wdlora.host import Host

    made = Host(tmp_path / "data", sink=sink, device="cpu")
    write_mask(made.folders.input / "mask.png")
    return made


def write_mask(path: Path, size: int = 64) -> np.ndarray:
    """A mask of two strokes as a grey PNG."""
    mask = np.zeros((size, size), np.uint8)
    mask[:, size // 3 : size // 3 + 4] = 255
    mask[size // 2 : size // 2 + 3, size // 3 :] = 255
    Image.fromarray(mask).save(path)
    return mask


@pytest.fixture
def graph() -> dict[str, Any]:
    """mask.png → red channel → image → saved."""
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": "mask.png"}},
        "2": {"class_type": "ImageToMask", "inputs": {"image": ["1", 0], "channel": "red"}},
        "3": {"class_type": "MaskToImage", "inputs": {"mask": ["2", 0]}},
        "4": {
            "class_type": "SaveImage",
            "inputs": {"images": ["3", 0], "filename_prefix": "out"},
            "_meta": {"title": "Save"},
        },
    }


@pytest.fixture
def ask(tmp_path: Path) -> Callable[[Callable[..., Any]], Any]:
    """Run `scenario(client, host)` with a real client against a real server on loopback."""
    from aiohttp.test_utils import TestClient, TestServer

    from wdlora.host import Host
    from wdlora.host.server.app import HOST_KEY, build

    def run(scenario: Callable[..., Any]) -> Any:
        async def main() -> Any:
            app = build(lambda sink: Host(tmp_path / "data", sink=sink, device="cpu"))
            write_mask(app[HOST_KEY].folders.input / "mask.png")
            async with TestClient(TestServer(app)) as client:
                return await scenario(client, app[HOST_KEY])

        return asyncio.run(main())

    return run
