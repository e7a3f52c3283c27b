"""Writes the shipped workflows: `python workflows/build.py`, after a node or a workflow has changed.

Each is described once, in `shipped/`, and written as NAME.json for the front end and as api/NAME.json.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from wdlora import __version__  # noqa: E402
from wdlora.files import write_text  # noqa: E402
from workflows.shipped import FLOWS  # noqa: E402


def object_info() -> dict[str, Any]:
    """What the nodes take, on a machine without any model."""
    from wdlora.host import Host

    with tempfile.TemporaryDirectory() as folder:
        return Host(folder, device="cpu").object_info()


def texts(info: dict[str, Any]) -> dict[str, str]:
    """Every file's content by its path below this folder."""
    written = {}
    for make in FLOWS:
        flow = make(info, __version__)
        written[f"{flow.name}.json"] = _text(flow.ui())
        written[f"api/{flow.name}.json"] = _text(flow.api())
    return written


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, text in texts(object_info()).items():
        write_text(Path(__file__).parent / name, text)
        print(name)
