"""The HTTP and WebSocket interface, asked by a real client over a real socket."""

import asyncio
import json
import struct
import uuid
from io import BytesIO

import aiohttp
import numpy as np
import pytest
from aiohttp import FormData
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image

from wdlora.host.server.app import HOST_KEY, QUEUE_KEY, build
from wdlora.host.server.security import CONTENT_SECURITY_POLICY, allowed, is_active, is_loopback


@pytest.fixture
def ask(tmp_path):
    """Run `scenario(client, host)` against a server on loopback."""
    from wdlora.host import Host

    def run(scenario):
        async def main():
            app = build(lambda sink: Host(tmp_path / "data", sink=sink, device="cpu"))
            mask = np.zeros((64, 64), np.uint8)
            mask[20:24] = 255
            Image.fromarray(mask).save(app[HOST_KEY].folders.input / "mask.png")
            async with TestClient(TestServer(app)) as client:
                return await scenario(client, app[HOST_KEY])

        return asyncio.run(main())

    return run


async def finished(client, prompt_id, seconds=20):
    """The history's entry, once it is there."""
    for _ in range(int(seconds / 0.02)):
        entry = (await (await client.get(f"/history/{prompt_id}")).json()).get(prompt_id)
        if entry:
            return entry
        await asyncio.sleep(0.02)
    raise TimeoutError(prompt_id)


BOTH = ["", "/api"]
GETS = {
    "/users": {"storage": "server", "migrated": True},
    "/queue": {"queue_running": [], "queue_pending": []},
    "/prompt": {"exec_info": {"queue_remaining": 0}},
    "/history": {},
    "/embeddings": [],
    "/global_subgraphs": {},
    "/node_replacements": {},
    "/i18n": None,
    "/features": None,
    "/settings": None,
    "/extensions": None,
    "/object_info": None,
    "/system_stats": None,
    "/jobs": {"jobs": [], "pagination": {"offset": 0, "limit": None, "total": 0, "has_more": False}},
    "/models": ["diffusion_models", "text_encoders", "vae", "loras", "diffusers", "embeddings"],
    "/models/loras": [],
    "/experiment/models": None,
    "/experiment/models/loras": [],
    "/workflow_templates": None,
}


def test_every_route_answers_bare_and_under_api(ask):
    async def scenario(client, _):
        for path, expected in GETS.items():
            for prefix in BOTH:
                answer = await client.get(prefix + path)
                assert answer.status == 200, prefix + path
                assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
                value = await answer.json()
                assert expected is None or value == expected, path

    ask(scenario)


def test_the_page_and_its_scripts(ask):
    async def scenario(client, _):
        page = await client.get("/")
        assert page.status == 200 and "<html" in await page.text()
        scripts = await (await client.get("/api/extensions")).json()
        assert "/extensions/wdlora-ccm/table.js" in scripts
        assert any(script.startswith("/extensions/core/") for script in scripts)
        for script in scripts:
            answer = await client.get(script)
            assert answer.status == 200 and answer.content_type.endswith("javascript"), script
        assert (await client.get("/extensions/wdlora-ccm/docs/CCMBiomarkers.md")).status == 200
        assert (await client.get("/extensions/wdlora-ccm/%2e%2e/pyproject.toml")).status in (403, 404)

    ask(scenario)


