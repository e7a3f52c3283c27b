"""The server ends within five seconds of SIGTERM, also with a job running and a browser that listens.

Its own computing is limited, and not the time of day, which is that of all processes on a busy machine.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cpu_time import cpu_seconds, needs_proc
from tests.nodes.loops import painting

LIMIT_S = 5.0


@needs_proc
@pytest.mark.slow
def test_a_server_with_a_job_running_ends_soon(tmp_path):
    import aiohttp

    command = [sys.executable, "-m", "wdlora", "serve", "--port", "0", "--data", str(tmp_path), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], env=environment
    )
    graph = painting()
    graph["masks"]["inputs"] |= {"count": 1, "size": 256}

    async def ended(url: str) -> tuple[float, float]:
        """Seconds of the day and of computing from SIGTERM to the end."""
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}ws?clientId=x") as socket:
            answer = await session.post(f"{url}prompt", json={"prompt": graph, "client_id": "x"})
            assert answer.status == 200, await answer.text()
            async for message in socket:
                said = json.loads(message.data) if message.type == aiohttp.WSMsgType.TEXT else {}
                if said.get("type") == "progress" and said["data"]["node"] == "sample":
                    break
            before, asked = cpu_seconds(process.pid), time.monotonic()
            process.send_signal(signal.SIGTERM)
            _, status, used = await asyncio.to_thread(os.wait4, process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            return time.monotonic() - asked, used.ru_utime + used.ru_stime - before

    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/", line := process.stdout.readline())
        assert found, line
        took, computed = asyncio.run(asyncio.wait_for(ended(found.group()), 500))
        print(f"ended {took:.1f} s after SIGTERM, having computed for {computed:.1f} s")
        assert process.returncode == 0
        assert computed < LIMIT_S
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
