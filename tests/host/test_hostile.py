"""What nobody's page sends: every request gets an answer below 500 with a sentence, and none leaves a traceback."""

import asyncio
import json
import logging
import zlib
from io import BytesIO
from typing import Any

import pytest
from aiohttp import ServerDisconnectedError
from PIL import Image

from wdlora.errors import InputError
from wdlora.host.server.answers import json_text, parse
from wdlora.host.server.refusals import described

LONG = "a" * 300
DEEP = "[" * 5000 + "]" * 5000
PNG = BytesIO()
Image.new("RGB", (8, 8), "blue").save(PNG, "PNG")
BOMB = BytesIO()
Image.new("1", (20000, 20000)).save(BOMB, "PNG")
UUID = "6f1f5a1e-0000-4000-8000-000000000000"
JSON = {"Content-Type": "application/json"}


def form(name: str = "a.png", content: bytes = PNG.getvalue(), **fields: str) -> tuple[bytes, dict[str, str]]:
    """A multipart body with a file in the field `image`, and its header."""
    parts = [f'--B\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{text}\r\n' for key, text in fields.items()]
    parts.append(f'--B\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n')
    return "".join(parts).encode() + content + b"\r\n--B--\r\n", {"Content-Type": "multipart/form-data; boundary=B"}


def prompt(**body: Any) -> tuple[bytes, dict[str, str]]:
    return json.dumps({"prompt": {}, **body}).encode(), JSON


def node(inputs: Any = None, class_type: Any = "PreviewAny", **more: Any) -> tuple[bytes, dict[str, str]]:
    return prompt(prompt={"1": {"class_type": class_type, "inputs": inputs, **more}})


