"""Files through HTTP: uploads, painted masks, views, and that no path leaves its folder."""

import json
from io import BytesIO

import pytest
from aiohttp import FormData
from PIL import Image

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
        for prefix in ("", "/api"):
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


def test_frames_with_and_without_transparency_become_one_batch(tmp_path):
    from wdlora.host.core_nodes.images import read_picture

    clear = Image.new("RGBA", (12, 10), (9, 9, 9, 0))
    Image.new("RGB", (12, 10), (9, 9, 9)).save(tmp_path / "two.tiff", save_all=True, append_images=[clear])
    images, masks = read_picture(str(tmp_path / "two.tiff"))
    assert images.shape == (2, 10, 12, 3) and masks.shape == (2, 10, 12)
    assert masks[0].max() == 0 and masks[1].min() == 1


def test_a_slow_browser_loses_what_passes_and_is_hung_up_on_in_the_end():
    from wdlora.host.server import sockets

    hung_up = []
    client = sockets._Client("a", None, lambda: hung_up.append(1))
    preview = b"x" * 2**20
    for _ in range(20):
        client.post(preview, passing=True)
    client.post("executed")
    kept = [client.outbox.get_nowait() for _ in range(client.outbox.qsize())]
    assert kept == [preview] * 9 + ["executed"]  # 9 MB: the first that is over the 8 MB is the last
    assert not hung_up
    for _ in range(70):
        client.post("x" * 2**20)
    assert hung_up and client.backlog <= sockets._TOO_MUCH + 2**20


def test_a_view_is_the_file_and_not_what_lies_beside_it(ask):
    async def scenario(client, host):
        (host.folders.input / "mask.png.gz").write_bytes(b"another file")
        (host.folders.user / "default" / "w.json").write_text("{}")
        (host.folders.user / "default" / "w.json.gz").write_bytes(b"another file")
        for path in ("/view?filename=mask.png&type=input", "/userdata/w.json"):
            answer = await client.get(path, headers={"Accept-Encoding": "gzip, br"})
            assert "Content-Encoding" not in answer.headers
            body = await answer.read()
            assert body != b"another file" and len(body) == int(answer.headers["Content-Length"])
            again = await client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
            assert again.status == 304 and await again.read() == b""

    ask(scenario)


def test_uploads_of_one_name_at_once_are_all_kept(ask):
    import asyncio

    async def scenario(client, host):
        sent = [client.post("/upload/image", data=upload("n.png", bytes([65 + k]) * 9)) for k in range(12)]
        names = [(await answer.json())["name"] for answer in await asyncio.gather(*sent)]
        assert len(set(names)) == 12
        kept = {(host.folders.input / name).read_bytes() for name in names}
        assert kept == {bytes([65 + k]) * 9 for k in range(12)}
        blocked = await client.post("/upload/image", data=upload("x.png", subfolder="n.png"))
        assert blocked.status in (400, 409)

    ask(scenario)


def test_a_preview_is_small_and_a_bomb_is_refused(ask, tmp_path):
    async def scenario(client, host):
        Image.new("1", (17000, 40)).save(host.folders.input / "wide.png")
        answer = await client.get("/view?filename=wide.png&type=input&preview=webp;90")
        with Image.open(BytesIO(await answer.read())) as shown:
            assert shown.size == (4096, 10)
        Image.new("1", (20000, 20000)).save(host.folders.input / "bomb.png")
        for ask_for in ("preview=webp", "channel=rgb"):
            refused = await client.get(f"/view?filename=bomb.png&type=input&{ask_for}")
            assert refused.status == 400 and "64 million" in await refused.text()

    ask(scenario)


def test_an_animation_is_bounded_as_a_whole(tmp_path):
    from wdlora.errors import InputError
    from wdlora.host.core_nodes.images import read_picture

    frames = [Image.new("P", (2000, 2000), k) for k in range(17)]
    frames[0].save(tmp_path / "many.tiff", save_all=True, append_images=frames[1:], compression="tiff_lzw")
    with pytest.raises(InputError, match="17 frames of 2000 × 2000 pixels"):
        read_picture(str(tmp_path / "many.tiff"))
