"""Writes the texts of the nodes for translators: `python -m tools.locales`, after a node's schema has changed.

ComfyUI reads `locales/LANGUAGE/nodeDefs.json` of every custom node (app/custom_node_manager.py) and its front end
takes names, descriptions and tooltips from there. English is written from the schemas; copy it to translate.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.build import object_info
from wdlora.files import write_text

ROOT = Path(__file__).resolve().parents[1]
ENGLISH = ROOT / "locales" / "en" / "nodeDefs.json"
SPECIAL = "{}@|"
"""Characters with a meaning in the front end's messages (vue-i18n): insertion, link, plural."""


def node_texts(info: dict[str, Any]) -> dict[str, Any]:
    """The texts of the pack's nodes by node id, in the layout of nodeDefs.json. `info`: what /object_info answers.

    Raises ValueError for a text with one of `SPECIAL`, which the front end would not show as it is.
    """
    own = {name: node for name, node in info.items() if node["python_module"].startswith("custom_nodes.")}
    return {name: _node(name, node) for name, node in own.items()}


def _node(name: str, node: dict[str, Any]) -> dict[str, Any]:
    inputs = {
        key: _slot(options.get("display_name") or key, options.get("tooltip"))
        for part in ("required", "optional")
        for key, (_, options) in node["input"].get(part, {}).items()
    }
    outputs = {
        str(index): _slot(*texts)
        for index, texts in enumerate(zip(node["output_name"], node["output_tooltips"], strict=True))
    }
    texts = {"display_name": node["display_name"], "description": node["description"]}
    texts |= {key: value for key, value in (("inputs", inputs), ("outputs", outputs)) if value}
    if odd := sorted(set("".join(_leaves(texts))) & set(SPECIAL)):
        raise ValueError(f"a text of {name} has {' '.join(odd)}, which the front end reads as a command: write it out")
    return texts


def _slot(name: str, tooltip: str | None) -> dict[str, str]:
    return {"name": name} | ({"tooltip": tooltip} if tooltip else {})


def _leaves(texts: dict[str, Any]) -> Iterator[str]:
    for value in texts.values():
        yield from _leaves(value) if isinstance(value, dict) else [value]


def text(info: dict[str, Any]) -> str:
    """The content of `ENGLISH`."""
    return json.dumps(node_texts(info), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    ENGLISH.parent.mkdir(parents=True, exist_ok=True)
    write_text(ENGLISH, text(object_info()))
    print(ENGLISH.relative_to(ROOT))
