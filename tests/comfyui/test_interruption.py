"""Our own loops hear the wish to stop within three seconds in a real ComfyUI, and the next graph runs.

ComfyUI's own computing after the wish is limited to that. The time of day, which is that of all processes on a busy
machine, is limited to a minute.
"""

import time

import pytest

from tests.cpu_time import cpu_seconds, needs_proc
from tests.nodes.loops import loops, whole_or_absent, write_inputs

from .test_server import Watched

pytestmark = [pytest.mark.slow, needs_proc]
LOOPS = loops()
LIMIT_S, WALL_S = 3.0, 60.0
AFTER_S = 0.5
"""How long a node has worked when it is asked to stop."""


@pytest.fixture(scope="module")
def comfy(server):
    write_inputs(server.base / "input")
    return server


@pytest.mark.parametrize("name", [name for name, loop in LOOPS.items() if not loop.text])
def test_a_loop_is_left_soon_after_the_wish_to_stop(comfy, figures, name):
    loop = LOOPS[name]
    before: list[float] = []

    def works(said):
        if said["type"] != "executing" or said["data"]["node"] != loop.node:
            return False
        time.sleep(AFTER_S)
        before.append(cpu_seconds(comfy.process.pid))
        return True

    watched = Watched(comfy, loop.graph, stop_at=works)
    assert watched.end == "execution_interrupted"
    assert watched.of("execution_interrupted")[-1]["node_id"] == loop.node
    took, computed = watched.ended - watched.stopped, cpu_seconds(comfy.process.pid) - before[0]
    figures(f"seconds to stop: {name} | {took:.1f}, of which computing", computed)
    assert computed < LIMIT_S and took < WALL_S
    assert whole_or_absent(comfy.base / "output")


def test_a_graph_runs_after_all_of_them(comfy):
    drawn = {"class_type": "CCMSampleMasks", "inputs": {"cohort": "Control", "count": 1, "size": 192, "seed": 3}}
    measured = {"class_type": "CCMBiomarkers", "inputs": {"masks": ["1", 0], "pixel_size_um": 1.0417}}
    assert comfy.succeed({"1": drawn, "2": measured})["2"]["ccm_table"]
