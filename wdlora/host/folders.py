"""ComfyUI's folders for the embedded host: input, output, temp, user and the model folders.

`Folders` is one set of directories. `functions()` gives the functions of ComfyUI's module `folder_paths`, which
act on the set that is active: the one of the run that is going on, or the last one that a host opened.
Every path that comes from a workflow or a request is resolved and must stay inside its folder.
"""

import mimetypes
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import below
from ..privacy.pseudonym import find_by_content

WEIGHTS = frozenset({".safetensors", ".sft"})
_LEGACY = {"unet": "diffusion_models", "clip": "text_encoders"}
_MODEL_FOLDERS = {
    "diffusion_models": ("diffusion_models", "unet"),
    "text_encoders": ("text_encoders", "clip"),
    "vae": ("vae",),
    "loras": ("loras",),
    "diffusers": ("diffusers",),
    "embeddings": ("embeddings",),
}


LONGEST_NAME = 240
"""Bytes of a file's or folder's name: file systems take 255, and a file that is being written has a longer one."""

DEEPEST_FOLDER = 20


def inside(root: str | os.PathLike, *parts: str) -> Path:
    """Join `parts` to `root`, links resolved.

    Raises InputError where the result lies outside `root`, a name is too long, or folders are nested too deep.
    """
    names = [name for part in parts for name in part.replace("\\", "/").split("/")]
    if len(names) > DEEPEST_FOLDER:
        raise InputError(f"a path of {len(names)} folders was given; give one of at most {DEEPEST_FOLDER}")
    longest = max((len(name.encode("utf-8", "replace")) for name in names), default=0)
    if longest > LONGEST_NAME:
        raise InputError(f"a name of {longest} bytes was given; give one of at most {LONGEST_NAME}")
    path = below(root, *parts)
    if path is None:
        raise InputError(f"the path {'/'.join(parts)!r} leaves its folder; give one inside it")
    return path


