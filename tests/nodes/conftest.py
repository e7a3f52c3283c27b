"""A host whose graphs can be fed with any value, and one with a random small Qwen-Image-Edit in its folders."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.small_model import one_thread as one_thread


def with_giver(host: Any) -> Any:
    """The host with a node `Give` whose only output is `host.given[key]`, of any type."""
    from wdlora.host.api import io

    host.given = {}

    class Give(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="Give", inputs=[io.String.Input("key")], outputs=[io.AnyType.Output()])

        @classmethod
        def fingerprint_inputs(cls, key):
            return float("nan")

        @classmethod
        def execute(cls, key):
            return io.NodeOutput(host.given[key])

    class Say(io.ComfyNode):
        """Gives a text, the same as long as its text is the same: what a name by link is."""

        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="Say", inputs=[io.String.Input("text")], outputs=[io.AnyType.Output()])

        @classmethod
        def execute(cls, text):
            return io.NodeOutput(text)

    class Keep(io.ComfyNode):
        """Makes a graph run; what it is linked to is in the result's values."""

        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="Keep", is_output_node=True, inputs=[io.AnyType.Input("value")])

        @classmethod
        def execute(cls, value):
            return io.NodeOutput()

    host.registry.add(Give, "tests")
    host.registry.add(Keep, "tests")
    host.registry.add(Say, "tests")
    return host


class Runner:
    """Runs graphs of nodes written shortly; values that are no widget's are given by the node `Give`."""

    def __init__(self, host: Any):
        self.host = host

    def __call__(self, class_type: str, extra: dict[str, Any] | None = None, **inputs: Any) -> Any:
        """Run one node; `extra` are more nodes of the graph. Returns (verdict, result)."""
        graph: dict[str, Any] = dict(extra or {})
        shown: dict[str, Any] = {}
        for name, value in inputs.items():
            plain = isinstance(value, (str, int, float, bool)) or (isinstance(value, list) and value[:1] != [])
            if plain and not isinstance(value, torch.Tensor):
                shown[name] = value
            else:
                self.host.given[name] = value
                graph[f"give {name}"] = {"class_type": "Give", "inputs": {"key": name}}
                shown[name] = [f"give {name}", 0]
        graph["node"] = {"class_type": class_type, "inputs": shown}
        graph["keep"] = {"class_type": "Keep", "inputs": {"value": ["node", 0]}}
        return self.host.run(graph)

    def values(self, class_type: str, extra: dict[str, Any] | None = None, **inputs: Any) -> tuple:
        """The outputs of one node, which must succeed."""
        verdict, result = self(class_type, extra, **inputs)
        assert result is not None, verdict
        assert result.status == "success", result.failure["exception_message"]
        self.result = result
        return result.values["node"]

    def sentence(self, class_type: str, extra: dict[str, Any] | None = None, **inputs: Any) -> str:
        """What one node says when it refuses: in validation, or as an InputError."""
        verdict, result = self(class_type, extra, **inputs)
        errors = verdict.node_errors.get("node", {}).get("errors")
        if errors:
            return f"{errors[0]['message']} {errors[0]['details']}"
        assert result is not None and result.failure is not None, "the node did not refuse"
        assert result.failure["exception_type"] == "wdlora.errors.InputError", result.failure
        return result.failure["exception_message"]


@pytest.fixture
def run(tmp_path):
    from wdlora.host import Host

    return Runner(with_giver(Host(tmp_path / "data", device="cpu")))


@pytest.fixture(scope="session")
def painting_host(tmp_path_factory, small_model):
    """A host with the small model, kept by its executor from test to test."""
    from wdlora.host import Host

    return with_giver(Host(tmp_path_factory.mktemp("painter") / "data", models=[small_model], device="cpu"))


@pytest.fixture
def painter(painting_host):
    """The shared host, active again after other tests opened their own."""
    from wdlora.host import pack
    from wdlora.host.folders import open_folders

    open_folders(painting_host.folders)
    pack.engine_module().register(painting_host.engine)
    return painting_host


@pytest.fixture
def strokes() -> torch.Tensor:
    """MASK [1, 64, 64] with two strokes."""
    mask = torch.zeros(1, 64, 64)
    mask[0, :, 20:24] = 1
    mask[0, 32:35, 20:] = 1
    return mask


def write_grey(path: Any, pixels: np.ndarray, **options: Any) -> None:
    """A grey picture file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
