"""The browsers that listen: one outbox each, so that a slow one holds up nobody."""

import asyncio
import contextlib
import json
import logging
import struct
import uuid
from io import BytesIO
from typing import Any

from aiohttp import WSMsgType, web

from ..executor import EVERYBODY
from ..queue import JobQueue

log = logging.getLogger(__name__)

_PREVIEW, _TEXT, _PREVIEW_WITH_METADATA = 1, 3, 4
_JPEG = 1
LARGEST_PREVIEW = 512
_LONGEST_OUTBOX = 2000

FEATURES = {
    "supports_preview_metadata": True,
    "max_upload_size": 100 * 2**20,
    "node_replacements": True,
    "assets": False,
}


class _Client:
    def __init__(self, socket: web.WebSocketResponse):
        self.socket = socket
        self.features: dict[str, Any] = {}
        self.outbox: asyncio.Queue[str | bytes] = asyncio.Queue()

    def post(self, message: str | bytes) -> None:
        """Leave a message. Where the browser does not keep up previews are dropped, and what is said waits."""
        if isinstance(message, str) or self.outbox.qsize() < _LONGEST_OUTBOX:
            self.outbox.put_nowait(message)

    async def deliver(self) -> None:
        """Send what is in the outbox, in order, for ever."""
        while True:
            message = await self.outbox.get()
            if isinstance(message, bytes):
                await self.socket.send_bytes(message)
            else:
                await self.socket.send_str(message)


class Sockets:
    """Every open WebSocket. The `Sink` of the executor: its methods may be called from any thread."""

    def __init__(self) -> None:
        self.queue: JobQueue | None = None
        self._clients: dict[str, _Client] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._executing: str | None = None

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say in which loop the sockets live."""
        self._loop = loop

    async def close(self) -> None:
        """Close every socket."""
        for client in list(self._clients.values()):
            await client.socket.close()

    def status(self) -> dict[str, Any]:
        """The queue's length as the front end reads it."""
        return {"exec_info": {"queue_remaining": self.queue.remaining() if self.queue else 0}}

    def announce(self) -> None:
        """Tell everybody the queue's length."""
        self.send("status", {"status": self.status()}, EVERYBODY)

    def send(self, event: str, data: dict[str, Any], client_id: str | None) -> None:
        """One message to one browser, or to all; none where the job came from no browser."""
        if event == "executing":
            self._executing = data.get("node")
        self._post(json.dumps({"type": event, "data": data}, default=str), client_id)

    def send_preview(self, image: Any, metadata: dict[str, Any], client_id: str | None) -> None:
        """A PIL image as JPEG, at most 512 pixels a side."""
        from PIL import ImageOps

        if max(image.size) > LARGEST_PREVIEW:
            image = ImageOps.contain(image, (LARGEST_PREVIEW, LARGEST_PREVIEW))
        buffer = BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=95)
        picture = buffer.getvalue()
        head = json.dumps({**metadata, "image_type": "image/jpeg"}).encode()
        with_metadata = struct.pack(">II", _PREVIEW_WITH_METADATA, len(head)) + head + picture
        bare = struct.pack(">II", _PREVIEW, _JPEG) + picture
        self._post(bare, client_id, with_metadata)

    def send_text(self, node_id: str, text: str, client_id: str | None) -> None:
        """A line of text on a node."""
        name = node_id.encode()
        self._post(struct.pack(">II", _TEXT, len(name)) + name + text.encode(), client_id)

    def _post(self, message: str | bytes, client_id: str | None, with_metadata: bytes | None = None) -> None:
        def put() -> None:
            for id, client in self._clients.items():
                if client_id in (EVERYBODY, id):
                    rich = with_metadata is not None and client.features.get("supports_preview_metadata")
                    client.post(with_metadata if rich and with_metadata is not None else message)

        if client_id is not None and self._loop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):  # the loop closed between the question and the call
                self._loop.call_soon_threadsafe(put)

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """GET /ws."""
        socket = web.WebSocketResponse(max_msg_size=2**20, heartbeat=30)
        await socket.prepare(request)
        id = request.query.get("clientId") or uuid.uuid4().hex
        client = self._clients[id] = _Client(socket)
        delivery = asyncio.create_task(client.deliver())
        client.post(json.dumps({"type": "status", "data": {"status": self.status(), "sid": id}}))
        if self.queue is not None and self._executing is not None and self.queue.running_client() == id:
            client.post(json.dumps({"type": "executing", "data": {"node": self._executing}}))
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    self._hear(client, message.data)
        finally:
            delivery.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await delivery
            if self._clients.get(id) is client:
                del self._clients[id]
        return socket

    @staticmethod
    def _hear(client: _Client, text: str) -> None:
        try:
            message = json.loads(text)
        except ValueError:
            log.debug("a browser sent what is no JSON")
            return
        if isinstance(message, dict) and message.get("type") == "feature_flags":
            flags = message.get("data")
            client.features = flags if isinstance(flags, dict) else {}
            client.post(json.dumps({"type": "feature_flags", "data": FEATURES}))