class Folders:
    """The directories of one host, made when they are missing.

    base: holds input, output, temp, user and models. models: directories with ComfyUI's model folders in them
    (diffusion_models, text_encoders, vae, loras), searched in order; default `base/models`.
    output: another place for results.
    """

    def __init__(
        self,
        base: str | os.PathLike,
        models: Iterable[str | os.PathLike] = (),
        output: str | os.PathLike | None = None,
    ):
        self.base = Path(base).resolve()
        self.input = self.base / "input"
        self.output = Path(output).resolve() if output is not None else self.base / "output"
        self.temp = self.base / "temp"
        self.user = self.base / "user"
        roots = [self.base / "models", *(Path(root).resolve() for root in models)]
        if missing := [str(root) for root in roots[1:] if not root.is_dir()]:
            raise InputError(f"there is no models folder {missing[0]}; check the path")
        self.models_dir = str(roots[0])
        for folder in (self.input, self.output, self.temp, self.user / "default" / "workflows", roots[0]):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"cannot make the folder {folder}: {error.strerror}") from error
        self.folder_names_and_paths: dict[str, tuple[list[str], set[str]]] = {
            kind: ([str(root / name) for root in roots for name in names], set(WEIGHTS))
            for kind, names in _MODEL_FOLDERS.items()
        }

    def clear_temp(self) -> None:
        """Remove the previews of earlier runs."""
        for path in self.temp.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def get_input_directory(self) -> str:
        """Where uploads and pictures to load lie."""
        return str(self.input)

    def get_output_directory(self) -> str:
        """Where results go."""
        return str(self.output)

    def get_directory_by_type(self, type_name: str | None) -> str:
        """The folder called "input", "output" or "temp". Raises InputError for another name."""
        folders = {"input": self.input, "output": self.output, "temp": self.temp}
        if type_name not in folders:
            raise InputError(f"there is no folder {type_name!r}; the folders are input, output and temp")
        return str(folders[type_name])

    def get_folder_paths(self, folder_name: str) -> list[str]:
        """The directories of a model folder such as "loras". Raises InputError for an unknown one."""
        kind = _LEGACY.get(folder_name, folder_name)
        if kind not in self.folder_names_and_paths:
            known = ", ".join(self.folder_names_and_paths)
            raise InputError(f"there is no model folder {folder_name!r}; the folders are {known}")
        return list(self.folder_names_and_paths[kind][0])

    def get_filename_list(self, folder_name: str) -> list[str]:
        """Names of the files in a model folder, relative to it, sorted."""
        paths = self.get_folder_paths(folder_name)
        endings = self.folder_names_and_paths[_LEGACY.get(folder_name, folder_name)][1]
        names: set[str] = set()
        for root in paths:
            for folder, subfolders, files in os.walk(root, followlinks=True):
                subfolders[:] = [name for name in subfolders if not name.startswith(".")]
                names.update(
                    os.path.relpath(os.path.join(folder, name), root)
                    for name in files
                    if os.path.splitext(name)[1].lower() in endings and not name.startswith(".")
                )
        return sorted(names)

    def get_full_path(self, folder_name: str, filename: str) -> str | None:
        """The file of that name in a model folder, or None. `..` does not climb out of it."""
        relative = os.path.relpath(os.path.join("/", filename.replace("\\", "/")), "/")
        for root in self.get_folder_paths(folder_name):
            path = os.path.join(root, relative)
            if os.path.isfile(path):
                return path
        return None

    def get_full_path_or_raise(self, folder_name: str, filename: str) -> str:
        """As `get_full_path`; raises FileNotFoundError, as ComfyUI does, and names the folder."""
        path = self.get_full_path(folder_name, filename)
        if path is None:
            first = self.get_folder_paths(folder_name)[0]
            raise FileNotFoundError(
                f"Model in folder '{folder_name}' with filename '{filename}' not found; put it into {first}"
            )
        return path

    def annotated_filepath(self, name: str) -> tuple[str, str | None]:
        """Split "mask.png [output]" into the name and its folder; without a note the folder is None."""
        for kind in ("output", "input", "temp"):
            if name.endswith(f"[{kind}]"):
                return name[: -len(kind) - 2].rstrip(), self.get_directory_by_type(kind)
        return name, None

    def get_annotated_filepath(self, name: str, default_dir: str | None = None) -> str:
        """The path of "mask.png" or "mask.png [output]", or by its pseudonym. Raises InputError outside the folder."""
        bare, folder = self.annotated_filepath(name)
        root = folder or default_dir or self.input
        path = inside(root, bare)
        found = None if path.exists() else find_by_content(str(root), bare)
        return str(path if found is None else found)

    def exists_annotated_filepath(self, name: str) -> bool:
        """Whether such a file exists inside its folder."""
        try:
            return os.path.isfile(self.get_annotated_filepath(name))
        except InputError:
            return False

    def filter_files_content_types(self, files: list[str], content_types: list[str]) -> list[str]:
        """Those of `files` whose name says that they are one of `content_types`, such as "image"."""
        kinds = {file: (mimetypes.guess_type(file)[0] or "").split("/")[0] for file in files}
        return [file for file in files if kinds[file] in content_types]

    def get_save_image_path(
        self, filename_prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0
    ) -> tuple[str, str, int, str, str]:
        """Where the next numbered picture goes.

        Returns (folder, stem, first free number, subfolder, prefix with %width%, %year%, … filled in).
        Raises InputError where the prefix leaves `output_dir`, or makes a name or path that is too long.
        """
        now = time.localtime()
        values = {
            "width": str(image_width),
            "height": str(image_height),
            "year": f"{now.tm_year}",
            "month": f"{now.tm_mon:02}",
            "day": f"{now.tm_mday:02}",
            "hour": f"{now.tm_hour:02}",
            "minute": f"{now.tm_min:02}",
            "second": f"{now.tm_sec:02}",
        }
        for key, value in values.items():
            filename_prefix = filename_prefix.replace(f"%{key}%", value)
        subfolder, stem = os.path.split(os.path.normpath(filename_prefix.replace("\\", "/")))
        folder = inside(output_dir, subfolder)
        inside(folder, f"{stem}_00001_.png")
        folder.mkdir(parents=True, exist_ok=True)
        taken = [
            int(digits)
            for name in os.listdir(folder)
            if name.startswith(f"{stem}_")
            and (digits := name[len(stem) + 1 :].split(".")[0].split("_")[0])
            and digits.isdecimal()
        ]
        return str(folder), stem, max(taken, default=0) + 1, subfolder, filename_prefix


_running: ContextVar[Folders | None] = ContextVar("folders", default=None)
_opened: list[Folders] = []


def active() -> Folders:
    """The folders of the run that is going on, or the last ones that a host opened."""
    folders = _running.get() or (_opened[-1] if _opened else None)
    if folders is None:
        raise InputError("no embedded host is open, so there are no folders yet")
    return folders


def open_folders(folders: Folders) -> None:
    """Make `folders` the ones that `folder_paths` acts on outside a run."""
    _opened[:] = [folders]


@contextmanager
def using(folders: Folders) -> Iterator[None]:
    """Make `folders` the ones that `folder_paths` acts on in this thread or task."""
    token = _running.set(folders)
    try:
        yield
    finally:
        _running.reset(token)


def functions() -> dict[str, Any]:
    """ComfyUI's module `folder_paths` as a dictionary: functions that act on the active folders."""

    def forward(name: str) -> Callable[..., Any]:
        method = getattr(Folders, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return getattr(active(), name)(*args, **kwargs)

        call.__name__, call.__doc__ = name, method.__doc__
        return call

    def module_getattr(name: str) -> Any:
        if name in ("folder_names_and_paths", "models_dir"):
            return getattr(active(), name)
        raise AttributeError(f"the embedded host does not offer folder_paths.{name}")

    methods = [name for name in vars(Folders) if not name.startswith("_")]
    return {
        **{name: forward(name) for name in methods},
        "supported_pt_extensions": set(WEIGHTS),
        "__getattr__": module_getattr,
    }
