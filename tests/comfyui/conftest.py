"""A real ComfyUI with this pack as a custom node; without one the tests here skip and say how to get it.

COMFYUI_DIR names the checkout (otherwise comfy-cli's default place is looked at), COMFYUI_PYTHON its Python
(otherwise a virtual environment in or beside the checkout, else the running one), COMFYUI_GGUF a folder with
ComfyUI-GGUF (otherwise the one among the checkout's custom nodes; optional).
"""

import dataclasses
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PACK = Path(__file__).parents[2]
NAME = "wdlora-ccm"
NEEDED = ("torch", "torchsde", "torchvision", "torchaudio", "aiohttp", "einops", "comfyui_frontend_package", "skimage")
HOW = (
    "install one with comfy-cli (comfy install) or git clone, its requirements and this pack's requirements.txt in a "
    "virtual environment, and name them in COMFYUI_DIR and COMFYUI_PYTHON"
)
_figures: list[tuple[str, Any]] = []


@dataclasses.dataclass(frozen=True)
class ComfyUI:
    """A checkout and the Python that runs it. `gguf`: the folder of ComfyUI-GGUF, if there is one."""

    folder: Path
    python: str
    version: str
    gguf: Path | None

    @property
    def environment(self) -> dict[str, str]:
        """The process environment, without what would put this project's packages before ComfyUI's."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
        return kept | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def _folder() -> Path | None:
    if named := os.environ.get("COMFYUI_DIR"):
        return Path(named)
    for place in ("comfy/ComfyUI", "Documents/comfy/ComfyUI"):
        if (Path.home() / place / "main.py").is_file():
            return Path.home() / place
    return None


def _python(folder: Path) -> str | None:
    if named := os.environ.get("COMFYUI_PYTHON"):
        return named
    for home in (folder, folder.parent):
        for name in ("venv", ".venv"):
            for inside in ("bin/python", "Scripts/python.exe"):
                if (home / name / inside).is_file():
                    return str(home / name / inside)
    return sys.executable if all(importlib.util.find_spec(name) for name in NEEDED) else None


@pytest.fixture(scope="session")
def comfyui() -> ComfyUI:
    """The real ComfyUI, or a skip that says how to get one."""
    folder = _folder()
    if folder is None or not (folder / "main.py").is_file():
        pytest.skip(f"no ComfyUI here: {HOW}")
    python = _python(folder)
    if python is None:
        pytest.skip(f"no Python with what {folder} needs: {HOW}")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import comfyui_version; print(comfyui_version.__version__)"
    version = subprocess.run([python, "-c", code, str(folder)], capture_output=True, text=True, check=True).stdout
    gguf = Path(os.environ.get("COMFYUI_GGUF", folder / "custom_nodes" / "ComfyUI-GGUF"))
    has_gguf = (gguf / "__init__.py").is_file()
    return ComfyUI(folder, python, version.strip(), gguf if has_gguf else None)


@pytest.fixture(scope="session")
def figures() -> Callable[[str, Any], None]:
    """Note a figure, to be printed at the end; docs/reference/compatibility.md is written from them."""
    return lambda name, value: _figures.append((name, value))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the figures as rows of a table."""
    if _figures:
        terminalreporter.section("measured in ComfyUI")
        for name, value in _figures:
            shown = f"{value:.2g}" if isinstance(value, float) else str(value)
            terminalreporter.write_line(f"| {name} | {shown} |")


class Server:
    """A running ComfyUI, spoken to over HTTP and WebSocket."""

    def __init__(self, comfyui: ComfyUI, base: Path, log: Path, *options: str):
        for folder in ("custom_nodes", "input", "output", "models/loras"):
            (base / folder).mkdir(parents=True, exist_ok=True)
        place = base / "custom_nodes" / NAME
        if not place.exists():  # a copy: newer aiohttp serves no templates from behind a link
            shutil.copytree(PACK, place, ignore=shutil.ignore_patterns(".*", "build", "demo", "shared", "__pycache__"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.base, self.log = base, log
        self.client = str(uuid.uuid4())
        command = [comfyui.python, "-s", "main.py", "--cpu", "--disable-auto-launch", "--port", str(self.port)]
        command += ["--base-directory", str(base), "--database-url", "sqlite:///:memory:", "--disable-api-nodes"]
        command += ["--disable-all-custom-nodes", "--whitelist-custom-nodes", NAME, *options]
        with log.open("w") as out:
            self.process = subprocess.Popen(
                command, cwd=comfyui.folder, stdout=out, stderr=subprocess.STDOUT, env=comfyui.environment
            )
        deadline = time.monotonic() + 180
        while True:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"ComfyUI did not start:\n{log.read_text()[-4000:]}")
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.3)

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def get(self, path: str) -> Any:
        """The JSON at a path."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any) -> Any:
        """The JSON answer to a JSON body, also of a refusal."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
        except urllib.error.HTTPError as refusal:
            text = refusal.read()
        return json.loads(text) if text else None

    def run(self, graph: dict[str, Any], timeout: float = 120, workflow: Any = None) -> dict[str, Any]:
        """Run an API-format graph to its end; returns its entry in the history. `workflow`: the front end's twin."""
        body = {"prompt": graph, "client_id": self.client}
        answer = self.post("/prompt", body | {"extra_data": {"extra_pnginfo": {"workflow": workflow}}})
        assert "prompt_id" in answer, json.dumps(answer)[:2000]
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            entry = self.get(f"/history/{answer['prompt_id']}").get(answer["prompt_id"])
            if entry is not None and entry["status"].get("messages"):
                return entry
            time.sleep(0.05)
        raise TimeoutError(f"no end after {timeout:g} s:\n{self.log.read_text()[-3000:]}")

    def succeed(self, graph: dict[str, Any], timeout: float = 120) -> dict[str, Any]:
        """Run a graph that must succeed; returns its outputs by node."""
        entry = self.run(graph, timeout)
        assert entry["status"]["status_str"] == "success", message(entry, "execution_error")
        return entry["outputs"]

    def path(self, shown: dict[str, str]) -> Path:
        """Where a file lies that a node showed."""
        return self.base / shown["type"] / shown["subfolder"] / shown["filename"]


def message(entry: dict[str, Any], kind: str) -> Any:
    """The message of a kind in a history entry, or None."""
    return next((value for name, value in entry["status"]["messages"] if name == kind), None)


@pytest.fixture(scope="session")
def server(comfyui: ComfyUI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One ComfyUI for all tests of the session, with previews on."""
    root = tmp_path_factory.mktemp("comfyui")
    running = Server(comfyui, root / "base", root / "log.txt", "--preview-method", "latent2rgb")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def history_message() -> Callable[[dict[str, Any], str], Any]:
    """`message`, for tests."""
    return message
