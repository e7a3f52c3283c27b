"""Data sets as others lay them out: which files are images, and which annotation belongs to each.

qilu    images/*, annotations/* of the same names; the first character of a name is its set
        (Qilu CCM, Sci Data 2026; Zenodo 18779434); a table of patients beside them makes them `own`
padova  {training,test}/images/*, label2/STEM_centerline_overlay.* or label/STEM_nerve_ann.*
        (as read by padova1.py and padova2.py of github.com/iMED-Lab/CS-Net)
corn    [SPLIT/]LevelN/* or LevelN/images/*, with masks, where there are any, in a folder of LevelN
        (CORN's tortuosity levels; handed out on request, so this layout is assumed)
own     images/* (or images beside the table), masks/* of the same names, a table of patients (see `roster`);
        or images anywhere with masks told by their names (see `naming`)
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from ..clinic.roster import tells_patients
from ..csv_table import one_form
from ..errors import InputError
from .folder import IMAGE_SUFFIXES
from .mask_arrays import is_array, read_mask_array
from .naming import MaskNames, pairs

LAYOUTS = ("qilu", "padova", "corn", "own")
SPLITS = ("training", "train", "test", "validation", "val")
MASK_FOLDERS = ("masks", "mask", "annotations", "labels", "label", "groundtruth", "gt")
OVERLAYS = (("label2", "_centerline_overlay", True), ("label", "_nerve_ann", False))
"""Padova's annotations: folder, what follows the image's stem, and whether lines are drawn without their width."""

COLOURED = 40
"""Difference of an overlay's channels from which a pixel is a coloured line: JPEG colours grey by less."""

CHANGED = 24
"""Grey levels by which a line that is drawn in grey over its image differs from it."""


@dataclass(frozen=True)
class Source:
    """One image of a data set as it was found.

    `annotation` is None where there is none. `centreline`: it shows where nerves run, not how wide they are.
    `split` is the folder's (training, test, …); `group` the set or tortuosity level, empty where the layout has none.
    """

    image: Path
    annotation: Path | None
    centreline: bool = False
    split: str = ""
    group: str = ""


@dataclass(frozen=True)
class Layout:
    """A recognised data set: its layout's name, its images sorted by path, and the table beside them, if any.

    `left` has a sentence on each file that is no image and no mask of one, where the layout looks for such.
    """

    name: str
    sources: tuple[Source, ...]
    table: Path | None = None
    left: tuple[str, ...] = ()


def read_layout(folder: str | PathLike, name: str | None = None) -> Layout:
    """List the images of a data set; `name` is one of `LAYOUTS`, None recognises it by its folders.

    A folder `Dataset`, or the only folder in it, is looked into as well. Where a table tells patients, `own`, the
    only layout that reads it, goes before the others: a split must not part a patient's images. Raises InputError for
    an unknown name, folders of no known layout, and a data set without images.
    """
    place = Path(folder)
    if name is not None and name not in LAYOUTS:
        raise InputError(f"there is no layout {name!r}; choose one of {', '.join(LAYOUTS)}")
    if not place.is_dir():
        raise InputError(f"there is no folder {place}: check the path")
    inside = [entry for entry in _entries(place) if entry.is_dir()]
    roots = [place, *(entry for entry in inside if entry.name == "Dataset" or len(inside) == 1)]
    for root in roots:
        order = ("own", *LAYOUTS) if _patient_tables(root, place) else LAYOUTS
        for known in (name,) if name else order:
            if _RECOGNISE[known](root):
                layout = Layout(known, tuple(_LIST[known](root)), _table(root, place) if known == "own" else None)
                if not layout.sources:
                    raise InputError(f"{root} has no images: BMP, TIFF, PNG, JPEG or DICOM are looked for")
                return layout
    if name:
        raise InputError(f"{place} is not laid out as {name!r}: {_NEEDS[name]} was not found")
    raise InputError(
        f"{place} has no known layout; give a folder with {'; or '.join(f'{_NEEDS[k]} ({k})' for k in LAYOUTS)}; or "
        "say how its masks are named (--mask-suffix, --mask-prefix, --mask-folder)"
    )


def named_layout(folder: str | PathLike, names: MaskNames) -> Layout:
    """The images anywhere below a folder, with masks told by their names. Raises InputError where there are none."""
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"there is no folder {place}: check the path")
    found, left = pairs(place, names)
    if not found:
        raise InputError(f"{place} has no images: BMP, TIFF, PNG, JPEG or DICOM are looked for")
    return Layout("own", tuple(Source(image, mask) for image, mask in found), _table(place, place), tuple(left))


def require_annotations(sources: Sequence[Source], what_to_do: str = "add them") -> None:
    """Raise InputError that counts and names images without annotation."""
    alone = [source.image.name for source in sources if source.annotation is None]
    if alone:
        named = ", ".join(alone[:5]) + (" …" if len(alone) > 5 else "")
        raise InputError(f"{len(alone)} of {len(sources)} images have no annotation ({named}): {what_to_do}")


