"""A batch's folder as a data set (see `wdlora.dataset.folder`): each picture, its mask, and what is known of both.

    OUT/images/NAME.png    OUT/masks/NAME.png    OUT/dataset.csv, with a column `job`    OUT/study.toml

A picture joins where its job had a mask file of the picture's size and a cohort. It has the patient, eye and visit of
the mask where that lies in a data set; else pictures of one mask are of one subject, so that no split parts them. Two
data sets may give two people one pseudonym, P001: pictures of the second do not join, unless it is a keyed hash.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..clinic.images import decode, read_mask
from ..clinic.pictures import DAMAGED
from ..cohorts import cohort_in
from ..csv_table import write_csv
from ..dataset.folder import TABLE, find_picture, pictures_by_stem, table_rows
from ..dataset.subjects import of_mask
from ..dataset.writer import check_pseudonym, is_keyed, read_table
from ..errors import InputError
from ..files import atomic_write, sha256
from ..graph import Graph
from ..graph.links import linked
from ..privacy.names import Names
from ..study import FILE as STUDY
from ..study import Study, read_study, shipped_study, study_of, write_study
from .jobs import BatchJob
from .masks import Mask

COLUMNS = ("file", "cohort", "patient", "eye", "visit", "pixel_size_um", "synthetic", "job")
_OF_JOB = re.compile(r"(^|-)[0-9a-f]{8}(-[0-9]+)?$")
"""How the names of jobs, and of their pictures, end."""

_CONDITIONING = "CCMConditioning"
_DRAWINGS = ("MaskToImage", "CCMTrace", "CCMBiomarkers")
"""Nodes whose pictures are drawn of a picture, and are none that a model painted."""


def check_place(out: str | os.PathLike) -> None:
    """Raise InputError where a folder holds images and masks that no batch wrote."""
    place = Path(out)
    own = (place / "journal.jsonl").is_file()
    if (place / TABLE).is_file():
        own = "job" in read_table(place / TABLE)[0]
    elif own:
        return
    if not own and any((place / name).exists() for name in (TABLE, "images", "masks")):
        raise InputError(f"{place} holds images or masks that are not of a batch; choose another --out")


class BatchDataSet:
    """The data set in a batch's folder. `studies` is the folder of study files, None where it is not known."""

    def __init__(self, out: Path, names: Names, studies: Path | None = None):
        self.out, self.names, self.studies = out, names, studies
        self.left_out: dict[str, int] = {}
        self._known: dict[Path, tuple[dict[str, Path], list[dict[str, str]]]] = {}
        self._masks_of: dict[str, set[str]] = {}
        """Hashes of the masks, by patient, whose pictures are in the table."""

    def write(
        self, done: Sequence[tuple[BatchJob, Mapping[str, Any]]], others: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Write the pictures of jobs with their records, and keep those of `others`, the records of earlier jobs.

        Returns how many images the data set has, and why how many pictures are no part of it.
        """
        before = read_table(self.out / TABLE)[1] if (self.out / TABLE).is_file() else []
        masks = {other["name"]: str((other["mask"] or {}).get("sha256", "")) for other in others}
        kept = [row for row in before if row["job"] in masks]
        for row in kept:
            self._masks_of.setdefault(row["patient"], set()).add(masks[row["job"]])
        study = study_of(self.out) if kept else None
        if missing := masks.keys() - {row["job"] for row in kept}:
            self._leave_out("of an earlier call, whose masks it knew", len(missing))
        rows = list(kept)
        for job, record in done:
            try:
                of, row = self._described(job)
                if study is not None and of != study:
                    raise InputError(f"of the study {of.label}, and a data set is of one ({study.label})")
                new = [row | {"file": name, "job": job.name} for name in self._pictures(job, record)]
            except InputError as error:
                self._leave_out(str(error), 1)
                continue
            study = of if new else study
            rows += new
        self._sweep({row["file"] for row in rows})
        if rows:
            assert study is not None
            if not study.ships:
                write_study(self.out / STUDY, study)
            write_csv(self.out / TABLE, rows, columns=list(COLUMNS))
        elif before:
            (self.out / TABLE).unlink()
        return {"images": len(rows), "left_out": self.left_out}

    def _leave_out(self, why: str, count: int) -> None:
        why = self.names.hide_text(why)
        self.left_out[why] = self.left_out.get(why, 0) + count

    def _sweep(self, files: set[str]) -> None:
        """Remove pictures of jobs that are not to be in the table: lost results, and what a killed batch left."""
        for part in ("images", "masks"):
            for path in (self.out / part).glob("*.png"):
                if path.name not in files and _OF_JOB.search(path.stem):
                    path.unlink()

    def _described(self, job: BatchJob) -> tuple[Study, dict[str, str]]:
        """Study and row of a job's pictures. Raises InputError where mask or cohort are not known."""
        if job.mask is None:
            raise InputError("painted without a mask file: give --masks, such as those of sample-masks")
        row = self._row_of(job.mask)
        cohort = _cohort(job.graph) or row.get("cohort", "")
        if not cohort:
            raise InputError(f"of no cohort, or of several: the graph needs one {_CONDITIONING}")
        study, name = self._study(cohort)
        patient = self._patient(row.get("patient", ""))
        if patient:
            self._claim(patient, row["patient"], job.mask)
        return study, {
            "cohort": name,
            "patient": patient or of_mask(job.mask.sha256),
            "eye": row.get("eye", ""),
            "visit": row.get("visit", ""),
            "pixel_size_um": row.get("pixel_size_um") or _pixel_size(job),
            "synthetic": "1",
        }

    def _row_of(self, mask: Mask) -> dict[str, str]:
        """What the data set that a mask lies in tells of it; nothing where it lies in none."""
        return next((row for path, row in self._beside(mask) if path == mask.path), {})

    def _beside(self, mask: Mask) -> Iterator[tuple[Path | None, dict[str, str]]]:
        """The masks of the data set that a mask lies in, with their rows."""
        place = mask.path.parent.parent
        if mask.path.parent.name != "masks" or not (place / TABLE).is_file():
            return
        if place not in self._known:
            self._known[place] = pictures_by_stem(place / "masks"), [row for _, row in table_rows(place / TABLE)]
        files, rows = self._known[place]
        for row in rows:
            yield files.get(find_picture(files, row["file"]) or ""), row

    def _claim(self, patient: str, called: str, mask: Mask) -> None:
        """Note a mask of a patient, `called` so by its data set. Raises InputError where the table has a patient of
        that name from another data set: one none of whose masks is of this one.
        """
        held = self._masks_of.setdefault(patient, set())
        if held and mask.sha256 not in held and not is_keyed(patient):
            own = {sha256(path) for path, row in self._beside(mask) if row["patient"] == called and path is not None}
            if not held & own:
                raise InputError(
                    "of a patient who is called as one of another data set is here, and nobody knows whether it is one "
                    "person: choose another --out, or import both with one --key"
                )
        held.add(mask.sha256)

    def _patient(self, name: str) -> str:
        """A pseudonym as it is, another name as a keyed hash."""
        try:
            return name and check_pseudonym(name)
        except InputError:
            return self.names.pseudonyms.of_name(name)

    def _study(self, cohort: str) -> tuple[Study, str]:
        title, colon, group = cohort.partition(":")
        if not colon:
            return shipped_study(), cohort_in(shipped_study(), cohort).name
        for file in sorted(self.studies.glob("*.toml")) if self.studies else []:
            with suppress(InputError):
                study = read_study(file)
                if study.name == title.strip():
                    return study, study.cohort(group.strip()).name
        raise InputError(f"of the study {title.strip()}, whose file is not on this machine")

    def _pictures(self, job: BatchJob, record: Mapping[str, Any]) -> list[str]:
        """Put a job's painted pictures, each with its mask, into the data set; returns their files."""
        assert job.mask is not None
        mask = read_mask(job.mask.path).mask
        painted = list(_painted(job.graph, record))
        if not painted:
            raise InputError("without a PNG that shows what was painted")
        found = []
        for number, file in enumerate(painted, 1):
            source = self.out / "results" / job.name / file
            try:
                with Image.open(source) as picture:
                    width, height = picture.size
            except DAMAGED as error:
                raise InputError("that cannot be read") from error
            if mask.shape != (height, width):
                self._leave_out("of another size than the mask", 1)
                continue
            name = f"{job.name}.png" if number == 1 else f"{job.name}-{number}.png"
            with atomic_write(self.out / "masks" / name) as temporary:
                Image.fromarray(mask.astype(np.uint8) * 255).save(temporary, format="PNG")
            _linked(source, self.out / "images" / name)
            found.append(name)
        return found


def _painted(graph: Graph, record: Mapping[str, Any]) -> Iterator[str]:
    """The PNG files of a result that show what a model painted: in a graph that decodes no latents, all of them."""
    decodes = any(_decodes(node) for node in graph.values())
    for output in record["outputs"]:
        if not decodes or _shows_painted(graph, output["node"]):
            yield from (file["file"] for file in output["files"] if file["file"].lower().endswith(".png"))


def _shows_painted(graph: Graph, node: str) -> bool:
    """Whether a picture comes from decoded latents without being drawn anew on the way."""
    waiting, seen = [node], set()
    while waiting:
        id = waiting.pop()
        if id in seen or id not in graph or graph[id].get("class_type") in _DRAWINGS:
            continue
        if _decodes(graph[id]):
            return True
        seen.add(id)
        waiting += linked(graph[id]["inputs"], graph)
    return False


def _decodes(node: Mapping[str, Any]) -> bool:
    return str(node.get("class_type")).startswith("VAEDecode")


def _cohort(graph: Graph) -> str:
    """The cohort that all conditioning of a graph names; empty where there is none, or more than one."""
    named = {
        str(node["inputs"].get("cohort"))
        for node in graph.values()
        if node.get("class_type") == _CONDITIONING and "linked_cohort" not in node["inputs"]
    }
    return named.pop() if len(named) == 1 else ""


def _pixel_size(job: BatchJob) -> str:
    """The side of a pixel in µm: the mask file's own, else the one that the graph measures with, else empty."""
    assert job.mask is not None
    if stated := decode(job.mask.path).pixel_size_um:
        return f"{stated[0]:.6g}"
    sizes = {node["inputs"].get("pixel_size_um") for node in job.graph.values()} - {None}
    used = [size for size in sizes if isinstance(size, int | float) and size > 0]
    return f"{used[0]:.6g}" if len(used) == 1 else ""


def _linked(source: Path, target: Path) -> None:
    """The picture under a second name, or its copy where the disk knows no links."""
    with atomic_write(target) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
