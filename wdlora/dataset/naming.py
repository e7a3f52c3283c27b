"""Images and masks anywhere below a folder, told apart by names: `OD_01.bmp` and `OD_01_nervemask.tif`."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..csv_table import one_form
from ..errors import InputError
from .folder import IMAGE_SUFFIXES

MASK_SUFFIXES = (*IMAGE_SUFFIXES, ".npy", ".nii", ".nii.gz")
TABLES = (".csv", ".tsv", ".toml")


@dataclass(frozen=True)
class MaskNames:
    """How masks are called: the name of their image between `prefix` and `suffix`, in `folder` or anywhere.

    `folder` is a path below the data set. At least one of the three is given.
    """

    prefix: str = ""
    suffix: str = ""
    folder: str = ""

    def described(self) -> str:
        """As a part of a sentence: "a picture whose name has '_mask' after that of its image"."""
        parts = [f"begins with {self.prefix!r}"] if self.prefix else []
        parts += [f"ends with {self.suffix!r}"] if self.suffix else []
        named = f" whose name {' and '.join(parts)}" if parts else ""
        return f"a picture{named}" + (f" in its folder {self.folder!r}" if self.folder else "")

    def image_of(self, file: Path) -> str | None:
        """The stem of the image that a file is a mask of; None where its name is none of a mask."""
        name, prefix, suffix = stem(file), one_form(self.prefix), one_form(self.suffix)
        bare = name.removeprefix(prefix).removesuffix(suffix)
        return bare if len(bare) == len(name) - len(prefix) - len(suffix) and bare else None


def stem(file: Path) -> str:
    """The name without its ending, `.nii.gz` as a whole, in `one_form`."""
    lower = file.name.lower()
    return one_form(file.name[: -len(".nii.gz")] if lower.endswith(".nii.gz") else file.stem)


def is_mask_file(file: Path) -> bool:
    """Whether a file's ending is one that masks are read from."""
    return file.name.lower().endswith(MASK_SUFFIXES)


def pairs(root: Path, names: MaskNames) -> tuple[list[tuple[Path, Path | None]], list[str]]:
    """Every image with its mask, or None, sorted by path; and a sentence on each file that is neither.

    A mask belongs to the image of its name in its own folder, else to the only one below `root`. Raises InputError
    for a mask folder that is not there or not below `root`, where no file is called like a mask, and for an image or a
    mask that has two partners.
    """
    inside = root / names.folder if names.folder else root
    if names.folder and ("\0" in names.folder or not inside.is_dir() or root.resolve() not in inside.resolve().parents):
        raise InputError(f"there is no folder {names.folder!r} below {root}: --mask-folder names one of the data set")
    images: list[Path] = []
    masks: dict[str, list[Path]] = {}
    left: list[str] = []
    for file in all_files(root):
        key = names.image_of(file) if not names.folder or inside in file.parents else None
        if key is not None and is_mask_file(file):
            masks.setdefault(key, []).append(file)
        elif file.suffix.lower() in IMAGE_SUFFIXES and (not names.folder or inside not in file.parents):
            images.append(file)
        elif file.suffix.lower() not in TABLES:
            left.append(f"{file.relative_to(root)}: neither an image nor a mask by its name")
    if images and not masks:
        raise InputError(f"{root} holds no mask, {names.described()}: correct it, or leave it out and give --trace")
    found = [(image, _partner(image, masks.get(stem(image), []))) for image in images]
    taken = [mask for _, mask in found if mask is not None]
    if double := sorted({mask for mask in taken if taken.count(mask) > 1}):
        both = ", ".join(str(image.relative_to(root)) for image, mask in found if mask == double[0])
        raise InputError(f"{double[0].relative_to(root)} would be the mask of {both}: rename all but one")
    alone = {mask for group in masks.values() for mask in group} - set(taken)
    left += [f"{mask.relative_to(root)}: a mask without an image of its name" for mask in sorted(alone)]
    return found, left


def _partner(image: Path, masks: list[Path]) -> Path | None:
    beside = [mask for mask in masks if mask.parent == image.parent]
    chosen = beside or masks
    if len(chosen) > 1:
        raise InputError(f"{image.name} has {len(chosen)} masks, {chosen[0].name} and {chosen[1].name}: remove one")
    return chosen[0] if chosen else None


def all_files(root: Path) -> Iterable[Path]:
    """All files below a folder, sorted, without hidden ones and what macOS leaves in archives."""
    for file in sorted(root.rglob("*")):
        hidden = any(part.startswith((".", "__MACOSX")) for part in file.relative_to(root).parts)
        if file.is_file() and not hidden and file.name != "Thumbs.db":
            yield file
