"""Execution: order, caching by input signature, progress, previews, interruption, errors."""

import json
import threading

import numpy as np
import pytest
from PIL import Image

from wdlora.errors import InputError
from wdlora.files import sha256
from wdlora.host.api import io
from wdlora.host.context import HostProgress, Interrupted, check_interrupted
from wdlora.host.executor import EVERYBODY, PromptJob


class Counter(io.ComfyNode):
    """Counts its runs; waits where it is told to."""

    runs: list = []
    fingerprint: object = 0
    started = threading.Event()

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Counter",
            is_output_node=True,
            hidden=[io.Hidden.extra_pnginfo],
            inputs=[io.Int.Input("value", default=0), io.AnyType.Input("after", optional=True)],
            outputs=[io.Int.Output()],
        )

    @classmethod
    def fingerprint_inputs(cls, value, after=None):
        return cls.fingerprint

    @classmethod
    def execute(cls, value, after=None):
        cls.runs.append((value, cls.hidden.extra_pnginfo))
        if value == 13:
            raise InputError("thirteen is not a number that anybody wants; give another")
        progress = HostProgress(4)
        progress.text("counting")
        for step in range(4):
            preview = Image.new("RGB", (8, 8)) if value == 2 else None
            progress.update(step + 1, preview=preview)
        if value == 99:
            cls.started.set()
            while True:
                check_interrupted()
        return io.NodeOutput(value + 1, ui={"text": [str(value)]})


@pytest.fixture
def counting(host):
    Counter.runs, Counter.fingerprint = [], 0
    Counter.started = threading.Event()
    host.registry.add(Counter, "tests")
    return host


def count(value, **inputs):
    return {"class_type": "Counter", "inputs": {"value": value, **inputs}}


def test_the_picture_and_its_graph_are_saved(host, graph):
    _verdict, result = host.run(graph, extra_pnginfo={"workflow": {"id": "w"}})
    assert result.status == "success" and result.executed == ["1", "2", "3", "4"]
    assert result.outputs == {"4": {"images": [{"filename": "out_00001_.png", "subfolder": "", "type": "output"}]}}
    with (
        Image.open(host.folders.output / "out_00001_.png") as saved,
        Image.open(host.folders.input / "mask.png") as given,
    ):
        pseudonym = f"image-{sha256(host.folders.input / 'mask.png')[:16]}.png"
        told = {**graph, "1": {**graph["1"], "inputs": {**graph["1"]["inputs"], "image": pseudonym}}}
        assert json.loads(saved.text["prompt"]) == told
        assert json.loads(saved.text["workflow"]) == {"id": "w"}
        assert np.array_equal(np.asarray(saved)[..., 0], np.asarray(given))


def test_what_did_not_change_is_not_run_again(host, graph):
    host.run(graph)
    assert host.run(graph)[1].executed == []
    graph["2"]["inputs"]["channel"] = "green"
    assert host.run(graph)[1].executed == ["2", "3", "4"]
    graph["4"]["inputs"]["filename_prefix"] = "other"
    assert host.run(graph)[1].executed == ["4"]


def test_a_renamed_node_is_the_same_node(host, graph):
    """The cache knows nodes by what they compute, not by their ids."""
    host.run(graph)
    renamed = {f"n{key}": node for key, node in graph.items()}
    for node in renamed.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list):
                node["inputs"][name] = [f"n{value[0]}", value[1]]
    assert host.run(renamed)[1].executed == []


def test_a_changed_file_is_read_again(host, graph):
    host.run(graph)
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(host.folders.input / "mask.png")
    assert host.run(graph)[1].executed == ["1", "2", "3", "4"]


def test_the_cached_result_is_shown_again(host, graph, sink):
    _, first = host.run(graph)
    sink.events.clear()
    _, second = host.run(graph)
    assert second.outputs == first.outputs
    events = {event: data for event, data, _ in sink.events}
    assert events["execution_cached"]["nodes"] == ["1", "2", "3", "4"]
    assert events["executed"]["output"] == first.outputs["4"]


def test_fingerprints(counting):
    graph = {"1": count(1)}
    counting.run(graph)
    counting.run(graph)
    assert len(Counter.runs) == 1
    Counter.fingerprint = 1
    counting.run(graph)
    assert len(Counter.runs) == 2
    Counter.fingerprint = float("nan")  # never the same
    counting.run(graph)
    counting.run(graph)
    assert len(Counter.runs) == 4


def test_a_failed_node_is_not_cached_and_what_came_before_is(counting):
    graph = {"1": count(1), "2": count(13, after=["1", 0])}
    counting.run(graph)
    _, result = counting.run(graph)
    assert [value for value, _ in Counter.runs] == [1, 13, 13]
    failure = result.failure
    assert failure["node_id"] == "2" and failure["node_type"] == "Counter"
    assert failure["exception_message"].strip() == "thirteen is not a number that anybody wants; give another"
    assert failure["exception_type"] == "wdlora.errors.InputError"
    assert failure["current_inputs"] == {"value": [13], "after": [2]}
    assert set(failure) >= {"prompt_id", "executed", "traceback", "current_outputs", "timestamp"}
    assert result.status == "error"