def test_object_info_is_comfyuis_for_core_nodes(ask):
    """Sockets of ComfyUI 0.33, written down by hand: a workflow saved here opens there."""
    expected = {
        "LoadImage": ({"image"}, ["IMAGE", "MASK"]),
        "LoadImageMask": ({"image", "channel"}, ["MASK"]),
        "SaveImage": ({"images", "filename_prefix"}, ["IMAGE"]),
        "PreviewImage": ({"images"}, ["IMAGE"]),
        "UNETLoader": ({"unet_name", "weight_dtype"}, ["MODEL"]),
        "CLIPLoader": ({"clip_name", "type", "device"}, ["CLIP"]),
        "VAELoader": ({"vae_name"}, ["VAE"]),
        "LoraLoaderModelOnly": ({"model", "lora_name", "strength_model"}, ["MODEL"]),
        "ModelSamplingAuraFlow": ({"model", "shift"}, ["MODEL"]),
        "CFGNorm": ({"model", "strength", "pre_cfg"}, ["MODEL"]),
        "VAEDecode": ({"samples", "vae"}, ["IMAGE"]),
        "VAEEncode": ({"pixels", "vae"}, ["LATENT"]),
        "MaskToImage": ({"mask"}, ["IMAGE"]),
        "ImageToMask": ({"image", "channel"}, ["MASK"]),
        "KSampler": (
            {
                "model",
                "seed",
                "steps",
                "cfg",
                "sampler_name",
                "scheduler",
                "positive",
                "negative",
                "latent_image",
                "denoise",
            },
            ["LATENT"],
        ),
    }

    async def scenario(client, _):
        info = await (await client.get("/object_info")).json()
        for name, (inputs, outputs) in expected.items():
            declared = info[name]["input"]
            assert set(declared["required"]) | set(declared.get("optional", {})) == inputs, name
            assert info[name]["output"] == outputs, name
        assert info["LoadImage"]["input"]["required"]["image"] == [["mask.png"], {"image_upload": True}]
        one = await (await client.get("/object_info/KSampler")).json()
        assert one == {"KSampler": info["KSampler"]}
        assert await (await client.get("/object_info/Nowhere")).json() == {}

    ask(scenario)


def test_every_node_of_the_pack_explains_itself(ask):
    async def scenario(client, _):
        info = await (await client.get("/object_info")).json()
        ours = {name: node for name, node in info.items() if node["python_module"] == "custom_nodes.wdlora-ccm"}
        assert {"CCMSampleMasks", "CCMBiomarkers"} <= set(ours)
        for name, node in ours.items():
            assert node["description"] and node["search_aliases"] and node["display_name"], name
            for group in ("required", "optional"):
                for socket, (_, options) in node["input"].get(group, {}).items():
                    assert len(options.get("tooltip", "")) > 15, f"{name}.{socket}"
            assert all(node["output_tooltips"]), name

    ask(scenario)


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


def test_a_broken_graph_is_refused_with_comfyuis_answer(ask, graph):
    async def scenario(client, _):
        graph["2"]["inputs"]["channel"] = "x"
        answer = await client.post("/prompt", json={"prompt": graph})
        assert answer.status == 400
        body = await answer.json()
        assert set(body) == {"error", "node_errors"}
        assert set(body["error"]) == {"type", "message", "details", "extra_info"}
        assert body["error"]["type"] == "prompt_outputs_failed_validation"
        assert set(body["node_errors"]["2"]) == {"errors", "dependent_outputs", "class_type"}

    ask(scenario)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({}, "no_prompt"),
        ({"prompt": {}, "prompt_id": "not-a-uuid"}, "invalid_prompt_id"),
        ({"prompt": {}, "prompt_id": 3}, "invalid_prompt_id"),
        ({"prompt": {}, "number": "soon"}, "invalid_prompt"),
        ({"prompt": {}, "extra_data": 3}, "invalid_prompt"),
        ({"prompt": {}, "client_id": {}}, "invalid_prompt"),
        ({"prompt": {}, "partial_execution_targets": "4"}, "invalid_prompt"),
        ({"prompt": {}}, "prompt_no_outputs"),
        ({"prompt": [1]}, "invalid_prompt"),
    ],
)
def test_malformed_requests(ask, body, kind):
    async def scenario(client, _):
        answer = await client.post("/prompt", json=body)
        assert answer.status == 400 and (await answer.json())["error"]["type"] == kind

    ask(scenario)


def test_what_is_no_json(ask):
    async def scenario(client, _):
        for path in ("/prompt", "/queue", "/history", "/jobs/cancel", "/settings", "/settings/x"):
            for text in ("{", "", "[" * 100_000):
                assert (await client.post(path, data=text)).status == 400, path
        assert (await client.get("/jobs?limit=many")).status == 400
        assert (await client.get("/jobs?status=odd")).status == 400
        assert (await client.get("/history?max_items=x")).status == 400

    ask(scenario)


