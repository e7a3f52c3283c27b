"""`comfy_api.latest.ui` of the embedded host: what a node shows under itself, and images written to folders."""

import itertools
import json
import secrets
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from ...errors import InputError
from .inputs import FolderType
from .schema import ComfyNode


class SavedResult(dict):
    """A file in one of ComfyUI's folders, as the front end asks for it."""

    def __init__(self, filename: str, subfolder: str, type: FolderType):
        super().__init__(filename=filename, subfolder=subfolder, type=FolderType(type).value)


class PreviewImage:
    """Pictures [B, H, W, 3] shown under the node, kept in the folder for temporary files."""

    def __init__(self, image: Any, animated: bool = False, cls: type[ComfyNode] | None = None, **_: Any):
        hidden = None if cls is None else cls.hidden
        self.values = save_png(
            image,
            f"ComfyUI_temp_{secrets.token_hex(3)}",
            FolderType.temp,
            prompt=hidden.prompt if hidden else None,
            extra_pnginfo=hidden.extra_pnginfo if hidden else None,
            compress_level=1,
        )
        self.animated = animated

    def as_dict(self) -> dict[str, Any]:
        """As the front end reads it."""
        return {"images": self.values, "animated": (self.animated,)}


def save_png(
    images: Any,
    filename_prefix: str,
    folder_type: FolderType,
    *,
    prompt: Any = None,
    extra_pnginfo: dict[str, Any] | None = None,
    compress_level: int = 4,
) -> list[SavedResult]:
    """Write a batch [B, H, W, C] of values 0–1 as numbered PNG files with the graph in their text chunks.

    Names of input files are pseudonyms in it, which the loaders of this host find again by the files' content, and in
    the names of the files that are written.
    Values are scaled by 255 and truncated, as ComfyUI does, so that both hosts write the same bytes of pixels.
    Files appear whole or not at all. Raises InputError where the prefix leaves the folder.
    """
    import numpy as np
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from ...privacy.names import Names
    from ...privacy.pseudonym import Pseudonyms
    from ...privacy.tree import finder
    from ..folders import active

    folders = active()
    names = Names(Pseudonyms(finder((folders.input, folders.output, folders.temp))))
    texts = ({} if prompt is None else {"prompt": prompt}) | (extra_pnginfo or {})
    names.collect(texts)
    text = PngInfo()
    for key, value in texts.items():
        try:
            text.add_text(names.hide_text(key), json.dumps(names.hide(value)))
        except UnicodeEncodeError:
            raise InputError(f"a PNG cannot hold a text called {key!r}: name it in plain letters") from None
    folder, stem, counter, subfolder, _ = folders.get_save_image_path(
        names.hide_text(filename_prefix),
        folders.get_directory_by_type(FolderType(folder_type).value),
        images[0].shape[1],
        images[0].shape[0],
    )
    results = []
    for index, image in enumerate(images):
        pixels = np.clip(255.0 * image.cpu().float().numpy(), 0, 255).astype(np.uint8)
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        content = BytesIO()
        picture.save(content, "PNG", pnginfo=text, compress_level=compress_level)
        start = stem.replace("%batch_num%", str(index))
        path = _write_numbered(Path(folder), start, counter + index, content.getvalue())
        results.append(SavedResult(path.name, subfolder, folder_type))
    return results


def _write_numbered(folder: Path, stem: str, number: int, content: bytes) -> Path:
    """Write a new file under the first free number from `number` on; another process may be taking numbers too."""
    from ...files import new_file

    for free in itertools.count(number):
        path = folder / f"{stem}_{free:05}_.png"
        with suppress(FileExistsError):
            with new_file(path) as temporary:
                temporary.write_bytes(content)
            break
    return path


def __getattr__(name: str) -> Any:
    raise AttributeError(f"the embedded host does not offer comfy_api.latest.ui.{name}")