def test_hidden_values_reach_only_the_node_that_asks(counting):
    counting.run({"1": count(5)}, extra_pnginfo={"workflow": 1})
    assert Counter.runs == [(5, {"workflow": 1})]


def test_messages_come_in_comfyuis_order(counting, sink):
    verdict = counting.validate({"1": count(2)})
    job = PromptJob("p", {"1": count(2)}, verdict.outputs, extra_data={"client_id": "me"})
    counting.executor.execute(job)
    names = [event for event, _, _ in sink.events]
    assert names[:3] == ["execution_start", "execution_cached", "executing"]
    assert names[-2:] == ["executed", "execution_success"]
    assert {client for _, _, client in sink.events} == {"me"}
    values = [data["value"] for event, data, _ in sink.events if event == "progress"]
    assert values == [1, 2, 3, 4]
    states = [data["nodes"]["1"] for event, data, _ in sink.events if event == "progress_state"]
    assert states[0]["state"] == "running" and states[-1]["state"] == "finished"
    assert set(states[0]) == {
        "value",
        "max",
        "state",
        "prompt_id",
        "node_id",
        "display_node_id",
        "parent_node_id",
        "real_node_id",
    }
    assert len(sink.previews) == 4 and sink.previews[0][1]["node_id"] == "1"
    assert sink.texts == [("1", "counting")]


def test_interruption_stops_inside_a_node(counting, sink):
    verdict = counting.validate({"1": count(99)})
    job = PromptJob("p", {"1": count(99)}, verdict.outputs)
    results = []
    thread = threading.Thread(target=lambda: results.append(counting.executor.execute(job)))
    thread.start()
    assert Counter.started.wait(10)
    job.stop.set()
    thread.join(10)
    assert not thread.is_alive()
    (result,) = results
    assert result.status == "error" and isinstance(result.error, Interrupted)
    assert result.messages[-1][0] == "execution_interrupted"
    assert result.failure is None
    assert sink.events[-1][0] == "execution_interrupted" and sink.events[-1][2] == EVERYBODY


def test_progress_is_throttled_but_the_end_is_told(host, sink):
    from wdlora.host import context

    class Ears:
        heard: list = []

        def progress(self, node_id, value, total, preview=None):
            self.heard.append(value)

        def text(self, node_id, text):
            pass

    now = [0.0]
    with context.node(context.NodeContext("1", Ears(), threading.Event())):
        progress = HostProgress(1000, clock=lambda: now[0])
        for _ in range(1000):
            now[0] += 0.001  # a second in all: a message every 50 ms at most
            progress.advance()
    assert Ears.heard[0] == 1 and Ears.heard[-1] == 1000
    assert 19 <= len(Ears.heard) <= 22


def test_progress_outside_a_run_does_nothing():
    HostProgress(3).advance()
    check_interrupted()


def test_results_must_match_the_outputs(host):
    class Wrong(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="Wrong", outputs=[io.Int.Output(), io.Int.Output()], is_output_node=True)

        @classmethod
        def execute(cls):
            return io.NodeOutput(1)

    host.registry.add(Wrong, "tests")
    _, result = host.run({"1": {"class_type": "Wrong", "inputs": {}}})
    assert "1 results for 2 outputs" in result.failure["exception_message"]


def test_async_nodes_run(host):
    class Later(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="Later", outputs=[io.Int.Output()], is_output_node=True)

        @classmethod
        async def execute(cls):
            return io.NodeOutput(7)

    host.registry.add(Later, "tests")
    assert host.run({"1": {"class_type": "Later", "inputs": {}}})[1].values["1"] == (7,)


def test_messages_on_progress_grow_with_the_graph_and_not_with_its_square(host, sink):
    def bytes_of(n):
        sink.events.clear()
        host.executor.clear_cache()
        graph = {"0": {"class_type": "PrimitiveString", "inputs": {"value": "x"}}}
        for index in range(1, n):
            graph[str(index)] = {"class_type": "PreviewAny", "inputs": {"source": [str(index - 1), 0]}}
        assert host.run(graph)[1].status == "success"
        told = [data["nodes"] for event, data, _ in sink.events if event == "progress_state"]
        assert list(told[-1]) == [str(index) for index in range(max(n - 100, 0), n)]
        assert all(list(nodes.values())[-1]["state"] == "running" for nodes in told[::2])
        return sum(len(json.dumps(nodes)) for nodes in told)

    assert bytes_of(1600) < 4.5 * bytes_of(400)