def slow_nodes(host):
    """Adds a node that runs until it is interrupted."""
    from wdlora.host.api import io
    from wdlora.host.context import Progress

    class Slow(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="Slow", is_output_node=True, inputs=[io.Int.Input("n", default=0)])

        @classmethod
        def execute(cls, n):
            import time

            progress = Progress(1000)
            for step in range(1000):
                progress.update(step, preview=Image.new("RGB", (16, 16), "red") if step == 3 else None)
                time.sleep(0.01)

    host.registry.add(Slow, "tests")


def slow(n=0):
    return {"1": {"class_type": "Slow", "inputs": {"n": n}}}


async def running(client):
    for _ in range(500):
        queue = await (await client.get("/queue")).json()
        if queue["queue_running"]:
            return queue
        await asyncio.sleep(0.01)
    raise TimeoutError


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


PNG = BytesIO()
Image.new("RGB", (8, 8), "blue").save(PNG, "PNG")


def upload(name="a.png", content=None, **fields):
    form = FormData(quote_fields=False)
    form.add_field("image", content or PNG.getvalue(), filename=name, content_type="image/png")
    for key, value in fields.items():
        form.add_field(key, value)
    return form


def test_uploads(ask):
    async def scenario(client, host):
        answer = await client.post("/upload/image", data=upload())
        assert await answer.json() == {"name": "a.png", "subfolder": "", "type": "input"}
        again = await (await client.post("/upload/image", data=upload())).json()
        assert again["name"] == "a.png"  # the same bytes are the same file
        other = await (await client.post("/upload/image", data=upload(content=b"x"))).json()
        assert other["name"] == "a (1).png"
        over = await (await client.post("/upload/image", data=upload(content=b"y", overwrite="true"))).json()
        assert over["name"] == "a.png" and (host.folders.input / "a.png").read_bytes() == b"y"
        sub = await (await client.post("/api/upload/image", data=upload(subfolder="deep/er"))).json()
        assert sub["subfolder"] == "deep/er" and (host.folders.input / "deep/er/a.png").is_file()
        assert (await client.post("/upload/image", data={"image": "text"})).status == 400

    ask(scenario)


def test_a_painted_mask_becomes_the_alpha(ask):
    async def scenario(client, host):
        await client.post("/upload/image", data=upload("photo.png"))
        painted = BytesIO()
        Image.new("RGBA", (8, 8), (0, 0, 0, 77)).save(painted, "PNG")
        reference = json.dumps({"filename": "photo.png", "type": "input", "subfolder": ""})
        form = upload("masked.png", painted.getvalue(), original_ref=reference)
        assert (await client.post("/upload/mask", data=form)).status == 200
        with Image.open(host.folders.input / "masked.png") as kept:
            assert kept.getpixel((3, 3)) == (0, 0, 255, 77)
        bad = upload("m.png", painted.getvalue(), original_ref='{"filename": "../../x"}')
        assert (await client.post("/upload/mask", data=bad)).status in (400, 403)
        assert (await client.post("/upload/mask", data=upload(original_ref="{"))).status == 400

    ask(scenario)


ESCAPES = [
    ("/view", {"filename": "../secret.png", "type": "output"}),
    ("/view", {"filename": "secret.png", "type": "output", "subfolder": ".."}),
    ("/view", {"filename": "secret.png", "type": "output", "subfolder": "/"}),
    ("/view", {"filename": "../../../../etc/passwd", "type": "input"}),
    ("/view", {"filename": "/etc/passwd", "type": "input"}),
    ("/view", {"filename": "../secret.png [input]"}),
    ("/view", {"filename": "link.png", "type": "input"}),
    ("/view", {"filename": "\0", "type": "input"}),
    ("/view", {"filename": "x", "type": "elsewhere"}),
    ("/view", {"filename": ""}),
    ("/userdata", {"dir": "../.."}),
    ("/userdata/..%2F..%2Fsecret.png", {}),
    ("/userdata/%2Fetc%2Fpasswd", {}),
    ("/view_metadata/loras", {"filename": "../../secret.png"}),
    ("/view_metadata/nowhere", {"filename": "x"}),
    ("/models/..%2F..", {}),
]


