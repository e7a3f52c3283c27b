"""The browsers that listen: one outbox each, so that a slow one holds up nobody."""

import asyncio
import contextlib
import logging
import struct
import uuid
from collections.abc import Callable
from io import BytesIO
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from ...errors import InputError
from ..executor import EVERYBODY
from ..queue import JobQueue
from .answers import json_text, parse

log = logging.getLogger(__name__)

_PREVIEW, _TEXT, _PREVIEW_WITH_METADATA = 1, 3, 4
_JPEG = 1
LARGEST_PREVIEW = 512
_MUCH, _TOO_MUCH = 8 * 2**20, 64 * 2**20
"""Of what a browser has not taken: from there on passing messages are dropped, and from there on it is hung up on."""

_PASSING = frozenset({"progress", "progress_state", "logs"})
"""Messages that a later one replaces."""

GOODBYE_S = 1.5
"""How long the end waits for browsers, requests and the job that runs, each."""

FEATURES = {
    "supports_preview_metadata": True,
    "max_upload_size": 100 * 2**20,
    "node_replacements": True,
    "assets": False,
}


class _Client:
    """A browser's socket and what it has not taken yet."""

    def __init__(self, id: str, socket: web.WebSocketResponse, hang_up: Callable[[], None]):
        self.id, self.socket, self.hang_up = id, socket, hang_up
        self.features: dict[str, Any] = {}
        self.outbox: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.backlog = 0
        """Characters and bytes in the outbox."""

    def post(self, message: str | bytes, passing: bool = False) -> None:
        """Leave a message. `passing`: a later one says the same anew, so where the browser lags behind it is dropped.

        A browser that takes nothing for long is hung up on, as what it must hear would fill the memory.
        """
        if self.backlog > (_MUCH if passing else _TOO_MUCH):
            if not passing:
                self.hang_up()
            return
        self.backlog += len(message)
        self.outbox.put_nowait(message)

    async def deliver(self) -> None:
        """Send what is in the outbox, in order, for ever."""
        while True:
            message = await self.outbox.get()
            self.backlog -= len(message)
            if isinstance(message, bytes):
                await self.socket.send_bytes(message)
            else:
                await self.socket.send_str(message)


class Sockets:
    """Every open WebSocket. The `Sink` of the executor: its methods may be called from any thread."""

    def __init__(self) -> None:
        self.queue: JobQueue | None = None
        self._clients: set[_Client] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._executing: str | None = None

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say in which loop the sockets live."""
        self._loop = loop

    async def close(self) -> None:
        """Close every socket, also those that do not answer."""
        closing = [asyncio.create_task(client.socket.close(code=WSCloseCode.GOING_AWAY)) for client in self._clients]
        if closing:
            await asyncio.wait(closing, timeout=GOODBYE_S)

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
        if self.watched(client_id):
            self._post(json_text({"type": event, "data": data}), client_id, passing=event in _PASSING)

    def watched(self, client_id: str | None) -> bool:
        """Whether a browser of that id is there."""
        return client_id is not None and any(client_id in (EVERYBODY, one.id) for one in tuple(self._clients))

    def send_preview(self, image: Any, metadata: dict[str, Any], client_id: str | None) -> None:
        """A PIL image as JPEG, at most 512 pixels a side."""
        from PIL import ImageOps

        if not self.watched(client_id):
            return
        if max(image.size) > LARGEST_PREVIEW:
            image = ImageOps.contain(image, (LARGEST_PREVIEW, LARGEST_PREVIEW))
        buffer = BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=95)
        picture = buffer.getvalue()
        head = json_text({**metadata, "image_type": "image/jpeg"}).encode()
        with_metadata = struct.pack(">II", _PREVIEW_WITH_METADATA, len(head)) + head + picture
        bare = struct.pack(">II", _PREVIEW, _JPEG) + picture
        self._post(bare, client_id, with_metadata, passing=True)

    def send_text(self, node_id: str, text: str, client_id: str | None) -> None:
        """A line of text on a node."""
        name = node_id.encode(errors="replace")
        message = struct.pack(">II", _TEXT, len(name)) + name + text.encode(errors="replace")
        self._post(message, client_id, passing=True)

    def _post(
        self, message: str | bytes, client_id: str | None, with_metadata: bytes | None = None, passing: bool = False
    ) -> None:
        def put() -> None:
            for client in self._clients:
                if client_id in (EVERYBODY, client.id):
                    rich = with_metadata is not None and client.features.get("supports_preview_metadata")
                    client.post(with_metadata if rich and with_metadata is not None else message, passing)

        if client_id is not None and self._loop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):  # the loop closed between the question and the call
                self._loop.call_soon_threadsafe(put)

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """GET /ws."""
        socket = web.WebSocketResponse(timeout=GOODBYE_S, max_msg_size=2**20, heartbeat=30)
        await socket.prepare(request)
        id = request.query.get("clientId") or uuid.uuid4().hex
        assert request.transport is not None
        client = _Client(
            id, socket, request.transport.abort
        )  # a tab that was duplicated has the first one's id, and both hear
        self._clients.add(client)
        delivery = asyncio.create_task(client.deliver())
        client.post(json_text({"type": "status", "data": {"status": self.status(), "sid": id}}))
        if self.queue is not None and self._executing is not None and self.queue.running_client() == id:
            client.post(json_text({"type": "executing", "data": {"node": self._executing}}))
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    self._hear(client, message.data)
        finally:
            delivery.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await delivery
            self._clients.discard(client)
        return socket

    @staticmethod
    def _hear(client: _Client, text: str) -> None:
        try:
            message = parse(text)
        except InputError as problem:
            log.debug("a browser's message is left: %s", problem)
            return
        if isinstance(message, dict) and message.get("type") == "feature_flags":
            flags = message.get("data")
            client.features = flags if isinstance(flags, dict) else {}
            client.post(json_text({"type": "feature_flags", "data": FEATURES}))
