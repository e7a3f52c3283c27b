"""Texts and numbers as nodes: one value for several inputs."""

import sys
from typing import Any

from ..api import io

_ALIASES = ["constant", "value", "one value for several nodes"]


def _primitive(node_id: str, title: str, value: Any, output: Any) -> type[io.ComfyNode]:
    """A node that gives the value of its widget."""

    class Primitive(io.ComfyNode):
        """A value of its own, for several inputs."""

        @classmethod
        def define_schema(cls) -> io.Schema:
            return io.Schema(
                node_id=node_id,
                display_name=title,
                category="utilities/primitive",
                search_aliases=_ALIASES,
                inputs=[value],
                outputs=[output],
            )

        @classmethod
        def execute(cls, value: Any) -> io.NodeOutput:
            return io.NodeOutput(value)

    Primitive.__name__ = Primitive.__qualname__ = node_id
    return Primitive


_FAR = {"min": -sys.maxsize, "max": sys.maxsize}
PRIMITIVES = (
    _primitive("PrimitiveString", "Text", io.String.Input("value"), io.String.Output()),
    _primitive(
        "PrimitiveStringMultiline", "Text (Multiline)", io.String.Input("value", multiline=True), io.String.Output()
    ),
    _primitive("PrimitiveInt", "Int", io.Int.Input("value", control_after_generate="fixed", **_FAR), io.Int.Output()),
    _primitive("PrimitiveFloat", "Float", io.Float.Input("value", step=0.1, **_FAR), io.Float.Output()),
    _primitive("PrimitiveBoolean", "Boolean", io.Boolean.Input("value"), io.Boolean.Output()),
)

NODES = [(node, None, "comfy_extras.nodes_primitive") for node in PRIMITIVES]
