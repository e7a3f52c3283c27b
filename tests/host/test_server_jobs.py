"""Jobs through HTTP and WebSocket: from prompt to history, the queue, interruption, previews, the console."""

import asyncio
import json
import struct
import uuid
from io import BytesIO

import aiohttp
import pytest
from PIL import Image

from tests.host.jobs import finished, running, slow, slow_nodes
from wdlora.host.server.app import QUEUE_KEY


def test_a_job_from_prompt_to_history(ask, graph):
    async def scenario(client, host):
        prompt_id = str(uuid.uuid4())
        async with client.ws_connect("/ws?clientId=me") as socket:
            hello = await socket.receive_json()
            assert hello["type"] == "status" and hello["data"]["sid"] == "me"
            assert hello["data"]["status"] == {"exec_info": {"queue_remaining": 0}}
            body = {
                "prompt": graph,
                "prompt_id": prompt_id,
                "client_id": "me",
                "extra_data": {"extra_pnginfo": {"workflow": {"id": "wf"}}, "api_key_comfy_org": "secret"},
            }
            answer = await client.post("/api/prompt", json=body)
            assert await answer.json() == {"prompt_id": prompt_id, "number": 0, "node_errors": {}}
            heard = []
            while True:
                message = await socket.receive_json(timeout=20)
                heard.append(message)
                if message["type"] == "executing" and message["data"]["node"] is None:
                    break
            types = [message["type"] for message in heard]
            assert types.index("execution_start") < types.index("executed") < types.index("execution_success")
        entry = await finished(client, prompt_id)
        assert entry["prompt"][1] == prompt_id and entry["prompt"][4] == ["4"]
        assert "secret" not in json.dumps(entry)
        assert entry["status"]["status_str"] == "success" and entry["status"]["completed"] is True
        (image,) = entry["outputs"]["4"]["images"]
        assert entry["meta"]["4"]["node_id"] == "4"
        shown = await client.get("/view", params=image)
        assert shown.status == 200 and shown.headers["X-Content-Type-Options"] == "nosniff"
        with Image.open(BytesIO(await shown.read())) as picture:
            assert picture.size == (64, 64) and json.loads(picture.text["workflow"]) == {"id": "wf"}
        jobs = (await (await client.get("/api/jobs?status=completed&limit=1")).json())["jobs"]
        assert jobs[0]["id"] == prompt_id and jobs[0]["status"] == "completed" and jobs[0]["workflow_id"] == "wf"
        assert jobs[0]["preview_output"] == {**image, "nodeId": "4", "mediaType": "images"}
        assert jobs[0]["execution_end_time"] >= jobs[0]["execution_start_time"]
        one = await (await client.get(f"/api/jobs/{prompt_id}")).json()
        assert one["workflow"]["prompt"] == graph and one["outputs"] == entry["outputs"]
        await client.post("/history", json={"delete": [prompt_id]})
        assert await (await client.get("/history")).json() == {}

    ask(scenario)


def test_a_job_from_no_browser_disturbs_none(ask, graph):
    """As ComfyUI: jobs of the API without a client id are seen in the queue's length alone."""

    async def scenario(client, _):
        async with client.ws_connect("/ws?clientId=me") as socket:
            answer = await (await client.post("/prompt", json={"prompt": graph})).json()
            await finished(client, answer["prompt_id"])
            kinds = []
            while True:
                try:
                    kinds.append((await socket.receive_json(timeout=0.3))["type"])
                except TimeoutError:
                    break
            assert set(kinds) == {"status"} and len(kinds) >= 3

    ask(scenario)


def test_interrupt_cancel_and_the_order_of_the_queue(ask):
    async def scenario(client, host):
        slow_nodes(host)
        ids = [str(uuid.uuid4()) for _ in range(4)]
        for n, prompt_id in enumerate(ids[:3]):
            await client.post("/prompt", json={"prompt": slow(n), "prompt_id": prompt_id})
            await running(client)
        await client.post("/prompt", json={"prompt": slow(3), "prompt_id": ids[3], "front": True})
        queue = await running(client)
        assert queue["queue_running"][0][1] == ids[0]
        assert [row[1] for row in queue["queue_pending"]] == [ids[3], ids[1], ids[2]]
        statuses = {job["id"]: job["status"] for job in (await (await client.get("/jobs")).json())["jobs"]}
        assert statuses[ids[0]] == "in_progress" and statuses[ids[1]] == "pending"
        await client.post("/interrupt", json={"prompt_id": ids[2]})  # waits: not interrupted
        assert (await (await client.post(f"/api/jobs/{ids[2]}/cancel")).json()) == {"cancelled": True}
        assert (await (await client.post(f"/api/jobs/{uuid.uuid4()}/cancel")).json()) == {"cancelled": False}
        await client.post("/queue", json={"delete": [ids[1]]})
        await client.post("/interrupt", json={"prompt_id": ids[0]})
        entry = await finished(client, ids[0])
        assert entry["status"]["status_str"] == "error"
        assert entry["status"]["messages"][-1][0] == "execution_interrupted"
        await running(client)
        answer = await client.post("/api/jobs/cancel", json={"job_ids": ids})
        assert await answer.json() == {"cancelled": True}
        await finished(client, ids[3])
        job = await (await client.get(f"/jobs/{ids[3]}")).json()
        assert job["status"] == "cancelled"
        assert (await client.post("/api/jobs/cancel", json={"job_ids": ["x", {}]})).status == 400
        assert await (await client.get("/queue")).json() == {"queue_running": [], "queue_pending": []}
        assert set(await (await client.get("/history")).json()) == {ids[0], ids[3]}

    ask(scenario)