@pytest.mark.parametrize(("path", "query"), ESCAPES)
def test_paths_stay_in_their_folders(ask, path, query):
    async def scenario(client, host):
        secret = host.folders.base / "secret.png"
        secret.write_bytes(PNG.getvalue())
        (host.folders.input / "link.png").symlink_to(secret)
        for prefix in BOTH:
            answer = await client.get(prefix + path, params=query)
            assert answer.status in (400, 403, 404), (answer.status, await answer.text())
            assert b"PNG" not in await answer.read()

    ask(scenario)


def test_uploads_stay_in_their_folders(ask):
    async def scenario(client, host):
        for fields in ({"subfolder": "../.."}, {"subfolder": "/tmp"}, {"type": "user"}):
            assert (await client.post("/upload/image", data=upload(**fields))).status in (400, 403), fields
        answer = await client.post("/upload/image", data=upload("../../up.png"))
        assert (await answer.json())["name"] == "up.png" and (host.folders.input / "up.png").is_file()
        for name in ("..%2F..%2Fx.json", "%2Ftmp%2Fx.json"):
            assert (await client.post(f"/userdata/{name}", data=b"{}")).status == 403
        await client.post("/userdata/a.json", data=b"{}")
        assert (await client.post("/userdata/a.json/move/..%2F..%2Fb.json")).status == 403
        outside = {path.name for path in host.folders.base.iterdir()}
        assert outside == {"input", "output", "temp", "user", "models"}

    ask(scenario)


def test_active_files_are_only_ever_downloaded(ask):
    async def scenario(client, host):
        for name in ("page.html", "picture.svg", "script.js", "feed.xml"):
            (host.folders.input / name).write_text("<script>alert(1)</script>")
            answer = await client.get("/view", params={"filename": name, "type": "input"})
            assert answer.content_type == "application/octet-stream", name
            assert answer.headers["Content-Disposition"].startswith("attachment"), name
            assert answer.headers["X-Content-Type-Options"] == "nosniff", name
        await client.post("/userdata/x.html", data=b"<script>")
        answer = await client.get("/userdata/x.html")
        assert answer.content_type == "application/octet-stream"

    ask(scenario)


def test_small_versions_and_channels(ask):
    async def scenario(client, host):
        Image.new("RGBA", (40, 20), (10, 20, 30, 128)).save(host.folders.input / "c.png")
        base = {"filename": "c.png", "type": "input"}
        answer = await client.get("/view", params={**base, "preview": "jpeg;50"})
        assert answer.content_type == "image/jpeg"
        rgb = Image.open(BytesIO(await (await client.get("/view", params={**base, "channel": "rgb"})).read()))
        assert rgb.mode == "RGB" and rgb.getpixel((0, 0)) == (10, 20, 30)
        alpha = Image.open(BytesIO(await (await client.get("/view", params={**base, "channel": "a"})).read()))
        assert alpha.getpixel((0, 0))[3] == 128
        (host.folders.input / "no.png").write_text("no picture")
        assert (await client.get("/view", params={"filename": "no.png", "type": "input", "preview": "x"})).status == 400

    ask(scenario)


def test_settings_and_userdata(ask):
    async def scenario(client, host):
        settings = await (await client.get("/settings")).json()
        assert settings["Comfy.TutorialCompleted"] is True
        assert (await client.post("/settings/My.Setting", data="false")).status == 200
        assert await (await client.get("/settings/My.Setting")).json() is False
        assert await (await client.get("/settings/None")).json() is None
        assert (await client.post("/settings", json={"A": 1})).status == 200
        kept = await (await client.get("/settings")).json()
        assert kept["A"] == 1 and kept["My.Setting"] is False and kept["Comfy.TutorialCompleted"] is True
        assert (await client.get("/userdata?dir=workflows")).status == 200
        name = "workflows%2Fmine.json"
        made = await client.post(f"/userdata/{name}?full_info=true", data=b'{"a":1}')
        info = await made.json()
        assert info["path"] == "workflows/mine.json" and info["size"] == 7
        assert (await client.post(f"/userdata/{name}?overwrite=false", data=b"")).status == 409
        assert await (await client.get(f"/userdata/{name}")).read() == b'{"a":1}'
        listed = await (await client.get("/userdata?dir=workflows&recurse=true&full_info=true")).json()
        assert [file["path"] for file in listed] == ["mine.json"]
        split = await (await client.get("/userdata?dir=workflows&split=true")).json()
        assert split == [["mine.json", "mine.json"]]
        moved = await client.post(f"/userdata/{name}/move/workflows%2Fyours.json")
        assert await moved.json() == "workflows/yours.json"
        assert (await client.delete("/userdata/workflows%2Fyours.json")).status == 204
        assert (await client.get("/userdata/workflows%2Fyours.json")).status == 404
        assert (await client.get("/user.css")).content_type == "text/css"
        (host.folders.user / "default" / "comfy.settings.json").write_text("{broken")
        assert await (await client.get("/settings")).json() == {}

    ask(scenario)


