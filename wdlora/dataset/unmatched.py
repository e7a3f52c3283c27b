"""Masks that belong to no image: with them, the tracer would draw what an expert has drawn already."""

from os import PathLike
from pathlib import Path

from ..errors import InputError
from ..temporaries import visible
from .folder import IMAGE_SUFFIXES
from .layouts import MASK_FOLDERS, OVERLAYS, Layout

_FOLDERS = {*MASK_FOLDERS, *(folder for folder, _, _ in OVERLAYS)}


def refuse_unmatched(folder: str | PathLike, layout: Layout) -> None:
    """Raise InputError where images have no mask and folders of masks hold pictures that belong to no image."""
    alone = [source.image.name for source in layout.sources if source.annotation is None]
    left = unmatched(Path(folder), layout)
    if alone and left:
        raise InputError(
            f"{len(left)} masks belong to no image, first {left[0].name}, and {len(alone)} images have no mask, first "
            f"{alone[0]}: --trace would draw them again; name masks like their images, or say how they "
            "are named (--mask-suffix), or take those away that are not wanted"
        )


def unmatched(folder: Path, layout: Layout) -> list[Path]:
    """The pictures in folders of masks that are neither an image's mask nor a second one of an image that has one."""
    used = {path for source in layout.sources for path in (source.image, source.annotation)}
    endings = ("", *(suffix for _, suffix, _ in OVERLAYS))
    seconds = {source.image.stem + ending for source in layout.sources if source.annotation for ending in endings}
    return [
        path
        for path in visible(folder, "**/*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and path not in used
        and path.stem not in seconds
        and any(part.lower() in _FOLDERS for part in path.relative_to(folder).parts[:-1])
        and path.is_file()
    ]
