"""Routes of the user's own things: /users, /settings, /userdata."""

import asyncio
import mimetypes
import os
from pathlib import Path
from typing import Any

from aiohttp import web

from ...errors import InputError
from ...files import atomic_write, new_file, take_name, write_json, write_text
from ...locks import locked
from ..folders import Folders, inside
from .answers import answer, parse, read_value, threaded
from .security import is_active
from .sending import sent

_PATIENCE_S = 10.0

SEEDED = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Notification.ShowVersionUpdates": False,
}
"""Settings of a user who comes for the first time: no tutorial, no question of what is new elsewhere."""

ASKED_FOR = {"user.css": "", "comfy.templates.json": "[]"}
"""Files that the page asks for when it starts, and which are not there otherwise: console errors less."""


class UserRoutes:
    """Handlers of the one user's settings and files."""

    def __init__(self, folders: Folders):
        self.root = folders.user / "default"
        self.settings_file = self.root / "comfy.settings.json"
        if not self.settings_file.exists():
            write_json(self.settings_file, SEEDED)
        (self.root / "subgraphs").mkdir(parents=True, exist_ok=True)
        for name, text in ASKED_FOR.items():
            if not (self.root / name).exists():
                write_text(self.root / name, text)

    def routes(self) -> list[web.RouteDef]:
        """The routes, without the prefix /api."""
        return [
            web.get("/users", self.users),
            web.get("/settings", threaded(self.get_settings)),
            web.get("/settings/{id}", threaded(self.get_setting)),
            web.post("/settings", self.post_settings),
            web.post("/settings/{id}", self.post_setting),
            web.get("/user.css", threaded(self.user_css)),
            web.get("/userdata", threaded(self.list_files)),
            web.get("/userdata/{file}", threaded(self.get_file)),
            web.post("/userdata/{file}", self.post_file),
            web.delete("/userdata/{file}", threaded(self.delete_file)),
            web.post("/userdata/{file}/move/{dest}", threaded(self.move_file)),
        ]

    async def users(self, _: web.Request) -> web.Response:
        """One user, whose things are kept on the server."""
        return answer({"storage": "server", "migrated": True})

    def _settings(self) -> dict[str, Any]:
        try:
            settings = parse(self.settings_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return settings if isinstance(settings, dict) else {}

    def _change(self, new: dict[str, Any]) -> None:
        """Read, change and write the settings while no other request and no other server does."""
        with locked(self.root / ".settings.lock", wait_s=_PATIENCE_S):
            write_json(self.settings_file, {**self._settings(), **new})

    def get_settings(self, _: web.Request) -> web.Response:
        """All settings."""
        return answer(self._settings())

    def get_setting(self, request: web.Request) -> web.Response:
        """One setting, or null."""
        return answer(self._settings().get(request.match_info["id"]))

    async def post_settings(self, request: web.Request) -> web.Response:
        """Change some settings."""
        new = await read_value(request)
        if not isinstance(new, dict):
            raise web.HTTPBadRequest(text="settings are a JSON object")
        await asyncio.to_thread(self._change, new)
        return web.Response()

    async def post_setting(self, request: web.Request) -> web.Response:
        """Change one setting to the JSON value of the body."""
        new = {request.match_info["id"]: await read_value(request)}
        await asyncio.to_thread(self._change, new)
        return web.Response()

    def user_css(self, _: web.Request) -> web.Response:
        """The user's own style of the page, empty where there is none."""
        path = self.root / "user.css"
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        return web.Response(text=text, content_type="text/css")

    def _path(self, request: web.Request, name: str = "file", must_exist: bool = False) -> Path:
        try:
            path = inside(self.root, request.match_info[name])
        except InputError as error:
            raise web.HTTPForbidden(text=str(error)) from None
        if must_exist and not path.is_file():
            raise web.HTTPNotFound
        return path

    def list_files(self, request: web.Request) -> web.Response:
        """Files of a folder: names, split names, or names with size and time."""
        query = request.query
        if not query.get("dir"):
            raise web.HTTPBadRequest(text="Directory not provided")
        try:
            folder = inside(self.root, query["dir"])
        except InputError as error:
            raise web.HTTPForbidden(text=str(error)) from None
        if not folder.is_dir():
            raise web.HTTPNotFound(text="Directory not found")
        found = folder.rglob("*") if query.get("recurse", "").lower() == "true" else folder.glob("*")
        files = sorted(path for path in found if path.is_file() and not path.name.startswith("."))
        if query.get("full_info", "").lower() == "true":
            return answer([_info(path, folder) for path in files])
        names = [path.relative_to(folder).as_posix() for path in files]
        split = query.get("split", "").lower() == "true"
        return answer([[name, *name.split("/")] for name in names] if split else names)

    def get_file(self, request: web.Request) -> web.StreamResponse:
        """One file, as a download; only the user's style of the page is applied by the browser."""
        path = self._path(request, must_exist=True)
        if path == inside(self.root, "user.css"):
            return self.user_css(request)
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        headers = {
            "Content-Type": "application/octet-stream" if is_active(kind) else kind,
            "X-Content-Type-Options": "nosniff",
            "Content-Disposition": "attachment",
        }
        return sent(request, path, headers)

    async def post_file(self, request: web.Request) -> web.Response:
        """Keep the body as a file."""
        content = await request.read()
        return await asyncio.to_thread(self._keep, request, content)

    def _keep(self, request: web.Request, content: bytes) -> web.Response:
        path = self._path(request)
        if path.is_dir():
            raise web.HTTPBadRequest(text="there is a folder of that name")
        try:
            with (new_file if request.query.get("overwrite") == "false" else atomic_write)(path) as temporary:
                temporary.write_bytes(content)
        except FileExistsError:
            raise web.HTTPConflict(text="File already exists") from None
        return self._told(request, path)

    def delete_file(self, request: web.Request) -> web.Response:
        """Remove a file."""
        self._path(request, must_exist=True).unlink()
        return web.Response(status=204)

    def move_file(self, request: web.Request) -> web.Response:
        """Rename a file."""
        source, target = self._path(request, must_exist=True), self._path(request, "dest")
        target.parent.mkdir(parents=True, exist_ok=True)
        if request.query.get("overwrite") != "false":
            os.replace(source, target)
            return self._told(request, target)
        try:
            take_name(source, target)
        except FileExistsError:
            raise web.HTTPConflict(text="File already exists") from None
        return self._told(request, target)

    def _told(self, request: web.Request, path: Path) -> web.Response:
        root = Path(os.path.realpath(self.root))
        full = request.query.get("full_info", "").lower() == "true"
        return answer(_info(path, root) if full else path.relative_to(root).as_posix())


def _info(path: Path, folder: Path) -> dict[str, Any]:
    stat = path.stat()
    return {
        "path": path.relative_to(folder).as_posix(),
        "size": stat.st_size,
        "modified": int(stat.st_mtime * 1000),
        "created": int(stat.st_ctime * 1000),
    }
