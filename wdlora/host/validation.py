"""Validation of an API-format graph, with ComfyUI's error types and shapes.

Only what an output node needs is checked; outputs that are sound run even if others are not.
"""

import inspect
import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from ..errors import ErrorSentence, InputError
from ..graph import Graph
from ..graph.links import Parents, Step, is_link, linked, walk
from ..graph.refusal import MISSING_FILE
from .registry import NodeType, Registry

_CONVERT = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
_LONG_LIST = 20
"""Of choices and of outputs in an answer, which is to grow with the graph and not with its square."""


@dataclass
class Verdict:
    """What validation found.

    outputs: ids of the output nodes that can run. error: why nothing can run, or None. node_errors: per node,
    as ComfyUI sends them to the front end.
    """

    outputs: list[str] = field(default_factory=list)
    error: dict[str, Any] | None = None
    node_errors: dict[str, dict[str, Any]] = field(default_factory=dict)


def validate(prompt: Any, registry: Registry, targets: list[str] | None = None) -> Verdict:
    """Check a graph; converts numbers and texts in it to what the nodes take, as ComfyUI does.

    targets: run only these output nodes (a partial execution).
    """
    if not isinstance(prompt, dict):
        return Verdict(error=_error("invalid_prompt", "The prompt is not a graph", "It must be a JSON object"))
    outputs: list[str] = []
    for node_id, node in prompt.items():
        failure = _check_node(node_id, node, registry)
        if failure is not None:
            return Verdict(error=failure)
        node_type = registry.get(node["class_type"])
        if node_type is not None and node_type.is_output and (targets is None or node_id in targets):
            outputs.append(node_id)
    if not outputs:
        return Verdict(error=_error("prompt_no_outputs", "Prompt has no outputs"))

    checker = _Checker(prompt, registry)
    checker.check(outputs)
    bad = [output for output in outputs if not checker.sound[output]]
    needing = _needing(bad, checker.parents)
    node_errors = {
        node_id: {
            "errors": errors,
            "dependent_outputs": needing[node_id],
            "class_type": prompt[node_id]["class_type"],
        }
        for node_id, errors in checker.errors.items()
        if errors
    }
    good = [output for output in outputs if checker.sound[output]]
    if good:
        return Verdict(outputs=good, node_errors=node_errors)
    details = "\n".join(
        f"{error['message']}: {error['details']}" for output in outputs for error in checker.errors.get(output, [])
    )
    failure = _error("prompt_outputs_failed_validation", "Prompt outputs failed validation", details)
    return Verdict(error=failure, node_errors=node_errors)


