"""What a V3 node says about itself, and the class that it derives from.

The interface of `comfy_api.latest.io`: `Schema`, `ComfyNode`, `NodeOutput`. What the embedded host does not do
(lists, lazy inputs, graph expansion) is refused by name when the node is registered.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from .inputs import Hidden, Input, Output


@dataclass
class Schema:
    """Definition of a node: identity, sockets, help."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    search_aliases: list[str] = field(default_factory=list)
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_dev_only: bool = False
    is_api_node: bool = False
    not_idempotent: bool = False
    enable_expand: bool = False
    accept_all_inputs: bool = False
    essentials_category: str | None = None
    has_intermediate_output: bool = False

    def finalize(self) -> None:
        """Add what ComfyUI adds: an output node sees the prompt, an unnamed output gets an id."""
        if self.is_output_node:
            self.hidden = [*self.hidden, *({Hidden.prompt, Hidden.extra_pnginfo} - set(self.hidden))]
            self.hidden.sort(key=list(Hidden).index)
        for index, output in enumerate(self.outputs):
            output.id = output.id or f"_{index}_{output.io_type}_"

    def validate(self) -> None:
        """Raise ValueError where two sockets share an id, or where the host cannot do what is asked."""
        for kind, sockets in (("input", self.inputs), ("output", self.outputs)):
            ids = [socket.id for socket in sockets]
            twice = sorted({str(id) for id in ids if ids.count(id) > 1})
            if twice:
                raise ValueError(f"node {self.node_id}: {kind} ids used twice: {', '.join(twice)}")
        unsupported = {
            "is_input_list": self.is_input_list,
            "enable_expand": self.enable_expand,
            "accept_all_inputs": self.accept_all_inputs,
            "is_api_node": self.is_api_node,
            "is_output_list": any(output.is_output_list for output in self.outputs),
            "lazy": any(input.options.get("lazy") for input in self.inputs),
            "raw_link": any(input.options.get("raw_link") for input in self.inputs),
        }
        asked = [name for name, wanted in unsupported.items() if wanted]
        if asked:
            raise ValueError(f"node {self.node_id} asks for {', '.join(asked)}: not in the embedded host")

    def input_types(self) -> dict[str, dict[str, tuple]]:
        """Inputs as /object_info writes them: required, optional and hidden."""
        types: dict[str, dict[str, tuple]] = {"required": {}}
        for input in self.inputs:
            group = types.setdefault("optional" if input.optional else "required", {})
            group[input.id] = (input.io_type, input.as_dict())
        if self.hidden:
            types["hidden"] = {hidden.name: (hidden.value,) for hidden in self.hidden}
        return types

    def node_info(self, python_module: str) -> dict[str, Any]:
        """The node's entry in /object_info."""
        inputs = self.input_types()
        return {
            "input": inputs,
            "input_order": {group: list(members) for group, members in inputs.items()},
            "is_input_list": self.is_input_list,
            "output": [output.io_type for output in self.outputs],
            "output_is_list": [output.is_output_list for output in self.outputs],
            "output_name": [output.display_name or output.io_type for output in self.outputs],
            "output_tooltips": [output.tooltip or None for output in self.outputs],
            "output_matchtypes": None,
            "name": self.node_id,
            "display_name": self.display_name,
            "description": self.description,
            "python_module": python_module,
            "category": self.category,
            "output_node": self.is_output_node,
            "deprecated": self.is_deprecated,
            "experimental": self.is_experimental,
            "dev_only": self.is_dev_only,
            "api_node": self.is_api_node,
            "price_badge": None,
            "search_aliases": self.search_aliases or None,
            "essentials_category": self.essentials_category,
            "has_intermediate_output": self.has_intermediate_output,
        }


class HiddenHolder:
    """The hidden values of one execution; those that were not asked for are None."""

    def __init__(self, values: dict[str, Any]):
        self.unique_id = values.get("unique_id")
        self.prompt = values.get("prompt")
        self.extra_pnginfo = values.get("extra_pnginfo")
        self.dynprompt = values.get("dynprompt")


class NodeOutput:
    """Results of a node, in the order of its outputs, and what the front end shows of them."""

    def __init__(self, *args: Any, ui: Any = None, block_execution: str | None = None):
        self.args = args
        self.ui = ui
        self.block_execution = block_execution

    @property
    def result(self) -> tuple | None:
        """The results, or None where there are none."""
        return self.args or None

    def __getitem__(self, index: int) -> Any:
        return self.args[index]


class ComfyNode:
    """Base class of a V3 node.

    A node defines the class methods `define_schema()` and `execute(**inputs)`, and where it needs them
    `validate_inputs(**inputs)` (True, or a sentence) and `fingerprint_inputs(**inputs)` (same value: cached).
    """

    SCHEMA: ClassVar[Schema | None] = None
    hidden: ClassVar[HiddenHolder] = HiddenHolder({})

    @classmethod
    def FINALIZE_SCHEMA(cls) -> Schema:
        """The schema as it is now: combos are read afresh."""
        schema = cls.define_schema()  # type: ignore[attr-defined]
        schema.finalize()
        return schema

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        """The schema, checked. Raises TypeError where a method is missing, ValueError as `Schema.validate`."""
        for method in ("define_schema", "execute"):
            if not callable(getattr(cls, method, None)):
                raise TypeError(f"node class {cls.__name__} defines no {method}")
        schema = cls.FINALIZE_SCHEMA()
        schema.validate()
        cls.SCHEMA = schema
        return schema

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, tuple]]:
        """Inputs as /object_info writes them."""
        return cls.FINALIZE_SCHEMA().input_types()


class ComfyExtension:
    """What `comfy_entrypoint` returns: the nodes of a pack."""

    async def on_load(self) -> None:
        """Called once, before the nodes are asked for."""

    async def get_node_list(self) -> list[type[ComfyNode]]:
        """The node classes of the pack."""
        return []
