"""Writes the shipped workflows: `python -m tools.build`, after a node or a workflow has changed.

Each is described once, in `shipped/`, and written as NAME.json for the front end and as api/NAME.json.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from tools.shipped import FLOWS
from wdlora import __version__
from wdlora.files import write_text


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
        write_text(Path(__file__).parents[1] / "workflows" / name, text)
        print(name)
