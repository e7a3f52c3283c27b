"""Routes of the page's console: the host's last log lines, and new ones as they come."""

import logging
from collections import deque
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from .answers import answer, read_object
from .sockets import Sockets

KEPT = 300
_SIZE = {"cols": 120, "rows": 30}


class LogRoutes(logging.Handler):
    """Keeps what `wdlora.host` logs, and sends it to the browsers whose console is open."""

    def __init__(self, sockets: Sockets):
        super().__init__(logging.INFO)
        self.sockets = sockets
        self.entries: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.listeners: set[str] = set()

    def routes(self) -> list[web.RouteDef]:
        """The routes; they have no twin under /api."""
        return [
            web.get("/internal/logs", self.text),
            web.get("/internal/logs/raw", self.raw),
            web.patch("/internal/logs/subscribe", self.subscribe),
        ]

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line and send it on."""
        entry = {"t": datetime.now(UTC).isoformat(), "m": record.getMessage() + "\n"}
        self.entries.append(entry)
        for client_id in list(self.listeners):
            self.sockets.send("logs", {"entries": [entry], "size": _SIZE}, client_id)

    async def text(self, _: web.Request) -> web.Response:
        """The lines as one text."""
        return answer("".join(f"{entry['t']} - {entry['m']}" for entry in self.entries))

    async def raw(self, _: web.Request) -> web.Response:
        """The lines one by one."""
        return answer({"entries": list(self.entries), "size": _SIZE})

    async def subscribe(self, request: web.Request) -> web.Response:
        """{"clientId", "enabled"}: send new lines to a browser, or stop."""
        body = await read_object(request)
        client_id = body.get("clientId")
        if isinstance(client_id, str):
            (self.listeners.add if body.get("enabled") else self.listeners.discard)(client_id)
        return web.Response()
