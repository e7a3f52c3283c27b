"""The routes of the HTTP interface: each answers, the page is there, nodes explain themselves, nonsense is refused."""

import numpy as np
import pytest

from wdlora.host.server.security import CONTENT_SECURITY_POLICY

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
    "/models": ["diffusion_models", "text_encoders", "vae", "loras", "diffusers", "embeddings", "ccm_tracers"],
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


def test_settings_that_arrive_at_once_are_all_kept(ask):
    """One whose body comes late does not undo the others, and neither does another server on the same folder."""
    import asyncio

    async def scenario(client, host):
        reader, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(f"POST /settings/slow HTTP/1.1\r\nHost: {client.host}:{client.port}\r\n".encode())
        writer.write(b"Content-Length: 4\r\n\r\n1")
        await writer.drain()
        await asyncio.sleep(0.1)
        names = [f"at.once.{index}" for index in range(20)]
        await asyncio.gather(*(client.post(f"/settings/{name}", data="1") for name in names))
        writer.write(b"234")
        assert b" 200 " in await reader.readline()
        writer.close()
        kept = await (await client.get("/settings")).json()
        assert {*names, "slow"} <= set(kept) and kept["slow"] == 1234

    ask(scenario)


def test_broken_settings_on_disk_do_not_end_the_page(ask):
    async def scenario(client, host):
        file = host.folders.user / "default" / "comfy.settings.json"
        for text in ("[" * 5000 + "]" * 5000, '{"a": ' + "[" * 500 + "]" * 500 + "}", '{"a": NaN}', "3"):
            file.write_text(text)
            assert (await client.get("/settings")).status == 200
            assert (await client.post("/settings/b", data="1")).status == 200
            assert (await (await client.get("/settings")).json())["b"] == 1

    ask(scenario)


def test_a_user_file_is_made_once(ask):
    import asyncio

    async def scenario(client, _):
        posts = [client.post("/userdata/once.json?overwrite=false", data=str(index)) for index in range(8)]
        statuses = [answer.status for answer in await asyncio.gather(*posts)]
        assert sorted(statuses) == [200, *[409] * 7]
        await client.post("/userdata/other.json", data="x")
        assert (await client.post("/userdata/other.json/move/once.json?overwrite=false")).status == 409
        assert (await client.get("/userdata/other.json")).status == 200
        assert (await client.post("/userdata/other.json/move/free.json?overwrite=false")).status == 200
        assert (await client.get("/userdata/other.json")).status == 404

    ask(scenario)


def test_the_end_does_not_wait_for_browsers(tmp_path):
    """Two sockets of one client id, one whose browser answers no close, and a request that is going on."""
    import asyncio
    import time

    import aiohttp

    from wdlora.host import Host
    from wdlora.host.server.app import serve

    async def main() -> float:
        url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(
            serve(lambda sink: Host(tmp_path, sink=sink, device="cpu"), "127.0.0.1", 0, url.set_result)
        )
        base = await url
        port = int(base.rstrip("/").rpartition(":")[2])
        async with aiohttp.ClientSession() as session:
            both = [await session.ws_connect(f"{base}ws?clientId=x") for _ in range(2)]
            _, deaf = await asyncio.open_connection("127.0.0.1", port)
            deaf.write(f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n".encode())
            deaf.write(b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n")
            deaf.write(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            _, slow = await asyncio.open_connection("127.0.0.1", port)
            slow.write(f"POST /prompt HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 9\r\n\r\n".encode())
            await asyncio.sleep(0.3)
            started = time.monotonic()
            task.cancel()
            await asyncio.wait([task])
            for one in both:
                await one.close()
            deaf.close()
            slow.close()
            return time.monotonic() - started

    assert asyncio.run(main()) < 5
