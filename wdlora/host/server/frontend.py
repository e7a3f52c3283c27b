"""Routes of the page itself: the front end, the pack's extension and workflows, and what the page asks about."""

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

from ... import __version__
from ...errors import InputError
from .. import pack
from ..host import PACK_NAME, Host
from .answers import answer, threaded
from .sockets import FEATURES

EXTENSION = Path(__file__).parent / "static"
_LOCALE_FILES = ("nodeDefs", "commands", "settings")


def frontend_directory() -> Path:
    """Where the front end's package keeps the page. Raises InputError where it is not installed."""
    try:
        import comfyui_frontend_package
    except ImportError:
        raise InputError(
            "the front end is not installed: pip install comfyui-frontend-package (or use `run`, which needs no page)"
        ) from None
    return Path(comfyui_frontend_package.__file__).parent / "static"


class PageRoutes:
    """Handlers of the page and of what it asks when it starts."""

    def __init__(self, host: Host, page: Path):
        self.host, self.page = host, page
        self.web = pack.web_directory()
        self.workflows = pack.root() / "workflows"

    def routes(self) -> list[web.RouteDef]:
        """The routes, without the prefix /api."""
        return [
            web.get("/object_info", threaded(self.object_info)),
            web.get("/object_info/{node_class}", threaded(self.object_info_of)),
            web.get("/features", self.features),
            web.get("/system_stats", threaded(self.system_stats)),
            web.get("/extensions", threaded(self.extensions)),
            web.get("/workflow_templates", threaded(self.templates)),
            web.get("/i18n", threaded(self.translations)),
            web.get("/global_subgraphs", self.nothing),
            web.get("/node_replacements", self.nothing),
        ]

    def add_static(self, app: web.Application) -> None:
        """The page's own files; to be added last."""
        app.router.add_get("/", self.index)
        app.router.add_get("/templates/{path:.*}", self.no_templates)
        app.router.add_get("/internal/files/{kind}", threaded(self.files))
        app.router.add_get("/internal/folder_paths", self.folder_paths)
        app.router.add_static(f"/extensions/{PACK_NAME}", self.web)
        app.router.add_static("/extensions/embedded-host", EXTENSION)
        if self.workflows.is_dir():
            for prefix in ("/api/workflow_templates", "/workflow_templates"):
                app.router.add_static(f"{prefix}/{PACK_NAME}", self.workflows)
        app.router.add_static("/", self.page)

    async def index(self, _: web.Request) -> web.FileResponse:
        """The page."""
        return web.FileResponse(self.page / "index.html", headers={"Cache-Control": "no-store"})

    def object_info(self, _: web.Request) -> web.Response:
        """Every node."""
        return answer(self.host.object_info())

    def object_info_of(self, request: web.Request) -> web.Response:
        """One node, or {}."""
        name = request.match_info["node_class"]
        return answer({key: value for key, value in self.host.object_info().items() if key == name})

    async def features(self, _: web.Request) -> web.Response:
        """What this server can do."""
        return answer(FEATURES)

    def system_stats(self, _: web.Request) -> web.Response:
        """The machine, as far as the page shows it."""
        import torch

        total, free = memory()
        device = self.host.engine.device
        described: dict[str, Any] = {"name": str(device), "type": device.type, "index": device.index}
        if device.type == "cuda":
            free_vram, total_vram = torch.cuda.mem_get_info(device)
            described["name"] = torch.cuda.get_device_name(device)
        else:
            free_vram, total_vram = free, total
        described |= {"vram_total": total_vram, "vram_free": free_vram}
        described |= {"torch_vram_total": total_vram, "torch_vram_free": free_vram}
        system = {
            "os": sys.platform,
            "ram_total": total,
            "ram_free": free,
            "comfyui_version": f"embedded host of WDLoRA-CCM {__version__}",
            "required_frontend_version": None,
            "installed_templates_version": None,
            "required_templates_version": None,
            "python_version": platform.python_version(),
            "pytorch_version": torch.__version__,
            "embedded_python": False,
            "argv": [],
        }
        return answer({"system": system, "devices": [described]})

    def extensions(self, _: web.Request) -> web.Response:
        """Scripts that the page loads: the host's, the front end's own and the pack's."""
        own = sorted(self.page.glob("extensions/**/*.js"))
        ours = sorted(self.web.glob("**/*.js"))
        return answer(
            [f"/extensions/embedded-host/{path.name}" for path in sorted(EXTENSION.glob("*.js"))]
            + ["/" + path.relative_to(self.page).as_posix() for path in own]
            + [f"/extensions/{PACK_NAME}/{quote(path.relative_to(self.web).as_posix())}" for path in ours]
        )

    def templates(self, _: web.Request) -> web.Response:
        """Names of the shipped workflows."""
        names = sorted(path.stem for path in self.workflows.glob("*.json"))
        return answer({PACK_NAME: names} if names else {})

    def translations(self, _: web.Request) -> web.Response:
        """Texts of the pack in other languages, from its folder `locales`."""
        found: dict[str, Any] = {}
        for folder in sorted((pack.root() / "locales").glob("*/")):
            texts = _read(folder / "main.json")
            texts |= {name: part for name in _LOCALE_FILES if (part := _read(folder / f"{name}.json"))}
            if texts:
                found[folder.name] = texts
        return answer(found)

    async def nothing(self, _: web.Request) -> web.Response:
        """There are none of these."""
        return answer({})

    async def no_templates(self, request: web.Request) -> web.Response:
        """ComfyUI's own templates: none here, and the page asks for their index."""
        if not request.match_info["path"].endswith(".json"):
            raise web.HTTPNotFound
        return answer([])

    async def folder_paths(self, _: web.Request) -> web.Response:
        """Directories of each kind of model, so that the page can say where a missing one belongs."""
        known = self.host.folders.folder_names_and_paths
        return answer({name: paths for name, (paths, _) in known.items()})

    def files(self, request: web.Request) -> web.Response:
        """Names in the input, output or temp folder, newest first."""
        kind = request.match_info["kind"]
        try:
            folder = Path(self.host.folders.get_directory_by_type(kind))
        except InputError as error:
            return answer({"error": str(error)}, status=400)
        visible = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
        visible.sort(key=lambda path: -path.stat().st_mtime)
        return answer([f"{path.name} [{kind}]" for path in visible])


def memory() -> tuple[int, int]:
    """(total, free) memory of the machine in bytes; zeros where the system does not tell."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0, 0


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