MULTIPART = {"Content-Type": "multipart/form-data; boundary=B"}
REQUESTS: dict[str, tuple[Any, ...]] = {
    "view: no name": ("GET", "/view"),
    "view: long name": ("GET", f"/view?filename={LONG}&type=input"),
    "view: long subfolder": ("GET", f"/view?filename=a&type=input&subfolder={LONG}"),
    "view: deep subfolder": ("GET", f"/view?filename=a&type=input&subfolder={'a/' * 2000}"),
    "view: NUL": ("GET", "/view?filename=%00&type=input"),
    "view: a folder": ("GET", "/view?filename=.&type=input"),
    "view: surrogate": ("GET", "/view?filename=%ED%A0%80&type=input"),
    "view: no UTF-8": ("GET", "/view?filename=%FF%FE&type=input"),
    "view: odd quality": ("GET", "/view?filename=mask.png&type=input&preview=webp;%C2%B2"),
    "view: quality of 5,000 digits": ("GET", f"/view?filename=mask.png&type=input&preview=webp;{'9' * 5000}"),
    "view: bomb": ("GET", "/view?filename=bomb.png&type=input&preview=webp"),
    "view: bomb's channel": ("GET", "/view?filename=bomb.png&type=input&channel=a"),
    "view: cut short": ("GET", "/view?filename=cut.png&type=input&preview=webp"),
    "view: a range": ("GET", "/view?filename=mask.png&type=input", None, {"Range": "bytes=9-2"}),
    "view: bad date": ("GET", "/view?filename=mask.png&type=input", None, {"If-Modified-Since": "soon"}),
    "view: bad tag": ("GET", "/view?filename=mask.png&type=input", None, {"If-None-Match": '"\\'}),
    "static: long name": ("GET", f"/extensions/wdlora-ccm/{LONG}"),
    "static: NUL": ("GET", "/extensions/wdlora-ccm/%00"),
    "static: up": ("GET", "/extensions/wdlora-ccm/..%2f..%2fpyproject.toml"),
    "page: up": ("GET", "/..%2f..%2fetc%2fpasswd"),
    "page: long name": ("GET", f"/{LONG}"),
    "templates: up": ("GET", "/workflow_templates/wdlora-ccm/%2e%2e%2fpyproject.toml"),
    "user file: long name": ("GET", f"/userdata/{LONG}"),
    "user file: written, long name": ("POST", f"/userdata/{LONG}", b"{}"),
    "user file: listed, long name": ("GET", f"/userdata?dir={LONG}"),
    "user file: listed, NUL": ("GET", "/userdata?dir=%00"),
    "user file: listed, a file": ("GET", "/userdata?dir=user.css"),
    "user file: below a file": ("POST", "/userdata/user.css%2Fx", b"{}"),
    "user file: onto a folder": ("POST", "/userdata/workflows", b"{}"),
    "user file: moved onto a folder": ("POST", "/userdata/user.css/move/workflows"),
    "user file: moved below a file": ("POST", "/userdata/user.css/move/comfy.templates.json%2Fx"),
    "user file: a folder removed": ("DELETE", "/userdata/workflows"),
    "user file: NUL": ("POST", "/userdata/%00", b"{}"),
    "user.css no UTF-8": ("GET", "/user.css"),
    "upload: long name": ("POST", "/upload/image", *form(LONG)),
    "upload: no name": ("POST", "/upload/image", *form("")),
    "upload: a dot": ("POST", "/upload/image", *form(".")),
    "upload: two dots": ("POST", "/upload/image", *form("..")),
    "upload: into a file": ("POST", "/upload/image", *form(subfolder="mask.png")),
    "upload: long subfolder": ("POST", "/upload/image", *form(subfolder=LONG)),
    "upload: deep subfolder": ("POST", "/upload/image", *form(subfolder="q/" * 1500)),
    "upload: surrogate": ("POST", "/upload/image", *form("x\udcff.png".encode("utf-8", "replace").decode())),
    "upload: no boundary": ("POST", "/upload/image", b"x", {"Content-Type": "multipart/form-data"}),
    "upload: no part": ("POST", "/upload/image", b"no", MULTIPART),
    "upload: endless part": ("POST", "/upload/image", b"--B\r\n" + b"x" * 100_000, MULTIPART),
    "upload: field no UTF-8": (
        "POST",
        "/upload/image",
        b'--B\r\nContent-Disposition: form-data; name="type"\r\n\r\n\xff\xfe\r\n--B--\r\n',
        MULTIPART,
    ),
    "upload: odd transfer encoding": (
        "POST",
        "/upload/image",
        b'--B\r\nContent-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: x\r\n\r\ny\r\n--B--\r\n',
        MULTIPART,
    ),
    "upload: nested multipart": (
        "POST",
        "/upload/image",
        b"--B\r\nContent-Type: multipart/mixed; boundary=C\r\n\r\n--C\r\n\r\nx\r\n--C--\r\n--B--\r\n",
        MULTIPART,
    ),
    "upload: unknown charset": (
        "POST",
        "/upload/image",
        b"a=b",
        {"Content-Type": "application/x-www-form-urlencoded; charset=foo"},
    ),
    "upload: not deflated": ("POST", "/upload/image", b"x", {**MULTIPART, "Content-Encoding": "deflate"}),
    "mask: no reference": ("POST", "/upload/mask", *form()),
    "mask: nested reference": ("POST", "/upload/mask", *form(original_ref="[" * 100_000)),
    "mask: reference of a list": ("POST", "/upload/mask", *form(original_ref='["a"]')),
    "mask: reference of numbers": ("POST", "/upload/mask", *form(original_ref='{"filename": 3, "type": 4}')),
    "mask: reference NaN": ("POST", "/upload/mask", *form(original_ref="NaN")),
    "mask: reference outside": ("POST", "/upload/mask", *form(original_ref='{"filename": "../../x"}')),
    "mask: bomb": (
        "POST",
        "/upload/mask",
        *form("m.png", BOMB.getvalue(), original_ref='{"filename": "mask.png", "type": "input"}'),
    ),
    "mask: of another size": (
        "POST",
        "/upload/mask",
        *form("m.png", original_ref='{"filename": "mask.png", "type": "input"}'),
    ),
    "mask: no picture": (
        "POST",
        "/upload/mask",
        *form("m.png", b"GIF89a", original_ref='{"filename": "mask.png", "type": "input"}'),
    ),
    "prompt: no UTF-8": ("POST", "/prompt", b"\xff\xfe", JSON),
    "prompt: unknown charset": ("POST", "/prompt", b"{}", {"Content-Type": "application/json; charset=foo"}),
    "prompt: not gzipped": ("POST", "/prompt", b"{}", {**JSON, "Content-Encoding": "gzip"}),
    "prompt: deflated nonsense": ("POST", "/prompt", zlib.compress(b"{"), {**JSON, "Content-Encoding": "deflate"}),
    "prompt: nested": ("POST", "/prompt", f'{{"prompt": {DEEP}}}'.encode(), JSON),
    "prompt: number of 400 digits": ("POST", "/prompt", b'{"prompt": {}, "number": ' + b"9" * 400 + b"}", JSON),
    "prompt: number of 5,000 digits": ("POST", "/prompt", b'{"prompt": {}, "number": ' + b"9" * 5000 + b"}", JSON),
    "prompt: 1e400": (
        "POST",
        "/prompt",
        b'{"prompt": {"1": {"class_type": "PreviewAny", "inputs": {"source": 1e400}}}}',
    ),
    "prompt: NaN": ("POST", "/prompt", b'{"prompt": {"1": {"class_type": "PreviewAny", "inputs": {"source": NaN}}}}'),
    "prompt: odd targets": ("POST", "/prompt", *prompt(partial_execution_targets=[{}, []])),
    "prompt: odd picture texts": ("POST", "/prompt", *prompt(extra_data={"extra_pnginfo": [1]})),
    "prompt: node of a number": ("POST", "/prompt", *prompt(prompt={"1": 3})),
    "prompt: class of a list": ("POST", "/prompt", *node({}, ["PreviewAny"])),
    "prompt: class of an object": ("POST", "/prompt", *node({}, {"a": 1})),
    "prompt: inputs of a list": ("POST", "/prompt", *node([])),
    "prompt: a link to itself": ("POST", "/prompt", *node({"source": ["1", 0]})),
    "prompt: a link of a huge number": ("POST", "/prompt", *node({"source": ["1", 10**30]})),
    "prompt: a link of half a slot": ("POST", "/prompt", *node({"source": ["1", 0.5]})),
    "prompt: value of a value": ("POST", "/prompt", *node({"source": {"__value__": {"__value__": []}}})),
    "prompt: title of a list": ("POST", "/prompt", *node({}, "Nowhere", _meta={"title": ["x"]})),
    "prompt: name with NUL": ("POST", "/prompt", *node({"image": "\0"}, "LoadImage")),
    "prompt: name too long": ("POST", "/prompt", *node({"image": LONG}, "LoadImage")),
    "prompt: name of an object": ("POST", "/prompt", *node({"image": {}}, "LoadImage")),
    "prompt: surrogate": ("POST", "/prompt", b'{"prompt": {"1": {"class_type": "\\ud800"}}}', JSON),
    "queue: list": ("POST", "/queue", b"[]", JSON),
    "queue: odd ids": ("POST", "/queue", b'{"delete": [{}, 3, null]}', JSON),
    "interrupt: odd id": ("POST", "/interrupt", b'{"prompt_id": {}}', JSON),
    "history: odd offset": ("GET", "/history?offset=1e3"),
    "history: huge": ("GET", f"/history?max_items={10**40}&offset={10**40}"),
    "history: 5,000 digits": ("GET", f"/history?max_items={'9' * 5000}"),
    "history: negative": ("GET", "/history?max_items=-5&offset=-7"),
    "jobs: huge": ("GET", f"/jobs?limit={10**40}&offset={10**40}"),
    "jobs: odd order": ("GET", "/jobs?sort_order=up"),
    "jobs: odd ids": ("POST", "/jobs/cancel", b'{"job_ids": [{}, 3]}', JSON),
    "jobs: no such": ("GET", f"/jobs/{UUID}"),
    "setting: NaN": ("POST", "/settings/x", b"NaN", JSON),
    "setting: -Infinity": ("POST", "/settings", b'{"a": [-Infinity]}', JSON),
    "setting: surrogate": ("POST", "/settings/x", b'"\\ud800"', JSON),
    "setting: nested": ("POST", "/settings/x", DEEP.encode(), JSON),
    "setting: nested 400 deep": ("POST", "/settings/x", b"[" * 400 + b"]" * 400, JSON),
    "setting: list": ("POST", "/settings", b"[1]", JSON),
    "logs: odd": ("PATCH", "/internal/logs/subscribe", b'{"clientId": [], "enabled": 3}', JSON),
    "free: list": ("POST", "/free", b"[]", JSON),
    "files: of nowhere": ("GET", "/internal/files/nowhere"),
    "models: up": ("GET", "/models/..%2f.."),
    "metadata: no such": ("GET", f"/view_metadata/loras?filename={LONG}"),
    "metadata: NUL": ("GET", "/view_metadata/loras?filename=%00"),
    "metadata: no header": ("GET", "/view_metadata/loras?filename=bad.safetensors"),
    "nodes: of a strange class": ("GET", "/object_info/%00%FF"),
    "another method": ("PUT", "/prompt", b"{}", JSON),
    "no such path": ("GET", "/nowhere/at/all"),
    "a socket that is none": ("GET", "/ws"),
    "host of no host": ("GET", "/prompt", None, {"Host": "[::1].evil.example"}),
    "origin of another port": ("POST", "/prompt", b"{}", {"Origin": "http://127.0.0.1:1"}),
}
BROKEN_BODIES = {name for name, (*_, last) in REQUESTS.items() if isinstance(last, dict) and "Content-Encoding" in last}

