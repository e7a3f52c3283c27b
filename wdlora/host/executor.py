"""Execution of a validated graph: in order, with caching by input signature, progress and interruption.

The messages are ComfyUI's: execution_start, execution_cached, executing, progress_state, progress, executed,
and execution_success, execution_error or execution_interrupted.
"""

import hashlib
import itertools
import json
import logging
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..graph import Graph
from ..graph.links import execution_order, is_link
from . import context
from .context import Interrupted
from .folders import Folders, using
from .registry import Registry

log = logging.getLogger(__name__)
EVERYBODY = "*"
"""In place of a client id: a message for every browser."""

_LONGEST_VALUE = 400
_MOST_STATES = 100
"""Nodes in a message on progress, those that changed last: with all of them messages grow with a graph's square."""


class Sink(Protocol):
    """Where the messages of a run go."""

    def send(self, event: str, data: dict[str, Any], client_id: str | None) -> None:
        """One message for one browser, for EVERYBODY, or for none (None: the job came from no browser)."""

    def send_preview(self, image: Any, metadata: dict[str, Any], client_id: str | None) -> None:
        """A PIL image that a node shows while it runs."""

    def send_text(self, node_id: str, text: str, client_id: str | None) -> None:
        """A line of text that a node shows while it runs."""

    def watched(self, client_id: str | None) -> bool:
        """Whether somebody sees the previews of that browser's job."""


class Silence:
    """A sink that drops everything."""

    def send(self, event: str, data: dict[str, Any], client_id: str | None) -> None:
        """Drop a message."""

    def send_preview(self, image: Any, metadata: dict[str, Any], client_id: str | None) -> None:
        """Drop a preview."""

    def send_text(self, node_id: str, text: str, client_id: str | None) -> None:
        """Drop a text."""

    def watched(self, client_id: str | None) -> bool:
        """Nobody does."""
        return False


@dataclass
class PromptJob:
    """A graph to run.

    outputs: the output nodes that validation found sound. stop: set it, and the job ends at its next report of
    progress or before its next node.
    """

    prompt_id: str
    prompt: Graph
    outputs: list[str]
    number: float = 0
    extra_data: dict[str, Any] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def client_id(self) -> str | None:
        """The browser that asked."""
        return self.extra_data.get("client_id")


@dataclass
class Result:
    """What a run left: `outputs` as the front end shows them, `values` per node, and the messages sent."""

    status: str = "success"
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    meta: dict[str, dict[str, Any]] = field(default_factory=dict)
    values: dict[str, tuple] = field(default_factory=dict)
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def failure(self) -> dict[str, Any] | None:
        """The message execution_error, if there was one."""
        return next((data for event, data in self.messages if event == "execution_error"), None)


@dataclass
class _Entry:
    values: tuple
    ui: dict[str, Any] | None


class Executor:
    """Runs one job at a time and keeps the results of the last graph for the next.

    prepare: called before each job. stamps: what is written into the pictures of a graph beside it.
    """

    def __init__(
        self,
        registry: Registry,
        folders: Folders,
        sink: Sink | None = None,
        prepare: Callable[[], None] = lambda: None,
        stamps: Callable[[Graph], dict[str, Any]] = lambda graph: {},
    ):
        self.registry = registry
        self.folders = folders
        self.sink: Sink = sink or Silence()
        self._prepare = prepare
        self._stamps = stamps
        self._cache: dict[str, _Entry] = {}

    def clear_cache(self) -> None:
        """Forget all kept results."""
        self._cache.clear()

    def execute(self, job: PromptJob) -> Result:
        """Run a job to its end. Never raises for what a node does: the result tells."""
        import torch

        self._prepare()
        with using(self.folders), torch.inference_mode():
            return _Run(self, job, self._stamps(job.prompt)).execute(self._cache)