def _needing(outputs: list[str], parents: Parents) -> dict[str, list[str]]:
    """For every node above some outputs, the outputs that need it, in their order: the first `_LONG_LIST` of them."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for output in outputs:
        todo = [output]
        while todo:
            known = found[todo[-1]]
            node_id = todo.pop()
            if output not in known and len(known) < _LONG_LIST:
                known[output] = None
                todo.extend(parents(node_id))
    return {node_id: list(known) for node_id, known in found.items()}


def types_fit(given: object, wanted: object) -> bool:
    """Whether an output of type `given` may feed an input of type `wanted` ("*" and unions "A,B" included)."""
    if given == wanted:
        return True
    if wanted == "COMBO" and isinstance(given, list):
        return True
    if not isinstance(given, str) or not isinstance(wanted, str):
        return False
    offered, taken = ({name.strip() for name in text.split(",")} for text in (given, wanted))
    return "*" in offered | taken or bool(offered & taken)


def _check_node(node_id: str, node: Any, registry: Registry) -> dict[str, Any] | None:
    """The error that makes the whole graph unusable, if this node has one."""
    if not isinstance(node, dict):
        details = f"Node ID '#{node_id}'"
        return _error("invalid_prompt", f"Node {node_id!r} is not a JSON object", details)
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    class_type = node.get("class_type")
    extra = {"node_id": node_id, "class_type": class_type, "node_title": title}
    if class_type is None:
        named = title or f"ID #{node_id}"
        message = f"Node '{named}' has no class_type: the file is damaged, or it is not an API export."
        return _error("missing_node_type", message, f"Node ID '#{node_id}'", extra)
    if registry.get(class_type) is None:
        extra["node_title"] = title or class_type
        message = f"Node '{title or class_type}' not found: this host has no node of type {class_type!r}."
        return _error("missing_node_type", message, f"Node ID '#{node_id}'", extra)
    if not isinstance(node.get("inputs", {}), dict):
        return _error("invalid_prompt", f"The inputs of node {node_id!r} are not a JSON object", "", extra)
    node.setdefault("inputs", {})
    return None


class _Checker:
    """Errors of every node that the outputs need."""

    def __init__(self, prompt: Graph, registry: Registry):
        self.prompt = prompt
        self.registry = registry
        self.errors: dict[str, list[dict[str, Any]]] = {}
        self.sound: dict[str, bool] = {}
        self._inputs: dict[str, tuple[dict[str, tuple], frozenset[str]]] = {}

    def parents(self, node_id: str) -> list[str]:
        """The nodes that this node's declared inputs link to."""
        declared, _ = self._declared(node_id)
        inputs = self.prompt[node_id]["inputs"]
        return linked({name: value for name, value in inputs.items() if name in declared}, self.prompt)

    def check(self, outputs: list[str]) -> None:
        """Visit everything that the outputs need."""
        for step, path in walk(outputs, self.parents):
            if step is Step.ENTER:
                self.errors.setdefault(path[0], []).extend(self._own_errors(path[0]))
            elif step is Step.LEAVE:
                sound = all(self.sound.get(parent, False) for parent in self.parents(path[0]))
                self.sound[path[0]] = sound and not self.errors[path[0]]
            else:
                self._report_cycle(path)

    def _report_cycle(self, path: list[str]) -> None:
        members = list(dict.fromkeys(path))
        text = " -> ".join(f"{node_id} ({self.prompt[node_id]['class_type']})" for node_id in path)
        for node_id in members:
            known = self.errors.setdefault(node_id, [])
            if not any(error["type"] == "dependency_cycle" for error in known):
                extra = {"node_id": node_id, "cycle_nodes": members}
                known.append(_error("dependency_cycle", "Dependency cycle detected", text, extra))

    def _declared(self, node_id: str) -> tuple[dict[str, tuple], frozenset[str]]:
        """The inputs that the node's class declares, and the names of those that are required."""
        class_type = self.prompt[node_id]["class_type"]
        if class_type not in self._inputs:
            types = self._type(node_id).input_types()
            required, optional = types.get("required", {}), types.get("optional", {})
            self._inputs[class_type] = ({**required, **optional}, frozenset(required))
        return self._inputs[class_type]

    def _type(self, node_id: str) -> NodeType:
        node_type = self.registry.get(self.prompt[node_id]["class_type"])
        assert node_type is not None
        return node_type

    def _own_errors(self, node_id: str) -> list[dict[str, Any]]:
        inputs = self.prompt[node_id]["inputs"]
        declared, required = self._declared(node_id)
        validator = self._type(node_id).validator
        checked_by_node = _parameters(validator)
        errors = []
        for name, spec in declared.items():
            config = (spec[0], spec[1] if len(spec) > 1 else {})
            if name not in inputs:
                if name in required:
                    extra = {"input_name": name}
                    errors.append(_error("required_input_missing", "Required input is missing", name, extra))
                continue
            if isinstance(inputs[name], list):
                error = self._check_link(name, inputs[name], config)
            else:
                error = _convert(name, inputs, config)
                if error is None and checked_by_node is not None and name not in checked_by_node:
                    error = _check_value(name, inputs[name], config)
            if error is not None:
                errors.append(error)
        if validator is not None and not errors:
            errors.extend(_ask_node(validator, inputs, declared, checked_by_node))
        return errors

    def _check_link(self, name: str, value: list, config: tuple) -> dict[str, Any] | None:
        extra: dict[str, Any] = {"input_name": name, "input_config": _told(config), "received_value": value}
        if not is_link(value):
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return _error("bad_linked_input", message, name, extra)
        if value[0] not in self.prompt:
            message = f"Bad linked input, node '#{value[0]}' does not exist"
            return _error("bad_linked_input", message, name, extra)
        given = self._type(value[0]).outputs
        if not 0 <= value[1] < len(given):
            message = f"Bad linked input, node '#{value[0]}' has no output {value[1]}"
            return _error("bad_linked_input", message, name, extra)
        if types_fit(given[value[1]], config[0]):
            return None
        extra = {
            "input_name": name,
            "input_config": _told(config),
            "received_type": given[value[1]],
            "linked_node": value,
        }
        details = f"{name}, received_type({given[value[1]]}) mismatch input_type({_kind(config)})"
        return _error("return_type_mismatch", "Return type mismatch between linked nodes", details, extra)


def _kind(config: tuple) -> str:
    """The type of an input; a combo's is the list of its choices."""
    return "COMBO" if isinstance(config[0], list) else config[0]


