"""The web application: every route, bare and under /api, behind one guard."""

import asyncio
import logging
import mimetypes
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aiohttp import web
from aiohttp.log import server_logger

from ...errors import InputError
from ..host import Host
from ..queue import JobQueue
from .files import FileRoutes
from .frontend import PageRoutes, frontend_directory
from .logs import LogRoutes
from .prompts import PromptRoutes
from .refusals import OneLine, refuse
from .security import is_loopback, middleware
from .sockets import FEATURES, GOODBYE_S, Sockets
from .users import UserRoutes

_LOGGER = __package__.rpartition(".")[0]
HOST_KEY: web.AppKey[Host] = web.AppKey("host", Host)
QUEUE_KEY: web.AppKey[JobQueue] = web.AppKey("queue", JobQueue)


def build(
    make_host: Callable[[Sockets], Host], page: Path | None = None, loopback_only: bool = True
) -> web.Application:
    """The application of one host.

    make_host: makes the host with the given sink. page: directory of the front end, default its package.
    loopback_only: refuse requests for other host names.
    """
    mimetypes.add_type("application/javascript", ".js")  # Windows' registry may say text/plain
    mimetypes.add_type("text/css", ".css")
    sockets = Sockets()
    host = make_host(sockets)
    queue = JobQueue(
        host.executor,
        changed=sockets.announce,
        finished=lambda job: sockets.send("executing", {"node": None, "prompt_id": job.prompt_id}, job.client_id),
    )
    sockets.queue = queue
    app = web.Application(
        client_max_size=FEATURES["max_upload_size"], middlewares=[middleware(loopback_only), refuse, no_cache]
    )
    app[HOST_KEY], app[QUEUE_KEY] = host, queue
    pages = PageRoutes(host, page or frontend_directory())
    routes = [
        web.get("/ws", sockets.handle),
        *PromptRoutes(host, queue, sockets).routes(),
        *FileRoutes(host.folders).routes(),
        *UserRoutes(host.folders).routes(),
        *pages.routes(),
    ]
    for route in routes:
        for path in (route.path, f"/api{route.path}"):
            app.router.add_route(route.method, path, route.handler)
    logs = LogRoutes(sockets)
    app.router.add_routes(logs.routes())
    pages.add_static(app)

    async def live(_: web.Application) -> AsyncIterator[None]:
        sockets.open(asyncio.get_running_loop())
        logger = logging.getLogger(_LOGGER)
        level = logger.level
        logger.setLevel(logging.INFO)
        logger.addHandler(logs)
        one_line = OneLine()
        server_logger.addFilter(one_line)
        queue.start()
        yield
        await asyncio.to_thread(queue.close, GOODBYE_S)
        server_logger.removeFilter(one_line)
        logger.removeHandler(logs)
        logger.setLevel(level)

    app.cleanup_ctx.append(live)

    async def hang_up(_: web.Application) -> None:
        await sockets.close()

    app.on_shutdown.append(hang_up)
    return app


@web.middleware
async def no_cache(request: web.Request, handler: Callable) -> web.StreamResponse:
    """Scripts and styles are fetched afresh, as ComfyUI has it: an update shows at once."""
    response = await handler(request)
    if request.path.endswith((".js", ".css", ".json")) and not response.prepared:
        response.headers.setdefault("Cache-Control", "no-store")
    return response


async def serve(make_host: Callable[[Sockets], Host], address: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until cancelled; `ready` is called with the URL. Raises InputError where the port is taken."""
    app = build(make_host, loopback_only=is_loopback(address))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=GOODBYE_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, address, port).start()
        except OSError as error:
            raise InputError(
                f"cannot listen on {address} port {port}: {error.strerror}; give another --port"
            ) from error
        bound = runner.addresses[0]
        name = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        ready(f"http://{name}:{bound[1]}/")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
