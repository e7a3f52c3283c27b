"""Where the results of a batch lie: one folder a job, which appears whole, and the manifest over all of them."""

import json
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__
from ..csv_table import write_csv
from ..errors import InputError
from ..files import sha256, write_json
from ..graph import Graph
from ..graph.places import title_of
from ..privacy.names import Names
from ..privacy.tree import hide_picture
from .dataset import BatchDataSet
from .jobs import BatchJob

RECORD = "result.json"
_STAGING = ".unfinished"
_HASHED = "wdlora-batch/1"


@dataclass(frozen=True)
class NodeResult:
    """What one output node showed: files as hosts name them, texts, and tables."""

    node: str
    title: str
    files: list[dict[str, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    tables: list[Any] = field(default_factory=list)


def node_results(outputs: dict[str, dict[str, Any]], graph: Graph) -> list[NodeResult]:
    """The outputs of a host, in the graph's order. Previews, which hosts throw away, are left out."""
    found = []
    for id in sorted(outputs, key=lambda id: (len(id), id)):
        values = {key: items for key, items in (outputs[id] or {}).items() if isinstance(items, (list, tuple))}
        files = [
            {"filename": str(item["filename"]), "subfolder": str(item.get("subfolder") or ""), "type": "output"}
            for items in values.values()
            for item in items
            if isinstance(item, dict) and "filename" in item and item.get("type", "output") == "output"
        ]
        texts = [text for text in values.get("text", ()) if isinstance(text, str)]
        tables = [table for table in values.get("ccm_table", ()) if isinstance(table, dict)]
        if files or texts or tables:
            found.append(NodeResult(id, title_of(id, graph.get(id)), files, texts, tables))
    return found


def check_manifest(out: str | os.PathLike) -> None:
    """Raise InputError where a folder holds a `manifest.json` that no batch wrote."""
    path = Path(out) / "manifest.json"
    if not path.exists():
        return
    try:
        format = json.loads(path.read_text(encoding="utf-8"))["format"]
    except (ValueError, KeyError, TypeError):
        format = None
    if format != _HASHED:
        raise InputError(f"{path} is not of a batch; choose another --out")


class Results:
    """The folder of a batch: `results/NAME/` for each job that is done, `manifest.json`, and the journal.

    `names` of input files are pseudonyms in all that is written here, the graphs in pictures included. `studies` is
    the folder of study files, where it is known.
    """

    def __init__(self, out: str | os.PathLike, names: Names, studies: Path | None = None):
        self.out, self.names, self.studies = Path(out), names, studies
        self.folder = self.out / "results"
        self.staging = self.out / _STAGING
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the folder {self.folder}: {error.strerror}") from None

    def clear(self) -> None:
        """Remove what a killed batch left half done."""
        shutil.rmtree(self.staging, ignore_errors=True)

    def of(self, job: BatchJob) -> dict[str, Any] | None:
        """The record of a job that is done, or None. A folder that lacks a file of its record does not count."""
        record = _record(self.folder / job.name)
        return record if record is not None and record.get("id") == job.id else None

    def _others(self, jobs: Sequence[BatchJob]) -> list[dict[str, Any]]:
        """The records of results that lie here from other jobs of the batch, in the order of their names."""
        ids = {job.id for job in jobs}
        records = [_record(place) for place in sorted(self.folder.iterdir())]
        return [record for record in records if record is not None and record["id"] not in ids]

    def stage(self, job: BatchJob) -> Path:
        """An empty folder to put a job's files in."""
        place = self.staging / job.name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        return place

    def commit(self, job: BatchJob, found: Iterable[tuple[NodeResult, Sequence[Path]]], **facts: Any) -> dict[str, Any]:
        """Make the staged folder the job's result. `found`: what each node showed and its files in the folder."""
        place = self.staging / job.name
        outputs = []
        for output, paths in found:
            for path in paths:
                if path.suffix.lower() == ".png":
                    with suppress(InputError):  # a server called it so, and it is none: no text to change
                        hide_picture(path, self.names)
            files = [
                {"file": path.relative_to(place).as_posix(), "sha256": _hash(path), "bytes": path.stat().st_size}
                for path in paths
            ]
            described: dict[str, Any] = {"node": output.node, "title": output.title, "files": files}
            if output.texts:
                described["values"] = [_parsed(text) for text in output.texts]
            if output.tables:
                described["tables"] = output.tables
            outputs.append(self.names.hide(described))
        mask = None if job.mask is None else {"file": job.mask.name, "sha256": job.mask.sha256}
        record = {"id": job.id, "name": job.name, "values": job.values, "mask": mask, **facts, "outputs": outputs}
        write_json(place / RECORD, record)
        final = self.folder / job.name
        if final.exists():
            shutil.rmtree(final)
        _flush_folder(place)
        os.replace(place, final)
        _flush_folder(self.folder)
        return record

    def write_summary(
        self, jobs: Sequence[BatchJob], facts: dict[str, Any], failures: dict[str, str]
    ) -> dict[str, Any]:
        """Write `manifest.json`, a table for each text output that holds measurements, and the data set; the manifest.

        All cover `jobs` and the results of earlier jobs in the folder.
        """
        listed: list[dict[str, Any]] = []
        done: list[tuple[BatchJob, dict[str, Any]]] = []
        for job in jobs:
            record = self.of(job)
            if record is not None:
                done.append((job, record))
                listed.append(_entry(record))
                continue
            entry: dict[str, Any] = {"id": job.id, "name": job.name, "values": job.values}
            if job.mask is not None:
                entry["mask"] = {"file": job.mask.name, "sha256": job.mask.sha256}
            entry["status"] = "failed" if job.id in failures else "open"
            if job.id in failures:
                entry["error"] = self.names.hide_text(failures[job.id])
            listed.append(entry)
        others = self._others(jobs)
        listed += map(_entry, others)
        rows: dict[str, list[dict[str, Any]]] = {}
        for record in [*(record for _, record in done), *others]:
            _add_rows(rows, record)
        tables = {}
        for name, lines in sorted(rows.items()):
            table = self.out / f"{name}.csv"
            write_csv(table, lines)
            tables[name] = {"file": table.name, "sha256": sha256(table)}
        count = {status: sum(one["status"] == status for one in listed) for status in ("done", "failed", "open")}
        manifest = {"format": _HASHED, "software": f"wdlora-ccm {__version__}", **facts, "count": count}
        dataset = BatchDataSet(self.out, self.names, self.studies).write(done, others)
        manifest |= {"tables": tables, "dataset": dataset, "jobs": listed}
        write_json(self.out / "manifest.json", manifest)
        return manifest


def _record(place: Path) -> dict[str, Any] | None:
    """The record of a result, or None where there is none or a file of it is missing or torn."""
    try:
        record = json.loads((place / RECORD).read_text(encoding="utf-8"))
        files = [file for output in record["outputs"] for file in output["files"]]
        whole = all((place / file["file"]).stat().st_size == file["bytes"] for file in files)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if whole else None


def _entry(record: dict[str, Any]) -> dict[str, Any]:
    """What the manifest says of a result."""
    entry = {key: record[key] for key in ("id", "name", "values")}
    if record["mask"] is not None:
        entry["mask"] = record["mask"]
    entry |= {"status": "done", "seconds": record.get("seconds"), "server": record.get("server")}
    entry["files"] = [
        {"file": f"results/{record['name']}/{file['file']}", "sha256": file["sha256"]}
        for output in record["outputs"]
        for file in output["files"]
    ]
    return entry


def _add_rows(rows: dict[str, list[dict[str, Any]]], record: dict[str, Any]) -> None:
    """Add what the job's text outputs measured, a line an object, to the tables by node title."""
    for output in record["outputs"]:
        for value in output.get("values", []):
            members = value if isinstance(value, list) else [value]
            if not members or not all(isinstance(member, dict) for member in members):
                continue
            name = re.sub(r"[^A-Za-z0-9]+", "_", output["title"]).strip("_").lower() or f"node_{output['node']}"
            for index, member in enumerate(members):
                known = {"job": record["name"], **record["values"], "member": index}
                if record["mask"] is not None:
                    known["mask_file"] = record["mask"]["file"]
                flat = {key: item for key, item in member.items() if isinstance(item, (int, float, str, type(None)))}
                rows.setdefault(name, []).append({**known, **flat})


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=lambda name: None)
    except ValueError:
        return text


def _hash(path: Path) -> str:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return sha256(path)


def _flush_folder(folder: Path) -> None:
    """Put a folder's names on the disk, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
