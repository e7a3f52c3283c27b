"""Masks that were corrected after an image had joined a data set: at their source, or in the data set itself.

A corrected mask takes the place of the old one, which stays beside it as a hidden file, and the table, the records
and the provenance are made to say what it measures. Until that is done `mask_hashes` keeps a mask that is not the one
of the table from being used.
"""

import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..csv_table import write_csv
from ..errors import InputError
from ..files import atomic_write, write_json
from .folder import TABLE, pictures_by_stem
from .mask_hashes import changed_masks, mask_hash
from .records import write_records
from .writer import PANEL, locked_folder, read_table

Labels = tuple[str, str, str, str]
"""Patient, eye, visit, cohort."""


@dataclass(frozen=True)
class Correction:
    """What becomes of an image's mask.

    `mask` bool [H, W], or None to take the one that lies in the data set; `biomarkers` is `Biomarkers.to_dict()`;
    `source` replaces the provenance's entry of that name.
    """

    mask: np.ndarray | None
    biomarkers: Mapping[str, Any]
    source: Mapping[str, Any] | None = None


def encoded(mask: np.ndarray) -> bytes:
    """A mask as the PNG that is written of it."""
    from PIL import Image

    memory = io.BytesIO()
    Image.fromarray(np.asarray(mask, bool).astype(np.uint8) * 255).save(memory, format="PNG")
    return memory.getvalue()


def correct(folder: str | os.PathLike, corrections: Mapping[str, Correction]) -> None:
    """Put corrections, by the rows' `file`, into a data set. Raises InputError for a file that it does not have.

    A process that is killed in between leaves a mask that is not the table's; the same call again goes on there.
    """
    place = Path(folder)
    with locked_folder(place):
        columns, rows = read_table(place / TABLE)
        by_file = {row["file"]: row for row in rows}
        if unknown := sorted(set(corrections) - set(by_file)):
            raise InputError(f"{place / TABLE} has no row for {', '.join(unknown[:5])}")
        for file, correction in corrections.items():
            _put(place, by_file[file], correction)
        for name in ("mask_sha256", *PANEL):
            if corrections and name not in columns:
                columns.append(name)
        write_csv(place / TABLE, rows, columns=columns)
        write_records(place, columns, rows)
        for file, correction in corrections.items():  # last: the hash of the source in it says that all is done
            _tell(place, by_file[file], correction)


def _put(place: Path, row: dict[str, str], correction: Correction) -> None:
    stem = Path(row["file"]).stem
    target = pictures_by_stem(place / "masks").get(stem, place / "masks" / f"{stem}.png")
    if correction.mask is not None:
        content = encoded(correction.mask)
        if target.is_file() and target.read_bytes() != content:
            with atomic_write(_kept(target, {"mask_sha256": mask_hash(target)})) as temporary:
                shutil.copyfile(target, temporary)
        with atomic_write(target) as temporary:
            temporary.write_bytes(content)
    row["mask_sha256"] = mask_hash(target)
    row |= {k: "" if correction.biomarkers.get(k) is None else f"{correction.biomarkers[k]:.6g}" for k in PANEL}


def _tell(place: Path, row: Mapping[str, str], correction: Correction) -> None:
    path = place / "provenance" / f"{Path(row['file']).stem}.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = {"file": row["file"]}
    told |= {"mask_sha256": row["mask_sha256"], "biomarkers": dict(correction.biomarkers)}
    if correction.source is not None:
        told["source"] = dict(correction.source)
    write_json(path, told)


def _kept(mask: Path, row: Mapping[str, str]) -> Path:
    """Where the mask of a row stays when another takes its place; there is one only after that has begun."""
    return mask.with_name(f".{mask.stem}.{row.get('mask_sha256', '')[:12]}{mask.suffix}")


