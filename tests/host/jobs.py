"""Jobs of a running server: waiting for them, and one that runs until it is interrupted."""

import asyncio

from PIL import Image


async def finished(client, prompt_id, seconds=20):
    """The history's entry, once it is there."""
    for _ in range(int(seconds / 0.02)):
        entry = (await (await client.get(f"/history/{prompt_id}")).json()).get(prompt_id)
        if entry:
            return entry
        await asyncio.sleep(0.02)
    raise TimeoutError(prompt_id)


async def running(client):
    for _ in range(500):
        queue = await (await client.get("/queue")).json()
        if queue["queue_running"]:
            return queue
        await asyncio.sleep(0.01)
    raise TimeoutError


def slow_nodes(host):
    """Adds a node that runs until it is interrupted."""
    from wdlora.host.api import io
    from wdlora.host.context import HostProgress

    class Slow(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="Slow", is_output_node=True, inputs=[io.Int.Input("n", default=0)])

        @classmethod
        def execute(cls, n):
            import time

            progress = HostProgress(1000)
            for step in range(1000):
                progress.update(step, preview=Image.new("RGB", (16, 16), "red") if step == 3 else None)
                time.sleep(0.01)

    host.registry.add(Slow, "tests")


def slow(n=0):
    return {"1": {"class_type": "Slow", "inputs": {"n": n}}}