def read_annotation(source: Source, image: np.ndarray) -> np.ndarray:
    """bool [H, W] of an annotation: a mask, or lines drawn in colour or in grey over a copy of the image.

    `image` [H, W] are the pixels of the image itself; where an information bar was cut off it, the same rows of the
    annotation go. Raises InputError where the two are of different sizes or no lines can be told from the image.
    """
    from ..clinic.images import binary_mask, read_image

    if source.annotation is None:
        raise InputError(f"{source.image.name} has no annotation")
    name = source.annotation.name
    array = is_array(source.annotation)
    colours = None if array else _colours(source.annotation)
    if array:
        grey = read_mask_array(source.annotation)
    else:
        grey = read_image(source.annotation).pixels if colours is None else colours
    if grey.shape[0] > image.shape[0] and grey.shape[1] == image.shape[1]:
        grey = _same_rows(grey, image, read_image(source.image).cropped or "")
    if grey.shape[:2] != image.shape:
        raise InputError(
            f"the annotation {name} is not of its image's size: "
            f"{grey.shape[1]} × {grey.shape[0]} and {image.shape[1]} × {image.shape[0]} pixels"
        )
    if colours is not None:
        return _coloured_lines(grey, name)
    if not array and (same := _drawn_over(grey, image)) is not None:
        return ~same
    try:
        return binary_mask(grey)
    except InputError as error:
        raise InputError(f"{name} is neither a mask nor lines drawn over its image: give masks of 0 and 255") from error


def _coloured_lines(pixels: np.ndarray, name: str) -> np.ndarray:
    """bool [H, W] of the coloured pixels, or, of a picture of two colours, of the brighter one."""
    from ..clinic.images import binary_mask

    if len(np.unique(pixels.reshape(-1, 3), axis=0)) == 2:
        return binary_mask(pixels.sum(2) - pixels.sum(2).min())
    lines = np.ptp(pixels.astype(int), axis=2) > COLOURED
    if lines.mean() > 0.3:
        raise InputError(f"{name} is coloured all over: lines cannot be told from the image")
    return lines


def _drawn_over(pixels: np.ndarray, image: np.ndarray) -> np.ndarray | None:
    """bool [H, W], where an annotation shows the image itself; None where it is a picture of its own."""
    from ..clinic.images import as_uint8

    ours, its = as_uint8(pixels).astype(int), as_uint8(image).astype(int)
    same = np.abs(ours - its) <= CHANGED
    if same.mean() < 0.7 or ours[same].std() == 0 or its[same].std() == 0:
        return None
    return same if np.corrcoef(ours[same], its[same])[0, 1] > 0.9 else None


def _colours(path: Path) -> np.ndarray | None:
    """uint8 [H, W, 3] of a picture that has coloured pixels; None for a grey one or no picture."""
    from PIL import Image

    from ..clinic.pictures import DAMAGED, MAX_PIXELS, turn_left, turned_array

    try:
        with Image.open(path, formats=("PNG", "TIFF", "BMP", "JPEG")) as picture:
            if picture.mode not in ("RGB", "RGBA", "P", "CMYK", "YCbCr") or picture.width * picture.height > MAX_PIXELS:
                return None
            turn = turn_left(picture)
            pixels = turned_array(np.asarray(picture.convert("RGB")), turn)
    except (*DAMAGED, Image.DecompressionBombError):
        return None  # DICOM and damaged files: read_image has words for them
    return pixels if (np.ptp(pixels.astype(int), axis=2) > COLOURED).any() else None


def _same_rows(pixels: np.ndarray, image: np.ndarray, cropped: str) -> np.ndarray:
    rows = image.shape[0]
    if "top" in cropped:
        return pixels[-rows:]
    return pixels[:rows] if cropped else pixels


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, sorted, without hidden files and what macOS leaves in archives."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [entry for entry in found if not entry.name.startswith((".", "__MACOSX"))]


def _pictures(folder: Path) -> list[Path]:
    """The pictures in a folder and in the folders in it."""
    found: list[Path] = []
    for entry in _entries(folder):
        if entry.is_dir():
            found += _pictures(entry)
        elif entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file():
            found.append(entry)
    return found


def _pictures_beside(root: Path) -> list[Path]:
    """The pictures that lie beside other things. Raises InputError for a folder of more pictures that are no masks."""
    found = [file for file in _pictures(root) if file.parent == root]
    others = [entry for entry in _entries(root) if entry.is_dir() and entry.name.lower() not in MASK_FOLDERS]
    if found and (left := [entry.name for entry in others if _pictures(entry)]):
        raise InputError(
            f"{root} holds pictures, and more in the folder {', '.join(left[:5])}, which would be left out: put all "
            "images into a folder images, in which there may be folders"
        )
    return found


def _folders(root: Path, pattern: str) -> list[Path]:
    return [entry for entry in _entries(root) if entry.is_dir() and re.fullmatch(pattern, entry.name, re.IGNORECASE)]


