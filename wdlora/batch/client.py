"""One ComfyUI server, as far as a batch asks of it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import InputError
from ..graph import Graph
from ..graph.refusal import refusal
from .masks import UPLOADS, Mask

if TYPE_CHECKING:
    import aiohttp

_TIMEOUT_S = 60
_CONNECT_S = 10


class Unreachable(Exception):
    """The server does not answer, or not with what a ComfyUI server answers."""


class Refused(Exception):
    """The server does not take the graph; the sentence says why."""


class Server:
    """A server by its URL. Every method raises Unreachable where the server does not answer."""

    def __init__(self, url: str, session: "aiohttp.ClientSession"):
        self.url = address(url)
        self._session = session
        self._uploaded: set[str] = set()

    async def object_info(self) -> dict[str, Any]:
        """Every node that the server has."""
        return await self._object("GET", "/object_info")

    async def alive(self) -> None:
        """Return if the server answers."""
        await self._object("GET", "/queue")

    async def upload(self, mask: Mask) -> None:
        """Put a mask into the server's input folder, once."""
        import aiohttp

        if mask.stored in self._uploaded:
            return
        form = aiohttp.FormData()
        form.add_field("image", mask.path.read_bytes(), filename=mask.stored, content_type="application/octet-stream")
        for name, value in (("type", "input"), ("subfolder", UPLOADS), ("overwrite", "true")):
            form.add_field(name, value)
        status, body = await self._ask("POST", "/upload/image", data=form)
        if status != 200:
            raise Refused(f"it does not take the mask {mask.name}: {_sentence(body)}")
        self._uploaded.add(mask.stored)

    async def send(self, prompt_id: str, prompt: Graph, client_id: str) -> None:
        """Put a graph into the queue. Raises Refused."""
        body = {"prompt": prompt, "prompt_id": prompt_id, "client_id": client_id}
        status, answer = await self._ask("POST", "/prompt", json=body)
        if status >= 500:
            raise Unreachable(f"answered {status} to a graph")
        if status != 200:
            self._uploaded.clear()  # it may have lost them
            raise Refused(_refusal(answer, prompt))
        errors = _parsed(answer).get("node_errors")
        if errors:
            await self.forget(prompt_id, queued=True)
            raise Refused(_refusal(answer, prompt))

    async def finished(self, prompt_id: str) -> dict[str, Any] | None:
        """The history's entry of a job, None while there is none."""
        entry = (await self._object("GET", f"/history/{prompt_id}")).get(prompt_id)
        return entry if isinstance(entry, dict) and isinstance(entry.get("status"), dict) else None

    async def waiting(self, prompt_id: str) -> bool:
        """Whether a job waits or runs: by the queue, and by the list of jobs where the server has one."""
        queue = await self._object("GET", "/queue")
        rows = [*(queue.get("queue_running") or []), *(queue.get("queue_pending") or [])]
        if any(isinstance(row, list) and len(row) > 1 and row[1] == prompt_id for row in rows):
            return True
        status, body = await self._ask("GET", f"/api/jobs/{prompt_id}")
        return status == 200 and _parsed(body).get("status") in ("pending", "in_progress")

    async def forget(self, prompt_id: str, queued: bool = False) -> None:
        """Drop a job from the history, or from the queue."""
        await self._ask("POST", "/queue" if queued else "/history", json={"delete": [prompt_id]})

    async def download(self, file: dict[str, str], target: Path) -> bool:
        """Fetch a file of a result; False where the server has it no more."""
        status, body = await self._ask("GET", "/view", params=file)
        if status != 200:
            return False
        target.write_bytes(body)
        return True

    async def _object(self, method: str, path: str) -> dict[str, Any]:
        status, body = await self._ask(method, path)
        if status != 200:
            raise Unreachable(f"answered {status} to {path}")
        return _parsed(body)

    async def _ask(self, method: str, path: str, **options: Any) -> tuple[int, bytes]:
        import aiohttp

        try:
            async with self._session.request(method, self.url + path, **options) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            raise Unreachable(str(problem) or type(problem).__name__) from None


def open_session() -> "aiohttp.ClientSession":
    """A session for all servers."""
    import aiohttp

    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S, sock_connect=_CONNECT_S))


def address(url: str) -> str:
    """A server's address without a slash at its end. Raises InputError for what is none."""
    full = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(full)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InputError(f"{url!r} is not an address of a server; write http://127.0.0.1:8188")
    return full.rstrip("/")


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        raise Unreachable("did not answer with JSON; is it a ComfyUI server?") from None
    return value if isinstance(value, dict) else {}


def _refusal(body: bytes, prompt: Graph) -> str:
    try:
        answer = json.loads(body)
    except ValueError:
        return _sentence(body)
    if not isinstance(answer, dict):
        return _sentence(body)
    error = answer.get("error")
    return refusal(error if isinstance(error, dict) else {"message": error}, answer.get("node_errors") or {}, prompt)


def _sentence(body: bytes) -> str:
    return " ".join(body.decode("utf-8", "replace").split())[:300] or "it did not say why"