class _Run:
    def __init__(self, executor: Executor, job: PromptJob, stamps: dict[str, Any]):
        self.registry, self.sink = executor.registry, executor.sink
        self.job, self.stop = job, job.stop
        self.pnginfo = (job.extra_data.get("extra_pnginfo") or {}) | stamps
        self.result = Result()
        self.states: dict[str, dict[str, Any]] = {}

    # What `context.Listener` asks for

    def progress(self, node_id: str, value: float, total: float, preview: Any = None) -> None:
        """Tell the front end how far a node is."""
        self._set_state(node_id, "running", value, total)
        data = {"value": value, "max": total, "prompt_id": self.job.prompt_id, "node": node_id}
        self.sink.send("progress", data, self.job.client_id)
        if preview is not None:
            metadata = {"prompt_id": self.job.prompt_id, **_identity(node_id)}
            self.sink.send_preview(preview, metadata, self.job.client_id)

    def text(self, node_id: str, text: str) -> None:
        """Show a line of text on a node."""
        self.sink.send_text(node_id, text, self.job.client_id)

    @property
    def watched(self) -> bool:
        """Whether somebody sees previews."""
        return self.sink.watched(self.job.client_id)

    def execute(self, cache: dict[str, _Entry]) -> Result:
        """Run every node that the outputs need and that the cache lacks."""
        self._message("execution_start", {})
        order = execution_order(self.job.prompt, self.job.outputs)
        signatures = Signatures(self.job.prompt, self.registry)
        keys = {node_id: signatures[node_id] for node_id in order}
        for stale in set(cache) - set(keys.values()):
            del cache[stale]
        self._message("execution_cached", {"nodes": [node for node in order if keys[node] in cache]})
        inputs: dict[str, Any] = {}
        for node_id in order:
            try:
                entry = cache.get(keys[node_id])
                if entry is None:
                    if self.stop.is_set():
                        raise Interrupted
                    self._send("executing", {"node": node_id, "display_node": node_id})
                    self._set_state(node_id, "running", 0, 1)
                    inputs = self._inputs(node_id)
                    entry = cache[keys[node_id]] = self._run_node(node_id, inputs)
                    self.result.executed.append(node_id)
            except Interrupted as interruption:
                self._fail(node_id, interruption)
                self._message("execution_interrupted", self._where(node_id), everybody=True)
                return self.result
            except Exception as error:
                log.debug("node %s failed", node_id, exc_info=True)
                self._fail(node_id, error)
                self._message("execution_error", {**self._where(node_id), **_describe(error, inputs)})
                return self.result
            self._finish(node_id, entry)
        self._message("execution_success", {})
        return self.result

    def _run_node(self, node_id: str, inputs: dict[str, Any]) -> _Entry:
        node_type = self.registry.get(self.job.prompt[node_id]["class_type"])
        assert node_type is not None
        hidden = {
            "unique_id": node_id,
            "prompt": self.job.prompt,
            "dynprompt": self.job.prompt,
            "extra_pnginfo": self.pnginfo or None,
        }
        with context.node(context.NodeContext(node_id, self, self.stop, self.job.prompt)):
            values, ui = node_type.run(inputs, hidden)
        return _Entry(values, ui)

    def _inputs(self, node_id: str) -> dict[str, Any]:
        node = self.job.prompt[node_id]
        node_type = self.registry.get(node["class_type"])
        assert node_type is not None
        types = node_type.input_types()
        declared = {**types.get("required", {}), **types.get("optional", {})}
        return {
            name: self.result.values[value[0]][value[1]] if is_link(value) else value
            for name, value in node["inputs"].items()
            if name in declared
        }

    def _finish(self, node_id: str, entry: _Entry) -> None:
        self.result.values[node_id] = entry.values
        self._set_state(node_id, "finished", 1, 1)
        if entry.ui is not None:
            self.result.outputs[node_id] = entry.ui
            self.result.meta[node_id] = {
                "node_id": node_id,
                "display_node": node_id,
                "parent_node": None,
                "real_node_id": node_id,
            }
            self._send("executed", {"node": node_id, "display_node": node_id, "output": entry.ui})

    def _fail(self, node_id: str, error: BaseException) -> None:
        self.result.status = "error"
        self.result.error = error
        if node_id in self.states:
            self._set_state(node_id, "error", 0, 1)

    def _where(self, node_id: str) -> dict[str, Any]:
        class_type = self.job.prompt[node_id]["class_type"]
        return {"node_id": node_id, "node_type": class_type, "executed": list(self.result.executed)}

    def _set_state(self, node_id: str, state: str, value: float, total: float) -> None:
        self.states.pop(node_id, None)  # the one that changed last is the last
        self.states[node_id] = {
            "value": value,
            "max": total,
            "state": state,
            "prompt_id": self.job.prompt_id,
            **_identity(node_id),
        }
        latest = list(itertools.islice(reversed(self.states.items()), _MOST_STATES))
        self._send("progress_state", {"nodes": dict(reversed(latest))})

    def _send(self, event: str, data: dict[str, Any]) -> None:
        self.sink.send(event, {**data, "prompt_id": self.job.prompt_id}, self.job.client_id)

    def _message(self, event: str, data: dict[str, Any], everybody: bool = False) -> None:
        data = {"prompt_id": self.job.prompt_id, **data, "timestamp": int(time.time() * 1000)}
        self.result.messages.append((event, data))
        self.sink.send(event, data, EVERYBODY if everybody else self.job.client_id)