def test_models_are_listed_with_their_sizes(ask):
    from safetensors.numpy import save_file

    async def scenario(client, host):
        folder = host.folders.base / "models" / "loras" / "sub"
        folder.mkdir(parents=True)
        save_file({"x": np.zeros(3, np.float32)}, folder / "a.safetensors", metadata={"format": "pt", "by": "me"})
        (folder / "b.pt").write_bytes(b"a pickle is not listed")
        assert await (await client.get("/models/loras")).json() == ["sub/a.safetensors"]
        (file,) = await (await client.get("/api/experiment/models/loras")).json()
        assert file["name"] == "sub/a.safetensors" and file["pathIndex"] == 0 and file["size"] > 12
        answer = await client.get("/view_metadata/loras", params={"filename": "sub/a.safetensors"})
        assert await answer.json() == {"format": "pt", "by": "me"}

    ask(scenario)


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


@pytest.mark.parametrize(
    ("headers", "loopback_only", "good"),
    [
        ({"Host": "127.0.0.1:8188"}, True, True),
        ({"Host": "localhost:8188", "Origin": "http://localhost:8188"}, True, True),
        ({"Host": "[::1]:8188", "Origin": "http://[::1]:8188"}, True, True),
        ({"Host": "127.0.0.1:8188", "Origin": "http://127.0.0.1:9999"}, True, False),
        ({"Host": "127.0.0.1:8188", "Origin": "http://evil.example"}, True, False),
        ({"Host": "localhost:8188", "Origin": "http://127.0.0.1:8188"}, True, False),
        ({"Host": "127.0.0.1:8188", "Origin": "null"}, True, False),
        ({"Host": "127.0.0.1:8188", "Sec-Fetch-Site": "cross-site"}, True, False),
        ({"Host": "127.0.0.1:8188", "Sec-Fetch-Site": "same-origin"}, True, True),
        ({"Host": "evil.example:8188", "Origin": "http://evil.example:8188"}, True, False),  # a rebound name
        ({"Host": "workstation:8188", "Origin": "http://workstation:8188"}, False, True),
        ({"Host": "127.0.0.1:8188", "Origin": "http://evil.example"}, False, False),
        ({"Host": "[bad"}, True, False),
        ({}, True, False),
    ],
)
def test_who_may_ask(headers, loopback_only, good):
    assert allowed(headers, loopback_only) is good


def test_another_sites_page_is_refused(ask, graph):
    async def scenario(client, _):
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}):
            answer = await client.post("/prompt", json={"prompt": graph}, headers=headers)
            assert answer.status == 403
            assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.ws_connect("/ws", headers={"Origin": "http://evil.example"})
        assert await (await client.get("/history")).json() == {}

    ask(scenario)


def test_the_policy_is_on_errors_too(ask):
    async def scenario(client, _):
        answer = await client.get("/nowhere")
        assert answer.status == 404 and answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY

    ask(scenario)


def test_names():
    assert is_loopback("127.8.9.1") and is_loopback("::1") and is_loopback("localhost")
    assert not is_loopback("10.0.0.1") and not is_loopback("example.org") and not is_loopback(None)
    assert is_active("text/html; charset=utf-8") and is_active("image/svg+xml") and is_active("TEXT/XML")
    assert not is_active("image/png") and not is_active("application/json")
