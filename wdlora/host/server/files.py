"""Routes of files: /view, /upload/image, /upload/mask, /models. Every path stays in its folder."""

import contextlib
import json
import mimetypes
import os
from io import BytesIO
from pathlib import Path
from typing import Any

from aiohttp import web

from ...errors import InputError
from ...files import atomic_write
from ..folders import Folders, inside
from .security import is_active


class FileRoutes:
    """Handlers that read pictures and take uploads."""

    def __init__(self, folders: Folders):
        self.folders = folders

    def routes(self) -> list[web.RouteDef]:
        """The routes, without the prefix /api."""
        return [
            web.get("/view", self.view),
            web.post("/upload/image", self.upload_image),
            web.post("/upload/mask", self.upload_mask),
            web.get("/view_metadata/{folder}", self.view_metadata),
            web.get("/models", self.model_folders),
            web.get("/models/{folder}", self.model_names),
            web.get("/experiment/models", self.model_folders_in_full),
            web.get("/experiment/models/{folder}", self.model_files),
            web.get("/embeddings", self.embeddings),
        ]

    def find(self, filename: str, kind: str | None, subfolder: str = "") -> Path:
        """The path that a request names. Answers 400 or 403 where there is none, or it leaves its folder."""
        bare, folder = self.folders.annotated_filepath(filename)
        if not bare:
            raise web.HTTPBadRequest(text="no file name was given")
        try:
            root = folder or self.folders.get_directory_by_type(kind)
        except InputError as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        try:
            return inside(root, os.path.relpath(inside(root, subfolder), root), bare)
        except InputError as error:
            raise web.HTTPForbidden(text=str(error)) from None

    async def view(self, request: web.Request) -> web.StreamResponse:
        """A file of the input, output or temp folder, or one channel or a small version of a picture."""
        query = request.query
        path = self.find(query.get("filename", ""), query.get("type", "output"), query.get("subfolder", ""))
        if not path.is_file():
            raise web.HTTPNotFound(text=f"there is no file {path.name}")
        channel = query.get("channel", "")
        if "preview" in query:
            return _picture(path, preview=query["preview"], channel=channel)
        if channel in ("rgb", "a"):
            return _picture(path, channel=channel)
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        active = is_active(kind)
        headers = {
            "X-Content-Type-Options": "nosniff",
            "Content-Type": "application/octet-stream" if active else kind,
            "Content-Disposition": ("attachment; " if active else "") + f'filename="{_quoted(path.name)}"',
        }
        return web.FileResponse(path, headers=headers)

    async def upload_image(self, request: web.Request) -> web.Response:
        """Keep an uploaded file under its name, or under "name (1)" where another one has it."""
        form = await request.post()
        return web.json_response(self._keep(form, _upload(form)))

    async def upload_mask(self, request: web.Request) -> web.Response:
        """Keep a picture whose alpha is the uploaded one's: the mask that was painted on it."""
        from PIL import Image, UnidentifiedImageError

        form = await request.post()
        try:
            reference = json.loads(str(form.get("original_ref")))
            original = self.find(
                str(reference["filename"]), reference.get("type", "output"), str(reference.get("subfolder", ""))
            )
            with Image.open(original) as picture, Image.open(BytesIO(_upload(form))) as painted:
                combined = picture.convert("RGBA")
                combined.putalpha(painted.convert("RGBA").getchannel("A"))
            buffer = BytesIO()
            combined.save(buffer, "PNG", compress_level=4)
        except (ValueError, KeyError, TypeError, AttributeError, OSError, UnidentifiedImageError) as error:
            raise web.HTTPBadRequest(text=f"the mask cannot be kept: {error}") from None
        return web.json_response(self._keep(form, buffer.getvalue()))

    def _keep(self, form: Any, content: bytes) -> dict[str, str]:
        kind, subfolder = str(form.get("type") or "input"), str(form.get("subfolder") or "")
        name = (getattr(form.get("image"), "filename", "") or "").replace("\\", "/").rpartition("/")[2]
        path = self.find(name, kind, subfolder)
        if str(form.get("overwrite")) not in ("true", "1"):
            stem, ending, number = path.stem, path.suffix, 1
            while path.exists() and path.read_bytes() != content:
                path = path.with_name(f"{stem} ({number}){ending}")
                number += 1
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
        return {"name": path.name, "subfolder": subfolder, "type": kind}

    async def view_metadata(self, request: web.Request) -> web.Response:
        """The metadata in a safetensors file's header."""
        from ...weights.header import read_header

        name = request.query.get("filename", "")
        with contextlib.suppress(InputError, OSError):
            path = self.folders.get_full_path(request.match_info["folder"], name)
            if path is not None:
                return web.json_response(read_header(path)[1])
        raise web.HTTPNotFound

    async def model_folders(self, _: web.Request) -> web.Response:
        """Names of the model folders."""
        return web.json_response(list(self.folders.folder_names_and_paths))

    async def model_names(self, request: web.Request) -> web.Response:
        """Names of the files in a model folder."""
        return web.json_response(self._names(request.match_info["folder"]))

    async def model_folders_in_full(self, _: web.Request) -> web.Response:
        """The model folders with their directories and endings."""
        return web.json_response(
            [
                {"name": name, "folders": paths, "extensions": sorted(endings)}
                for name, (paths, endings) in self.folders.folder_names_and_paths.items()
            ]
        )

    async def model_files(self, request: web.Request) -> web.Response:
        """The files in a model folder with their sizes and times."""
        folder = request.match_info["folder"]
        roots = self.folders.get_folder_paths(folder) if self._names(folder) else []
        files = []
        for name in self._names(folder):
            index, path = next((i, p) for i, root in enumerate(roots) if (p := Path(root, name)).is_file())
            stat = path.stat()
            times = {"modified": stat.st_mtime, "created": stat.st_ctime}
            files.append({"name": name, "pathIndex": index, "size": stat.st_size, **times})
        return web.json_response(files)

    def _names(self, folder: str) -> list[str]:
        try:
            return self.folders.get_filename_list(folder)
        except InputError as error:
            raise web.HTTPNotFound(text=str(error)) from None

    async def embeddings(self, _: web.Request) -> web.Response:
        """Names of textual embeddings: this host has none."""
        return web.json_response([])


def _upload(form: Any) -> bytes:
    file = getattr(form.get("image"), "file", None)
    if file is None:
        raise web.HTTPBadRequest(text="no file was sent in the field image")
    return file.read()


def _picture(path: Path, channel: str, preview: str | None = None) -> web.Response:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            if channel == "a":
                alpha = picture.convert("RGBA").getchannel("A")
                rendered = Image.new("RGBA", picture.size)
                rendered.putalpha(alpha)
            else:
                rendered = picture.convert("RGB") if channel == "rgb" or preview else picture.copy()
    except (UnidentifiedImageError, OSError) as error:
        raise web.HTTPBadRequest(text=f"{path.name} is no picture: {error}") from None
    wanted = (preview or "").split(";")
    kind, options = "png", {}
    if preview is not None:
        kind = "jpeg" if wanted[0] == "jpeg" and channel != "a" else "webp"
        options = {"quality": min(int(wanted[-1]), 100) if wanted[-1].isdigit() else 90}
    buffer = BytesIO()
    rendered.save(buffer, kind, **options)
    headers = {"Content-Disposition": f'filename="{_quoted(path.name)}"'}
    return web.Response(body=buffer.getvalue(), content_type=f"image/{kind}", headers=headers)


def _quoted(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("\r", " ")
