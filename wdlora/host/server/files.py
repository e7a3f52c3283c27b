"""Routes of files: /view, /upload/image, /upload/mask, /models. Every path stays in its folder."""

import asyncio
import contextlib
import itertools
import mimetypes
import os
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

from aiohttp import web

from ...errors import InputError
from ...files import atomic_write, new_file
from ..folders import Folders, inside
from ..pictures import opened
from .answers import answer, parse, read_form, threaded
from .security import is_active
from .sending import sent

LARGEST_SIDE = 4096
"""Pixels a side of what `/view` shows as a small version."""


class FileRoutes:
    """Handlers that read pictures and take uploads."""

    def __init__(self, folders: Folders):
        self.folders = folders
        self._decoding = threading.BoundedSemaphore(2)
        """Pictures that are in memory at once."""

    def routes(self) -> list[web.RouteDef]:
        """The routes, without the prefix /api."""
        return [
            web.get("/view", threaded(self.view)),
            web.post("/upload/image", self.upload_image),
            web.post("/upload/mask", self.upload_mask),
            web.get("/view_metadata/{folder}", threaded(self.view_metadata)),
            web.get("/models", self.model_folders),
            web.get("/models/{folder}", threaded(self.model_names)),
            web.get("/experiment/models", self.model_folders_in_full),
            web.get("/experiment/models/{folder}", threaded(self.model_files)),
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

    def view(self, request: web.Request) -> web.StreamResponse:
        """A file of the input, output or temp folder, or one channel or a small version of a picture."""
        query = request.query
        path = self.find(query.get("filename", ""), query.get("type", "output"), query.get("subfolder", ""))
        if not path.is_file():
            raise web.HTTPNotFound(text=f"there is no file {path.name}")
        channel = query.get("channel", "")
        if "preview" in query or channel in ("rgb", "a"):
            with self._decoding:
                return _picture(path, query.get("preview"), channel)
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        active = is_active(kind)
        headers = {
            "X-Content-Type-Options": "nosniff",
            "Content-Type": "application/octet-stream" if active else kind,
            "Content-Disposition": ("attachment; " if active else "") + f'filename="{_quoted(path.name)}"',
        }
        return sent(request, path, headers)

    async def upload_image(self, request: web.Request) -> web.Response:
        """Keep an uploaded file under its name, or under "name (1)" where another one has it."""
        form = await read_form(request)
        return answer(await asyncio.to_thread(lambda: self._keep(form, _upload(form))))

    async def upload_mask(self, request: web.Request) -> web.Response:
        """Keep a picture whose alpha is the uploaded one's: the mask that was painted on it."""
        form = await read_form(request)
        return answer(await asyncio.to_thread(self._keep_mask, form))

    def _keep_mask(self, form: Any) -> dict[str, str]:
        from PIL import ImageOps

        reference = parse(str(form.get("original_ref")))
        if not isinstance(reference, dict):
            raise InputError("the mask cannot be kept: original_ref is not an object with a filename")
        name, kind, subfolder = (str(reference.get(key) or "") for key in ("filename", "type", "subfolder"))
        original = self.find(name, kind or "output", subfolder)
        with (
            self._decoding,
            opened(original, original.name) as picture,
            opened(BytesIO(_upload(form)), "the painted mask") as painted,
        ):
            shown = ImageOps.exif_transpose(picture)
            if shown.size != painted.size:
                raise InputError(
                    f"the painted mask is {painted.width} × {painted.height} pixels, but {original.name} is "
                    f"{shown.width} × {shown.height}: paint it on that picture"
                )
            combined = shown.convert("RGBA")
            combined.putalpha(painted.convert("RGBA").getchannel("A"))
            buffer = BytesIO()
            combined.save(buffer, "PNG", compress_level=4)
        return self._keep(form, buffer.getvalue())

    def _keep(self, form: Any, content: bytes) -> dict[str, str]:
        kind, subfolder = str(form.get("type") or "input"), str(form.get("subfolder") or "")
        name = (getattr(form.get("image"), "filename", "") or "").replace("\\", "/").rpartition("/")[2]
        path = self.find(name, kind, subfolder)
        if path.is_dir():
            raise InputError("there is a folder of that name, or no name at all; give the file a name")
        if str(form.get("overwrite")) in ("true", "1"):
            with atomic_write(path) as temporary:
                temporary.write_bytes(content)
        else:
            path = _kept_under_a_free_name(path, content)
        return {"name": path.name, "subfolder": subfolder, "type": kind}

    def view_metadata(self, request: web.Request) -> web.Response:
        """The metadata in a safetensors file's header."""
        from ...weights.header import read_header

        name = request.query.get("filename", "")
        with contextlib.suppress(InputError, OSError):
            path = self.folders.get_full_path(request.match_info["folder"], name)
            if path is not None:
                return answer(read_header(path)[1])
        raise web.HTTPNotFound

    async def model_folders(self, _: web.Request) -> web.Response:
        """Names of the model folders."""
        return answer(list(self.folders.folder_names_and_paths))

    def model_names(self, request: web.Request) -> web.Response:
        """Names of the files in a model folder."""
        return answer(self._names(request.match_info["folder"]))

    async def model_folders_in_full(self, _: web.Request) -> web.Response:
        """The model folders with their directories and endings."""
        return answer(
            [
                {"name": name, "folders": paths, "extensions": sorted(endings)}
                for name, (paths, endings) in self.folders.folder_names_and_paths.items()
            ]
        )

    def model_files(self, request: web.Request) -> web.Response:
        """The files in a model folder with their sizes and times."""
        folder = request.match_info["folder"]
        roots = self.folders.get_folder_paths(folder) if self._names(folder) else []
        files = []
        for name in self._names(folder):
            index, path = next((i, p) for i, root in enumerate(roots) if (p := Path(root, name)).is_file())
            stat = path.stat()
            times = {"modified": stat.st_mtime, "created": stat.st_ctime}
            files.append({"name": name, "pathIndex": index, "size": stat.st_size, **times})
        return answer(files)

    def _names(self, folder: str) -> list[str]:
        try:
            return self.folders.get_filename_list(folder)
        except InputError as error:
            raise web.HTTPNotFound(text=str(error)) from None

    async def embeddings(self, _: web.Request) -> web.Response:
        """Names of textual embeddings: this host has none."""
        return answer([])


def _upload(form: Any) -> bytes:
    file = getattr(form.get("image"), "file", None)
    if file is None:
        raise web.HTTPBadRequest(text="no file was sent in the field image")
    return file.read()


def _kept_under_a_free_name(path: Path, content: bytes) -> Path:
    """Write a new file, as "name (1)", "name (2)" … where others have the name; one with the same bytes is it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stem, ending = path.stem, path.suffix
    for number in itertools.count(1):
        if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
            break
        try:
            with new_file(path) as temporary:
                temporary.write_bytes(content)
            break
        except FileExistsError:
            path = path.with_name(f"{stem} ({number}){ending}")
    return path


def _picture(path: Path, preview: str | None, channel: str) -> web.Response:
    """One channel ("rgb" or "a") or a small version ("webp;90") of a picture."""
    from PIL import Image, ImageOps

    with opened(path, path.name) as file:
        picture = ImageOps.exif_transpose(file)
        if channel == "a":
            rendered = Image.new("RGBA", picture.size)
            rendered.putalpha(picture.convert("RGBA").getchannel("A"))
        else:
            rendered = picture.convert("RGB") if channel == "rgb" or preview else picture.copy()
    wanted = (preview or "").split(";")
    kind, options = "png", {}
    if preview is not None:
        kind = "jpeg" if wanted[0] == "jpeg" and channel != "a" else "webp"
        options = {"quality": min(int(wanted[-1]), 100) if wanted[-1].isdecimal() else 90}
        rendered.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    buffer = BytesIO()
    rendered.save(buffer, kind, **options)
    headers = {"Content-Disposition": f'filename="{_quoted(path.name)}"'}
    return web.Response(body=buffer.getvalue(), content_type=f"image/{kind}", headers=headers)


def _quoted(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("\r", " ")
