"""A batch's folder as a data set (see `wdlora.dataset.folder`): each picture, its mask, and what is known of both.

    OUT/images/NAME.png    OUT/masks/NAME.png    OUT/dataset.csv, with a column `job`    OUT/study.toml

A picture joins where its job had a mask file of the picture's size and a cohort. It has the patient, eye, visit and
split of the mask where that lies in a data set; else pictures of one mask are of one subject, so that no split parts
them. Two data sets may give two people one pseudonym, P001: pictures of the second do not join, unless it is a keyed
hash. What a user adds stays: rows without a job, columns, cells that the batch cannot fill, and corrected masks. The
rows of a job that joined once and cannot join again, for a fault in the masks' table, stay as they were.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..clinic.images import ClinicMask, read_mask
from ..clinic.pictures import DAMAGED
from ..cohorts import cohort_in
from ..csv_table import write_csv
from ..dataset.corrections import encoded
from ..dataset.folder import TABLE
from ..dataset.mask_hashes import mask_hash
from ..dataset.records import RECORDS, write_records
from ..dataset.subjects import is_of_mask, of_mask
from ..dataset.writer import check_pseudonym, read_table
from ..errors import InputError
from ..files import atomic_write
from ..privacy.names import Names
from ..study import FILE as STUDY
from ..study import FOLDER as STUDIES
from ..study import Study, shipped_study, studies_in, study_of, write_study
from ..temporaries import visible
from . import journal
from .jobs import BatchJob
from .masks import Mask
from .origins import MaskOrigins
from .painted import cohort_of, painted_files, pixel_size_of
from .patients import Patients, Row

COLUMNS = ("file", "cohort", "patient", "eye", "visit", "pixel_size_um", "synthetic", "job", "mask_sha256")


def check_place(out: str | os.PathLike) -> None:
    """Raise InputError where a folder holds images and masks that no batch wrote, or a study that cannot be read."""
    place = Path(out)
    try:
        study_of(place)
    except InputError as error:
        raise InputError(f"{error}; correct {place / STUDY}, or choose another --out") from None
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
        """Jobs whose pictures are no part of it, by the reason."""

        self.unchanged: dict[str, int] = {}
        """Jobs whose pictures cannot join now and whose earlier rows stay, by the reason."""

        self._known: dict[str, tuple[Study, Path]] | InputError | None = None
        self._origins = MaskOrigins()
        self._patients = Patients([], [], {})
        self._masks: dict[str, Path] = {}

    def write(
        self, done: Sequence[tuple[BatchJob, Mapping[str, Any]]], others: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Write the pictures of jobs with their records, and keep those of `others`, the records of earlier jobs.

        Returns how many images the data set has, why the pictures of how many jobs are no part of it, and why the
        rows of how many jobs stay as they were.
        """
        columns, before = read_table(self.out / TABLE) if (self.out / TABLE).is_file() else ([], [])
        self._masks = {path.stem: path for path in visible(self.out / "masks")}
        joined = {row["job"] for row in before if self._has_picture(row)}
        stay: dict[str, str] = {}
        while True:  # a row that stays binds other jobs to its study, patient and split, so that more may have to stay
            rows, study, refused = self._gathered(done, others, before, stay)
            again = {job: why for job, why in refused.items() if job in joined}
            if not again:
                break
            stay |= again
        for why in refused.values():
            self._count(self.left_out, why, 1)
        for why in stay.values():
            self._count(self.unchanged, why, 1)
        for row in rows:
            if part := row.get("split") or self._patients.part(row["patient"]):
                row["split"] = part
        jobs = {job.name for job, _ in done} | {other["name"] for other in others} | {row["job"] for row in before}
        self._sweep({row["file"] for row in rows}, jobs)
        self._write_table(columns, rows, study)
        return {"images": len(rows), "left_out": self.left_out, "unchanged": self.unchanged}

    def _gathered(
        self,
        done: Sequence[tuple[BatchJob, Mapping[str, Any]]],
        others: Sequence[Mapping[str, Any]],
        before: Sequence[Row],
        stay: Mapping[str, str],
    ) -> tuple[list[Row], Study | None, dict[str, str]]:
        """All rows, their study, and why jobs were refused; of the jobs `stay` the rows are those of `before`."""
        self.left_out = {}
        masks = {other["name"]: str((other["mask"] or {}).get("sha256", "")) for other in others}
        masks |= {job.name: job.mask.sha256 if job.mask else "" for job, _ in done if job.name in stay}
        rows = self._kept([row for row in before if row["job"] not in stay or self._has_picture(row)], masks)
        study = study_of(self.out) if rows else None
        earlier = {row["file"]: row for row in before}
        refused: dict[str, str] = {}
        for job, record in done:
            if job.name in stay:
                continue
            try:
                study, new = self._rows(job, record, study, earlier)
            except InputError as error:
                refused[job.name] = str(error)
                continue
            rows += new
        return rows, study, refused

    def _has_picture(self, row: Row) -> bool:
        return (self.out / "images" / row["file"]).is_file()

    def _kept(self, before: Sequence[Row], masks: Mapping[str, str]) -> list[Row]:
        """The rows that stay as they are: those of jobs, given with the hashes of their masks, and a user's own."""
        kept = [row for row in before if row["job"] in masks or not row["job"]]
        self._patients = Patients(before, kept, masks)
        if missing := masks.keys() - {row["job"] for row in kept}:
            why = "they are of an earlier call; give its --masks and cohorts again to add them"
            self._count(self.left_out, why, len(missing))
        return kept

    def _write_table(self, columns: Sequence[str], rows: Sequence[Row], study: Study | None) -> None:
        """Write table, study, and records where there are some; without rows there is none of them."""
        if not rows or study is None:
            for name in (TABLE, RECORDS):
                (self.out / name).unlink(missing_ok=True)
            return
        if not study.ships:
            write_study(self.out / STUDY, study)
        elif study_of(self.out) != study:  # of rows that are gone
            (self.out / STUDY).unlink()
        wanted = [*columns, *COLUMNS, *(["split"] if any(row.get("split") for row in rows) else [])]
        columns = list(dict.fromkeys(wanted))
        write_csv(self.out / TABLE, rows, columns=columns)
        if (self.out / RECORDS).is_file():
            write_records(self.out, columns, rows)

    def _count(self, jobs: dict[str, int], why: str, count: int) -> None:
        why = self.names.hide_text(why)
        jobs[why] = jobs.get(why, 0) + count

    def _sweep(self, files: set[str], jobs: set[str]) -> None:
        """Remove pictures of jobs that are not to be in the table: lost results, and what a killed batch left.

        Jobs are `jobs` and those of the journal; what is not called like one of theirs is somebody's.
        """
        jobs = jobs | {event["name"] for event in journal.read(self.out / "journal.jsonl") if "name" in event}
        for part in ("images", "masks"):
            for path in visible(self.out / part, "*.png"):
                job, _, number = path.stem.rpartition("-")
                if path.name not in files and (path.stem in jobs or (number.isdecimal() and job in jobs)):
                    path.unlink()

    def _rows(
        self, job: BatchJob, record: Mapping[str, Any], study: Study | None, earlier: Mapping[str, Row]
    ) -> tuple[Study, list[Row]]:
        """The study and the rows of a job's pictures, which are put into the data set.

        `study` is that of the rows so far, `earlier` are rows of an earlier call. Raises InputError where pictures
        cannot join.
        """
        if job.mask is None:
            raise InputError("they were painted without mask files: give --masks, such as those of sample-masks")
        try:
            drawn = read_mask(job.mask.path)
        except InputError:
            raise InputError("their mask file cannot be read as a mask of nerves") from None
        of, row = self._described(job, job.mask, drawn)
        if study is not None and of != study:
            raise InputError(
                f"they are of the study {of.label}, and the data set is of {study.label}: choose another --out"
            )
        rows = []
        for name in self._pictures(job, record, drawn.mask.shape):
            old = earlier.get(name, {})
            hashed = self._put_mask(name, drawn.mask, old)
            told = {key: value for key, value in row.items() if value and not (old and is_of_mask(value))}
            rows.append(dict.fromkeys(COLUMNS, "") | old | told | {"file": name, "job": job.name} | hashed)
        return of, rows

    def _described(self, job: BatchJob, mask: Mask, drawn: ClinicMask) -> tuple[Study, Row]:
        """Study and row of a job's pictures. Raises InputError where the cohort is not known."""
        origin = self._origins.of(mask.path)
        row = origin.row_of(mask.path)
        if cohort := cohort_of(job.graph):
            study, name = self._study(cohort)
        elif row.cohort:
            study, name = origin.cohort(row.cohort)
        else:
            raise InputError("their cohort is not known: use a graph with one CCM Conditioning")
        patient = self._patient(row.patient)
        if patient:
            self._patients.claim(patient, row.patient, mask, origin)
        patient = patient or of_mask(mask.sha256)
        own = f"{drawn.pixel_size_um[0]:.6g}" if drawn.pixel_size_um else ""
        return study, {
            "cohort": name,
            "patient": patient,
            "eye": row.eye,
            "visit": row.visit,
            "split": self._patients.put(patient, row.split),
            "pixel_size_um": row.pixel_size_um or own or pixel_size_of(job.graph),
            "synthetic": "1",
        }

    def _patient(self, name: str) -> str:
        """A pseudonym as it is, another name as a keyed hash."""
        try:
            return name and check_pseudonym(name)
        except InputError:
            return self.names.pseudonyms.of_name(name)

    def _study(self, cohort: str) -> tuple[Study, str]:
        """Study and name of a cohort of a graph. Raises InputError for one that is not known here."""
        title, colon, group = cohort.partition(":")
        if not colon:
            return shipped_study(), cohort_in(shipped_study(), cohort).name
        if self._known is None:
            try:
                self._known = studies_in(self.studies, strict=True) if self.studies else {}
            except InputError as error:
                self._known = InputError(str(error).replace(str(self.studies), f"models/{STUDIES}"))
        if isinstance(self._known, InputError):
            raise self._known
        if title.strip() not in self._known:
            raise InputError(f"the file of their study {title.strip()} is not on this machine")
        study, _ = self._known[title.strip()]
        return study, study.cohort(group).name

    def _pictures(self, job: BatchJob, record: Mapping[str, Any], shape: tuple[int, ...]) -> list[str]:
        """Put a job's painted pictures of a shape [H, W] into the data set; returns their files."""
        painted = list(painted_files(job.graph, record))
        if not painted:
            raise InputError("no PNG of theirs shows what was painted: save it with Save Image")
        found, other = [], False
        for number, file in enumerate(painted, 1):
            source = self.out / "results" / job.name / file
            try:
                with Image.open(source) as picture:
                    width, height = picture.size
            except DAMAGED as error:
                raise InputError("they cannot be read") from error
            if shape != (height, width):
                other = True
                continue
            name = f"{job.name}.png" if number == 1 else f"{job.name}-{number}.png"
            _linked(source, self.out / "images" / name)
            found.append(name)
        if other:
            self._count(self.left_out, "their size is not that of the mask", 1)
        return found

    def _put_mask(self, name: str, mask: np.ndarray, old: Row) -> Row:
        """Put a mask [H, W] beside its picture; one that the table knows stays, since it may have been corrected.

        Returns the cell of its hash; empty for a mask that an earlier version put there and somebody changed.
        """
        content, stem = encoded(mask), Path(name).stem
        there = self._masks.get(stem) if old else None
        if there is not None and (old.get("mask_sha256") or there.read_bytes() != content):
            return {}
        target = there or self.out / "masks" / name
        if there is None:
            with atomic_write(target) as temporary:
                temporary.write_bytes(content)
        return {"mask_sha256": mask_hash(target)}


def _linked(source: Path, target: Path) -> None:
    """The picture under a second name, or its copy where the disk knows no links."""
    with atomic_write(target) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