def _told(config: tuple) -> tuple | None:
    """An input's declaration for an answer, without one that lists hundreds of files."""
    choices = config[0] if isinstance(config[0], list) else config[1].get("options", [])
    return config if len(choices) <= _LONG_LIST else None


def _parameters(validator: Any) -> set[str] | None:
    """Inputs that the node's own validator takes; None if it takes them all."""
    if validator is None:
        return set()
    spec = inspect.getfullargspec(validator)
    return None if spec.varkw is not None else {*spec.args, *spec.kwonlyargs}


def _convert(name: str, inputs: dict[str, Any], config: tuple) -> dict[str, Any] | None:
    """Convert a widget's value in place; the error if that fails."""
    value = inputs[name]
    if isinstance(value, dict) and "__value__" in value:
        value = inputs[name] = value["__value__"]
    value = inputs[name] = _as_listed(value, config)
    convert = _CONVERT.get(config[0]) if isinstance(config[0], str) else None
    try:
        if convert is not None:
            value = inputs[name] = convert(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("not a finite number")
        if (isinstance(config[0], list) or config[0] == "COMBO") and not isinstance(value, (str, int, float)):
            raise TypeError("not one of a list's values")
    except (ValueError, TypeError, OverflowError) as problem:
        extra = {
            "input_name": name,
            "input_config": _told(config),
            "received_value": inputs[name],
            "exception_message": str(problem),
        }
        message = f"Failed to convert an input value to a {_kind(config)} value"
        return _error("invalid_input_type", message, f"{name}, {inputs[name]}, {problem}", extra)
    if isinstance(config[0], str) and config[0] not in (*_CONVERT, "COMBO", "*"):
        extra = {"input_name": name, "input_config": _told(config), "received_value": value}
        message = f"Input must be linked to a node that gives {config[0]}"
        return _error("bad_linked_input", message, name, extra)
    return None


def _as_listed(value: Any, config: tuple) -> Any:
    r"""A choice that another system wrote with its own divider of folders (`sub\file`), as the list has it."""
    choices = config[0] if isinstance(config[0], list) else config[1].get("options", [])
    if _kind(config) != "COMBO" or not isinstance(value, str) or value in choices:
        return value
    ways = (value.replace("\\", "/"), value.replace("/", "\\"))
    return next((way for way in ways if way in choices), value)


def _check_value(name: str, value: Any, config: tuple) -> dict[str, Any] | None:
    """Range and combo of a widget's value."""
    kind, options = config
    extra: dict[str, Any] = {"input_name": name, "input_config": _told(config), "received_value": value}
    if kind in ("INT", "FLOAT"):
        if "min" in options and value < options["min"]:
            message = f"Value {value} smaller than min of {options['min']}"
            return _error("value_smaller_than_min", message, name, extra)
        if "max" in options and value > options["max"]:
            message = f"Value {value} bigger than max of {options['max']}"
            return _error("value_bigger_than_max", message, name, extra)
    if isinstance(kind, list) or kind == "COMBO":
        choices = kind if isinstance(kind, list) else options.get("options", [])
        if value not in choices:
            listed = str(choices)
            if len(choices) > _LONG_LIST:
                listed = f"(list of length {len(choices)})"
            return _error("value_not_in_list", "Value not in list", f"{name}: {value!r} not in {listed}", extra)
    return None


def _ask_node(
    validator: Any, inputs: dict[str, Any], declared: dict[str, tuple], names: set[str] | None
) -> list[dict[str, Any]]:
    """Errors that the node's own validator reports; it sees None in place of a link."""
    asked = {
        name: None if isinstance(value, list) else value
        for name, value in inputs.items()
        if name in declared and (names is None or name in names)
    }
    try:
        answer = validator(**asked)
    except Exception as problem:
        answer = ErrorSentence(problem)
    if answer is True:
        return []
    errors = []
    for said in answer if isinstance(answer, list) else [answer]:
        error = said.error if isinstance(said, ErrorSentence) else said
        of_input = error if isinstance(error, InputError) else None
        name = (of_input.input if of_input else "") or next(iter(asked), "")
        extra: dict[str, Any] = {"input_name": name}
        if of_input and of_input.missing_file:
            extra[MISSING_FILE] = True
        details = name if said is False else f"{name} - {said}"
        errors.append(_error("custom_validation_failed", "Custom validation failed for node", details, extra))
    return errors


def _error(kind: str, message: str, details: str = "", extra_info: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": extra_info or {}}