def test_previews_are_binary_with_metadata_for_those_who_say_so(ask):
    async def scenario(client, host):
        slow_nodes(host)
        for flags, kind in (({"supports_preview_metadata": True}, 4), ({}, 1)):
            async with client.ws_connect("/ws?clientId=me") as socket:
                await socket.send_json({"type": "feature_flags", "data": flags})
                features = None
                while features is None:
                    message = await socket.receive_json(timeout=10)
                    features = message["data"] if message["type"] == "feature_flags" else None
                assert features["supports_preview_metadata"] is True and features["assets"] is False
                prompt_id = str(uuid.uuid4())
                await client.post("/prompt", json={"prompt": slow(kind), "client_id": "me", "prompt_id": prompt_id})
                while True:
                    message = await socket.receive(timeout=20)
                    if message.type == aiohttp.WSMsgType.BINARY:
                        break
                event, length = struct.unpack(">II", message.data[:8])
                assert event == kind
                if kind == 4:
                    metadata = json.loads(message.data[8 : 8 + length])
                    assert metadata["node_id"] == "1" and metadata["prompt_id"] == prompt_id
                    assert metadata["image_type"] == "image/jpeg"
                    picture = message.data[8 + length :]
                else:
                    assert length == 1  # JPEG
                    picture = message.data[8:]
                assert Image.open(BytesIO(picture)).size == (16, 16)
                await client.post("/interrupt")
                await finished(client, prompt_id)

    ask(scenario)


def test_a_reconnecting_browser_hears_which_node_runs(ask):
    async def scenario(client, host):
        slow_nodes(host)
        await client.post("/prompt", json={"prompt": slow(), "client_id": "me"})
        await running(client)
        await asyncio.sleep(0.1)
        async with client.ws_connect("/ws?clientId=me") as socket:
            assert (await socket.receive_json(timeout=5))["type"] == "status"
            assert (await socket.receive_json(timeout=5)) == {"type": "executing", "data": {"node": "1"}}
        await client.post("/interrupt")

    ask(scenario)


def test_a_closing_server_stops_the_job(ask):
    async def scenario(client, host):
        slow_nodes(host)
        await client.post("/prompt", json={"prompt": slow()})
        await running(client)
        return client.app[QUEUE_KEY]

    queue = ask(scenario)
    assert queue.remaining() == 0 and not queue._thread.is_alive()


def test_the_console_shows_what_became_of_each_job(ask, graph):
    async def scenario(client, _):
        async with client.ws_connect("/ws?clientId=me") as socket:
            await client.patch("/internal/logs/subscribe", json={"clientId": "me", "enabled": True})
            graph["2"]["inputs"]["channel"] = "alpha"
            answer = await (await client.post("/prompt", json={"prompt": graph})).json()
            while (message := await socket.receive_json(timeout=20))["type"] != "logs":
                pass
            (entry,) = message["data"]["entries"]
            assert answer["prompt_id"] in entry["m"]
            assert "failed in ImageToMask (2): the picture has no alpha channel" in entry["m"]
        raw = await (await client.get("/internal/logs/raw")).json()
        assert raw["entries"] == [entry]
        assert entry["m"] in await (await client.get("/internal/logs")).json()
        paths = await (await client.get("/internal/folder_paths")).json()
        assert paths["loras"][0].endswith("/models/loras")

    ask(scenario)


def test_a_duplicated_tab_hears_what_the_first_one_hears(ask, graph):
    """A browser gives a tab that is duplicated the first one's client id."""

    async def scenario(client, host):
        async with client.ws_connect("/ws?clientId=me") as one, client.ws_connect("/ws?clientId=me") as two:
            await client.post("/prompt", json={"prompt": graph, "client_id": "me"})
            for socket in (one, two):
                while (await socket.receive_json(timeout=20))["type"] != "execution_success":
                    pass

    ask(scenario)


def test_what_is_no_number_leaves_as_null(ask):
    """A node shows NaN: history, jobs and the socket say null, which is JSON."""
    from wdlora.host.api import io

    class Odd(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="Odd", is_output_node=True, inputs=[])

        @classmethod
        def execute(cls):
            return io.NodeOutput(ui={"table": [{"cnfl": float("nan"), "rows": (1.5, float("-inf"))}]})

    def strictly(text):
        return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))

    async def scenario(client, host):
        host.registry.add(Odd, "tests")
        async with client.ws_connect("/ws?clientId=me") as socket:
            body = {"prompt": {"1": {"class_type": "Odd", "inputs": {}}}, "client_id": "me"}
            prompt_id = (await (await client.post("/prompt", json=body)).json())["prompt_id"]
            while (message := strictly((await socket.receive(timeout=20)).data))["type"] != "executed":
                pass
            table = [{"cnfl": None, "rows": [1.5, None]}]
            assert message["data"]["output"] == {"table": table}
        await finished(client, prompt_id)
        for path in (f"/history/{prompt_id}", f"/jobs/{prompt_id}", "/jobs"):
            strictly(await (await client.get(path)).text())
        history = strictly(await (await client.get("/history")).text())
        assert history[prompt_id]["outputs"]["1"] == {"table": table}

    ask(scenario)


def test_previews_of_earlier_runs_are_removed(host):
    (host.folders.temp / "sub").mkdir()
    (host.folders.temp / "sub" / "a.png").write_bytes(b"")
    (host.folders.temp / "b.png").write_bytes(b"")
    host.folders.clear_temp()
    assert list(host.folders.temp.iterdir()) == []


def test_free_clears_the_cache(ask, graph):
    async def scenario(client, host):
        first = await (await client.post("/prompt", json={"prompt": graph})).json()
        await finished(client, first["prompt_id"])
        assert host.executor._cache
        assert (await client.post("/free", json={"free_memory": True})).status == 200
        for _ in range(200):
            if not host.executor._cache:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the cache is still there")

    ask(scenario)