class Signatures:
    """Hash of what a node's result depends on: its class, its values, its fingerprint, and its ancestors' hashes.

    Ask in execution order. A node whose fingerprint is NaN, or cannot be taken, never equals anything.
    """

    def __init__(self, prompt: Graph, registry: Registry):
        self.prompt = prompt
        self.registry = registry
        self._known: dict[str, str] = {}

    def __getitem__(self, node_id: str) -> str:
        if node_id not in self._known:
            self._known[node_id] = self._hash(node_id)
        return self._known[node_id]

    def _hash(self, node_id: str) -> str:
        node = self.prompt[node_id]
        node_type = self.registry.get(node["class_type"])
        assert node_type is not None
        types = node_type.input_types()
        declared = {**types.get("required", {}), **types.get("optional", {})}
        inputs = {name: value for name, value in sorted(node["inputs"].items()) if name in declared}
        depends = {
            "class": node["class_type"],
            "inputs": {
                name: ["link", self[value[0]], value[1]] if is_link(value) else ["value", value]
                for name, value in inputs.items()
            },
            "fingerprint": _fingerprint(node_type.fingerprint, inputs),
            "node": node_id if node_type.not_idempotent or "UNIQUE_ID" in node_type.hidden().values() else None,
        }
        return hashlib.sha256(json.dumps(depends, default=repr, sort_keys=True).encode()).hexdigest()


def _fingerprint(fingerprint: Callable[..., Any] | None, inputs: dict[str, Any]) -> Any:
    if fingerprint is None:
        return None
    try:
        value = fingerprint(**{name: None if is_link(value) else value for name, value in inputs.items()})
    except Exception as problem:
        log.debug("a node's fingerprint failed: %s", problem)
        return uuid.uuid4().hex
    return uuid.uuid4().hex if value != value else value


def _identity(node_id: str) -> dict[str, Any]:
    return {
        "node_id": node_id,
        "display_node_id": node_id,
        "parent_node_id": None,
        "real_node_id": node_id,
    }


def _describe(error: BaseException, inputs: dict[str, Any]) -> dict[str, Any]:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    tip = ""
    if kind.__name__ == "OutOfMemoryError":
        tip = "Not enough memory on the device: try fp8 weights, a smaller mask or batch, or --device cpu."
    return {
        "exception_message": f"{error}\n{tip}",
        "exception_type": name,
        "traceback": traceback.format_tb(error.__traceback__),
        "current_inputs": {key: [_format(value)] for key, value in inputs.items()},
        "current_outputs": [],
    }


def _format(value: Any) -> Any:
    if value is None or isinstance(value, (int, float, bool)):
        return value
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__} {tuple(value.shape)} {value.dtype}"
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"