def accept(folder: str | os.PathLike) -> list[str]:
    """Take the masks as they lie in a data set and measure them; returns the files whose masks had changed.

    Raises InputError for a mask that is none or does not fit its image; then nothing is changed.
    """
    from ..anatomy.biomarkers.panel import measure
    from ..clinic.images import read_image, read_mask

    place = Path(folder)
    if not (place / TABLE).is_file():
        raise InputError(f"{place} is not a data set: it has no {TABLE}")
    rows = read_table(place / TABLE)[1]
    images, masks = pictures_by_stem(place / "images"), pictures_by_stem(place / "masks")
    found: dict[str, Correction] = {}
    changed = set(changed_masks(masks, rows))
    for row in (row for row in rows if row["file"] in changed):
        stem = Path(row["file"]).stem
        size = float(row["pixel_size_um"]) if row.get("pixel_size_um") else None
        mask, picture = read_mask(masks[stem]).mask, read_image(images[stem], size)
        if mask.shape != picture.pixels.shape:
            raise InputError(
                f"the mask of {row['file']} is {mask.shape[1]} × {mask.shape[0]} pixels and its image "
                f"{picture.pixels.shape[1]} × {picture.pixels.shape[0]}: correct it on the image's own pixels"
            )
        panel: dict[str, Any] = {}
        if size is not None:
            panel = measure(mask, size, valid=None if picture.valid.all() else picture.valid).to_dict()
        found[row["file"]] = Correction(None, panel)
    if found:
        correct(place, found)
    return list(found)


@dataclass
class Superseded:
    """What an import does with images whose mask has changed at its source.

    `replaced`: the row's file that gets the mask, by the hashes of image and mask at the source; `kept`: hashes of
    those that are left as they are; `notes` say why.
    """

    replaced: dict[tuple[str, str], str] = field(default_factory=dict)
    kept: set[tuple[str, str]] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def superseded(place: Path, wanted: Mapping[tuple[str, str], Sequence[Labels]]) -> Superseded:
    """Compare a data set with its source: `wanted` are patient, eye, visit and cohort by the hashes found there.

    A mask is replaced where its image is there with a mask that the source no longer has. It is kept where the source
    has none any more, so that the tracer would draw over an expert's, and where it was edited in the data set. Raises
    InputError where patient, eye, visit or cohort are no longer the same.
    """
    found, edited, traced = Superseded(), 0, 0
    masks = pictures_by_stem(place / "masks")
    old: dict[str, list[tuple[dict[str, str], str]]] = {}
    for row, image, annotation in _origins(place):
        if (image, annotation) not in wanted:
            old.setdefault(image, []).append((row, annotation))
    held = {(image, annotation) for _, image, annotation in _origins(place)}
    for (image, annotation), labels in wanted.items():
        if (image, annotation) in held or not old.get(image):
            continue
        same = [one for one in old[image] if _labels(one[0]) in labels]
        if not same:
            raise InputError(
                f"an image in {place} has another mask and another patient, eye, visit or cohort by now: choose "
                "another --out, or remove the folder"
            )
        row, before = same[0]
        mask = masks.get(Path(row["file"]).stem)
        if before and not annotation:
            traced += 1
        elif mask is not None and mask_hash(mask) != row.get("mask_sha256") and not _kept(mask, row).is_file():
            edited += 1
        else:
            found.replaced[image, annotation] = row["file"]
            continue
        found.kept.add((image, annotation))
    if traced:
        found.notes.append(f"an expert's mask, which the source no longer has, was kept ({traced} images)")
    if edited:
        found.notes.append(f"a mask was edited in the data set and kept, though the source's changed ({edited} images)")
    return found


def _labels(row: Mapping[str, str]) -> Labels:
    patient = "" if row["patient"] == Path(row["file"]).stem else row["patient"]
    return patient, row.get("eye", ""), row.get("visit", ""), row["cohort"]


def _origins(place: Path) -> Iterator[tuple[dict[str, str], str, str]]:
    """Rows with the hashes of their image and mask as they were found at the source."""
    for row in read_table(place / TABLE)[1]:
        path = place / "provenance" / f"{Path(row['file']).stem}.json"
        try:
            source = json.loads(path.read_text(encoding="utf-8"))["source"]
            yield row, source["image_sha256"], source["annotation_sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