RAW = {
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "no version": b"GET /prompt\r\n\r\n",
    "folded header": b"GET /prompt HTTP/1.1\r\nHost: 127.0.0.1\r\n X: y\r\n\r\n",
    "huge header": b"GET /prompt HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    "bad chunk": b"POST /prompt HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "two lengths": b"POST /prompt HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "cut body": b"POST /prompt HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n{",
    "bad escape": b"GET /view?filename=%zz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "whole address": b"GET http://[::1/prompt HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
}


def prepare(host: Any) -> None:
    """Files that requests name."""
    (host.folders.input / "bomb.png").write_bytes(BOMB.getvalue())
    (host.folders.input / "cut.png").write_bytes(PNG.getvalue()[:-30])
    (host.folders.user / "default" / "user.css").write_bytes(b"\xff")
    loras = host.folders.base / "models" / "loras"
    loras.mkdir(parents=True, exist_ok=True)
    (loras / "bad.safetensors").write_bytes(b"\xff" * 9)


def test_no_request_ends_in_a_traceback(ask, caplog):
    caplog.set_level(logging.WARNING)

    async def scenario(client, host):
        prepare(host)
        answers = {}
        for name, (method, path, *rest) in REQUESTS.items():
            body, headers = (*rest, None, None)[:2]
            try:
                answer = await client.request(method, path, data=body, headers=headers)
                answers[name] = answer.status, await answer.text(errors="replace")
            except ServerDisconnectedError:  # a body that cannot be unpacked ends the connection
                answers[name] = 0, "hung up"
        still = await client.get("/prompt")
        settings = await (await client.get("/settings")).json()
        return answers, still.status, settings, str(host.folders.base)

    assert len(REQUESTS) >= 100
    answers, still, settings, base = ask(scenario)
    assert still == 200 and settings["Comfy.TutorialCompleted"] is True
    assert {name: told for name, told in answers.items() if told[0] >= 500} == {}
    assert [record.getMessage() for record in caplog.records] == []
    assert {name for name, (status, _) in answers.items() if status == 0} <= BROKEN_BODIES
    for name, (status, text) in answers.items():
        assert base not in text, name
        if status >= 400 and not text.startswith("{"):
            assert (len(text) > 3 or status == 404) and len(text) < 600 and "Traceback" not in text, (name, text)


@pytest.mark.parametrize("name", RAW)
def test_what_is_no_http(ask, caplog, name):
    caplog.set_level(logging.WARNING)

    async def scenario(client, _):
        reader, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(RAW[name])
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer, (await client.get("/prompt")).status

    answer, still = ask(scenario)
    assert still == 200
    assert answer == b"" or b" 500 " not in answer.split(b"\r\n")[0]
    assert not any(record.exc_info for record in caplog.records)


def test_words_of_a_socket(ask, caplog):
    caplog.set_level(logging.WARNING)

    async def scenario(client, _):
        socket = await client.ws_connect("/ws?clientId=*")
        await socket.receive()
        for text in ("{", "[" * 100_000, "NaN", "3", '{"type": []}', '{"type": "feature_flags", "data": [1]}'):
            await socket.send_str(text)
        await socket.send_bytes(b"\xff")
        kinds = [(await socket.receive_json())["type"]]
        await socket.send_str('{"type": "feature_flags", "data": {}}')
        return [*kinds, (await socket.receive_json())["type"]]

    assert ask(scenario) == ["feature_flags", "feature_flags"]
    assert caplog.records == []


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (OSError(28, "No space left on device", "/home/somebody/x"), 507),
        (OSError(122, "Disk quota exceeded"), 507),
        (OSError(5, "Input/output error"), 507),
        (PermissionError(13, "Permission denied", "/home/somebody/x"), 403),
        (FileNotFoundError(2, "No such file or directory", "/home/somebody/x"), 404),
        (OSError(36, "File name too long", "/home/somebody/x"), 400),
        (InputError("give another one"), 400),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), 400),
        (ValueError("/home/somebody/x"), 400),
        (RecursionError("maximum recursion depth exceeded"), 400),
        (OverflowError("int too large to convert to float"), 400),
        (MemoryError(), 507),
    ],
)
def test_errors_become_sentences_without_paths(problem, status):
    told = described(problem)
    assert told[0] == status
    assert "/home" not in told[1] and "Errno" not in told[1] and len(told[1]) > 10


def test_json_is_json_in_both_directions():
    value = {"a": [1.5, float("nan"), (float("inf"), {"b": -float("inf")})], float("nan"): 1}
    assert json.loads(json_text(value), parse_constant=pytest.fail) == {"a": [1.5, None, [None, {"b": None}]], "nan": 1}
    assert parse('{"a": [1, "\\ud83d\\ude00"]}') == {"a": [1, "\U0001f600"]}  # a pair of surrogates is a character
    assert parse("[" * 99 + "]" * 99)
    for text in ("NaN", "[1e999]", "-Infinity", '"\\ud800"', '{"\\udc00": 1}', "[" * 101 + "]" * 101, "[" * 10**5, "{"):
        with pytest.raises(InputError):
            parse(text)
