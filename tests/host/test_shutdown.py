"""The server ends within five seconds of SIGTERM, also with a job running and a browser that listens.

Its own computing is limited to that. The time of day, which is that of all processes on a busy machine, is limited to a
minute.
"""

import asyncio
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.cpu_time import cpu_seconds, ended_children_seconds, needs_proc
from tests.nodes.loops import painting

LIMIT_S, WALL_S = 5.0, 60.0


async def served(folder: Path) -> tuple[asyncio.subprocess.Process, str]:
    """A server with its data in a folder, and its address."""
    command = ["-m", "wdlora", "serve", "--port", "0", "--data", str(folder), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2], env=environment
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    found = re.search(r"http://127\.0\.0\.1:\d+/", line)
    assert found, line
    return process, found.group()


async def ended(folder: Path) -> tuple[int, float, float]:
    """Exit status of a server that is told to end while it samples, and its seconds of the day and of computing."""
    import aiohttp

    graph = painting()
    graph["masks"]["inputs"] |= {"count": 1, "size": 256}
    process, url = await served(folder)
    try:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}ws?clientId=x") as socket:
            answer = await session.post(f"{url}prompt", json={"prompt": graph, "client_id": "x"})
            assert answer.status == 200, await answer.text()
            async for message in socket:
                said = json.loads(message.data) if message.type == aiohttp.WSMsgType.TEXT else {}
                if said.get("type") == "progress" and said["data"]["node"] == "sample":
                    break
            before, asked = ended_children_seconds() + cpu_seconds(process.pid), time.monotonic()
            process.send_signal(signal.SIGTERM)
            status = await asyncio.wait_for(process.wait(), WALL_S)
            return status, time.monotonic() - asked, ended_children_seconds() - before
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@needs_proc
@pytest.mark.slow
def test_a_server_with_a_job_running_ends_soon(tmp_path):
    status, took, computed = asyncio.run(asyncio.wait_for(ended(tmp_path), 500))
    print(f"ended {took:.1f} s after SIGTERM, having computed for {computed:.1f} s")
    assert status == 0
    assert computed < LIMIT_S