def _partners(images: list[Path], home: Path, folder: Path | None, suffix: str = "") -> list[Path | None]:
    """For every image of the folder `home` the picture in `folder` of the same stem; None where there is none.

    It lies in the folder of the same name, or, where no other image and no other picture has that stem, in any.
    Raises InputError for two images, and for two annotations of an image, of one name.
    """
    there: dict[tuple[str, str], Path] = {}
    anywhere: dict[str, list[Path]] = {}
    for file in _pictures(folder) if folder else []:
        stem = one_form(file.stem)
        key = _subfolder(file, folder or home), stem
        if key in there and stem.endswith(suffix):
            raise _twins(there[key], file, "annotations")
        there[key] = file
        anywhere.setdefault(stem, []).append(file)
    seen: dict[tuple[str, str], Path] = {}
    for image in images:
        key = _subfolder(image, home), one_form(image.stem)
        if key in seen:
            raise _twins(seen[key], image, "images")
        seen[key] = image
    stems = [stem for _, stem in seen]
    found: list[Path | None] = []
    for where, stem in seen:
        alone = anywhere.get(stem + suffix, []) if stems.count(stem) == 1 else []
        found.append(there.get((where, stem + suffix)) or (alone[0] if len(alone) == 1 else None))
    return found


def _subfolder(file: Path, home: Path) -> str:
    return one_form(file.parent.relative_to(home).as_posix())


def _twins(one: Path, other: Path, what: str) -> InputError:
    return InputError(f"{one.parent} holds {one.name} and {other.name}, two {what} of one name: remove or rename one")


def _mask_folder(root: Path) -> Path | None:
    there = {entry.name.lower(): entry for entry in _entries(root) if entry.is_dir()}
    return next((there[name] for name in MASK_FOLDERS if name in there), None)


def _is_qilu(root: Path) -> bool:
    return (root / "images").is_dir() and (root / "annotations").is_dir()


def _qilu(root: Path) -> list[Source]:
    images = _pictures(root / "images")
    partners = _partners(images, root / "images", root / "annotations")
    return [Source(a, b, group=a.name[0]) for a, b in zip(images, partners, strict=True)]


def _splits(root: Path) -> list[Path]:
    return _folders(root, "|".join(SPLITS))


def _is_padova(root: Path) -> bool:
    return any(
        (split / "images").is_dir() and any((split / label).is_dir() for label, _, _ in OVERLAYS)
        for split in _splits(root)
    )


def _padova(root: Path) -> list[Source]:
    sources = []
    for split in _splits(root):
        images = _pictures(split / "images")
        found: list[tuple[Path | None, bool]] = [(None, False)] * len(images)
        for label, suffix, centreline in reversed(OVERLAYS):
            partners = _partners(images, split / "images", split / label, suffix)
            found = [(new, centreline) if new else old for new, old in zip(partners, found, strict=True)]
        sources += [Source(a, b, line, split.name) for a, (b, line) in zip(images, found, strict=True)]
    return sources


def _levels(root: Path) -> list[Path]:
    return _folders(root, r"level[ _-]?[0-9]+")


def _is_corn(root: Path) -> bool:
    return bool(_levels(root)) or any(_levels(split) for split in _splits(root))


def _corn(root: Path) -> list[Source]:
    sources = []
    for split in (root, *_splits(root)):
        for level in _levels(split):
            images, home = _pictures(level / "images"), level / "images"
            if not images:
                images, home = _pictures_beside(level), level
            number = "".join(re.findall("[0-9]", level.name)).lstrip("0") or "0"
            sources += [
                Source(a, b, split="" if split == root else split.name, group=f"Level{number}")
                for a, b in zip(images, _partners(images, home, _mask_folder(level)), strict=True)
            ]
    return sources


def _tables(root: Path) -> list[Path]:
    return [file for file in _entries(root) if file.suffix.lower() == ".csv"]


def _patient_tables(root: Path, place: Path) -> list[Path]:
    """The tables with a column of patients beside the images; where there are none, those of the outer folder."""
    inner, outer = ([file for file in _tables(folder) if tells_patients(file)] for folder in (root, place))
    return inner or outer


def _table(root: Path, place: Path) -> Path | None:
    tables = _patient_tables(root, place) or _tables(root) or _tables(place)
    return tables[0] if len(tables) == 1 else None


def _is_own(root: Path) -> bool:
    return (root / "images").is_dir() or (
        any(file.parent == root for file in _pictures(root)) and (bool(_tables(root)) or bool(_mask_folder(root)))
    )


def _own(root: Path) -> list[Source]:
    home = root / "images" if (root / "images").is_dir() else root
    images = _pictures_beside(root) if home == root else _pictures(home)
    return [Source(a, b) for a, b in zip(images, _partners(images, home, _mask_folder(root)), strict=True)]


_RECOGNISE = {"qilu": _is_qilu, "padova": _is_padova, "corn": _is_corn, "own": _is_own}
_LIST = {"qilu": _qilu, "padova": _padova, "corn": _corn, "own": _own}
_NEEDS = {
    "qilu": "images/ and annotations/",
    "padova": "training/images/ and training/label2/",
    "corn": "train/Level1/",
    "own": "images/ and masks/, or images and a CSV table",
}
