"""Our own loops hear the wish to stop within three seconds in the embedded host.

Their own computing after the wish is limited to that. The time of day, which is that of all processes on a busy
machine, is limited to a minute.
"""

import threading
import time
import uuid

import pytest

from tests.nodes.loops import loops, whole_or_absent, write_inputs
from wdlora.host.executor import PromptJob, Silence

LOOPS = loops()
LIMIT_S, WALL_S = 3.0, 60.0
AFTER_S = 0.5
"""How long a node has worked when it is asked to stop."""


class Stopper(Silence):
    """Asks the running job to stop while a node works."""

    def __init__(self):
        self.stop, self.asked, self.computed, self.loop = threading.Event(), 0.0, 0.0, None

    def _ask(self):
        self.asked, self.computed = time.monotonic(), time.process_time()
        self.stop.set()

    def send(self, event, data, client_id):
        if event == "executing" and data["node"] == self.loop.node and not self.loop.text:
            threading.Timer(AFTER_S, self._ask).start()

    def send_text(self, node_id, text, client_id):
        if self.loop.text and text == self.loop.text:
            self._ask()


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    from wdlora.host import Host

    made = Host(tmp_path_factory.mktemp("stopped") / "data", sink=Stopper(), device="cpu")
    write_inputs(made.folders.input)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_is_left_soon_after_the_wish_to_stop(host, name):
    sink = host.executor.sink
    sink.__init__()
    sink.loop = loop = LOOPS[name]
    verdict = host.validate(loop.graph)
    job = PromptJob(str(uuid.uuid4()), loop.graph, verdict.outputs, stop=sink.stop)
    result = host.executor.execute(job)
    took, computed = time.monotonic() - sink.asked, time.process_time() - sink.computed
    assert result.messages[-1][0] == "execution_interrupted", result.failure or result.messages[-1]
    assert result.messages[-1][1]["node_id"] == loop.node
    print(f"{name}: {took:.2f} s, of which it computed for {computed:.2f} s")
    assert computed < LIMIT_S and took < WALL_S
    assert whole_or_absent(host.folders.output)
