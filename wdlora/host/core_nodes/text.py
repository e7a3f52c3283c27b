"""PreviewAny: any value as text under the node."""

import json
from typing import Any


class PreviewAny:
    """Any value as text."""

    CATEGORY = "utilities"
    SEARCH_ALIASES = ["show value", "print"]
    DESCRIPTION = "Shows any value as text under the node."
    RETURN_TYPES = ("STRING",)
    FUNCTION = "main"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"source": ("*", {})}}

    def main(self, source: Any = None) -> dict[str, Any]:
        if isinstance(source, str):
            text = source
        else:
            try:
                text = json.dumps(source, indent=4, ensure_ascii=False)
            except (TypeError, ValueError):
                text = str(source)
        return {"ui": {"text": (text,)}, "result": (text,)}


NODES = [(PreviewAny, "Preview as Text", "comfy_extras.nodes_preview_any")]
