"""The nodes of the embedded host, V1 and V3 behind one face."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import InputError
from .api.schema import ComfyNode, HiddenHolder, NodeOutput


class NodeType:
    """One class of node: what it takes, gives, and how it is run."""

    def __init__(self, node_id: str, cls: Any, display_name: str | None, python_module: str):
        self.node_id = node_id
        self.cls = cls  # a V3 class, or one with V1's INPUT_TYPES, RETURN_TYPES and FUNCTION
        self.display_name = display_name
        self.python_module = python_module
        self.is_v3 = issubclass(cls, ComfyNode)
        if self.is_v3:
            schema = self.cls.GET_SCHEMA()
            self.outputs = [output.io_type for output in schema.outputs]
            self.is_output = schema.is_output_node
            self.not_idempotent = schema.not_idempotent
        else:
            self.outputs = list(self.cls.RETURN_TYPES)
            self.is_output = getattr(cls, "OUTPUT_NODE", False) is True
            self.not_idempotent = getattr(cls, "NOT_IDEMPOTENT", False)

    def input_types(self) -> dict[str, dict[str, tuple]]:
        """Inputs as /object_info writes them, with combos read afresh."""
        return self.cls.INPUT_TYPES()

    def info(self) -> dict[str, Any]:
        """The node's entry in /object_info."""
        if self.is_v3:
            return self.cls.GET_SCHEMA().node_info(self.python_module)
        inputs = self.input_types()
        info = {
            "input": inputs,
            "input_order": {group: list(members) for group, members in inputs.items()},
            "is_input_list": False,
            "output": list(self.outputs),
            "output_is_list": [False] * len(self.outputs),
            "output_name": list(getattr(self.cls, "RETURN_NAMES", self.outputs)),
            "name": self.node_id,
            "display_name": self.display_name or self.node_id,
            "description": getattr(self.cls, "DESCRIPTION", ""),
            "python_module": self.python_module,
            "category": getattr(self.cls, "CATEGORY", "sd"),
            "output_node": self.is_output,
            "has_intermediate_output": False,
            "search_aliases": list(getattr(self.cls, "SEARCH_ALIASES", [])),
        }
        if hasattr(self.cls, "OUTPUT_TOOLTIPS"):
            info["output_tooltips"] = list(self.cls.OUTPUT_TOOLTIPS)
        if hasattr(self.cls, "ESSENTIALS_CATEGORY"):
            info["essentials_category"] = self.cls.ESSENTIALS_CATEGORY
        for flag in ("DEPRECATED", "EXPERIMENTAL"):
            if getattr(self.cls, flag, False):
                info[flag.lower()] = True
        return info

    def hidden(self) -> dict[str, str]:
        """The hidden values that the node asks for: name → kind, such as "UNIQUE_ID"."""
        specs = self.input_types().get("hidden", {})
        return {name: spec if isinstance(spec, str) else spec[0] for name, spec in specs.items()}

    @property
    def validator(self) -> Callable[..., Any] | None:
        """The node's own check of its inputs, if it has one.

        ComfyUI repeats a refusal of `validate_inputs` at every input that it takes. Nodes of this pack that check
        several have `check_inputs` beside it, which gives a list of InputErrors, each with its own input.
        """
        if self.is_v3 and (check := getattr(self.cls, "check_inputs", None)) is not None:
            return check
        return getattr(self.cls, "validate_inputs" if self.is_v3 else "VALIDATE_INPUTS", None)

    @property
    def fingerprint(self) -> Callable[..., Any] | None:
        """The node's own account of what its result depends on besides its inputs, if it has one."""
        return getattr(self.cls, "fingerprint_inputs" if self.is_v3 else "IS_CHANGED", None)

    def run(self, inputs: dict[str, Any], hidden: dict[str, Any]) -> tuple[tuple, dict[str, Any] | None]:
        """Execute the node; returns its results and what it shows.

        `hidden` maps unique_id, prompt and extra_pnginfo to their values. Raises what the node raises, and
        InputError where it returns something that is no result.
        """
        asked = self.hidden()
        if self.is_v3:
            held = HiddenHolder({name: hidden.get(name) for name in asked})
            cls = type(self.cls.__name__, (self.cls,), {"hidden": held})
            returned = cls.execute(**inputs)  # type: ignore[attr-defined]
        else:
            values = {name: hidden.get(kind.lower()) for name, kind in asked.items()}
            returned = getattr(self.cls(), self.cls.FUNCTION)(**inputs, **values)
        if inspect.iscoroutine(returned):
            returned = asyncio.run(returned)
        results, ui = _unpack(returned)
        if len(results) != len(self.outputs) and not (self.is_output and not results):
            raise InputError(f"node {self.node_id} gave {len(results)} results for {len(self.outputs)} outputs")
        return results, ui


class Registry:
    """All classes of node that a graph may name."""

    def __init__(self) -> None:
        self._types: dict[str, NodeType] = {}

    def add(self, cls: type, python_module: str, node_id: str | None = None, display_name: str | None = None) -> None:
        """Add a class; a V3 class knows its own id and name. Raises ValueError where an id is taken."""
        if issubclass(cls, ComfyNode):
            schema = cls.GET_SCHEMA()
            node_id, display_name = schema.node_id, schema.display_name
        name = node_id or cls.__name__
        if name in self._types:
            raise ValueError(f"there are two nodes called {name}")
        self._types[name] = NodeType(name, cls, display_name, python_module)

    def get(self, node_id: object) -> NodeType | None:
        """The class of that id, or None."""
        return self._types.get(node_id) if isinstance(node_id, str) else None

    def __iter__(self) -> Iterator[NodeType]:
        return iter(self._types.values())

    def info(self) -> dict[str, Any]:
        """/object_info."""
        return {name: node.info() for name, node in self._types.items()}


def _unpack(returned: Any) -> tuple[tuple, dict[str, Any] | None]:
    if returned is None:
        return (), None
    if isinstance(returned, NodeOutput):
        if returned.block_execution is not None:
            raise InputError(returned.block_execution)
        return returned.args, _as_dict(returned.ui)
    if isinstance(returned, dict):
        return tuple(returned.get("result", ())), _as_dict(returned.get("ui"))
    if isinstance(returned, tuple):
        return returned, None
    raise InputError(f"a node returned a {type(returned).__name__}, which is not a result")


def _as_dict(ui: Any) -> dict[str, Any] | None:
    if ui is None:
        return None
    values = ui if isinstance(ui, dict) else ui.as_dict()
    return {key: list(value) for key, value in values.items()}
