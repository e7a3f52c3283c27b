"""A batch in this process, through the embedded host."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import atomic_write, sha256
from ..graph import Graph
from ..graph.places import title_of
from ..graph.refusal import miniature_hint, refusal
from ..privacy.names import Names
from .jobs import BatchJob
from .masks import UPLOADS, Mask
from .results import NodeResult, node_results
from .work import JobFailed, Work

_ADAPTERS = ("adapter", "lora_name")
_MODELS = ("diffusion_models", "text_encoders", "vae")


def model_hashes(graph: Graph, folders: Any) -> list[dict[str, Any]]:
    """The model files that a graph names: adapters with their hashes, base models with their sizes."""
    found = {}
    for node in graph.values():
        for key, value in node["inputs"].items():
            if not isinstance(value, str) or not value.lower().endswith((".safetensors", ".sft")):
                continue
            kinds = ("loras",) if key in _ADAPTERS else _MODELS
            for kind in kinds:
                path = folders.get_full_path(kind, value)
                if path is not None:
                    facts = {"folder": kind, "name": value, "bytes": os.path.getsize(path)}
                    found[kind, value] = facts | ({"sha256": sha256(path)} if kind == "loras" else {})
                    break
    return [found[key] for key in sorted(found)]


def check_runs_here(host: Any, job: BatchJob) -> None:
    """Raise InputError unless the embedded host can run the whole graph."""
    if job.mask is not None:
        place_mask(host, job.mask)
    prompt = job.prompt()
    verdict = host.validate(prompt)
    if verdict.node_errors or not verdict.outputs:
        why = refusal(verdict.error, verdict.node_errors, prompt)
        raise InputError(why + miniature_hint(verdict.node_errors, host.folders.models_dir))


def place_mask(host: Any, mask: Mask) -> None:
    """Copy a mask to the host's input folder, unless it is there."""
    target = host.folders.input / UPLOADS / mask.stored
    if not target.is_file() or target.stat().st_size != mask.path.stat().st_size:
        with atomic_write(target) as temporary:
            shutil.copyfile(mask.path, temporary)


def run_here(work: Work, host: Any) -> None:
    """Run every job, one after another. A job that fails is noted, and the batch goes on."""
    for job in work.jobs:
        work.journal.append("started", id=job.id, name=job.name)
        for attempt in range(work.attempts):
            try:
                seconds = _run(work, host, job, attempt)
            except JobFailed as failure:
                if failure.again and attempt + 1 < work.attempts:
                    host.engine.unload()
                    time.sleep(work.pause_s(attempt))
                    continue
                work.failed(job, str(failure))
            else:
                work.done(job, seconds=seconds)
            break


def _run(work: Work, host: Any, job: BatchJob, attempt: int) -> float:
    if job.mask is not None:
        place_mask(host, job.mask)
    scratch = host.folders.output / job.folder(attempt)
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        return _into(work, host, job, attempt, scratch)
    finally:  # what a failed job saved is no result
        shutil.rmtree(scratch, ignore_errors=True)


def _into(work: Work, host: Any, job: BatchJob, attempt: int, scratch: Path) -> float:
    """Run a job that saves into `scratch`, and commit its result; returns the seconds it took."""
    staged = work.results.stage(job)
    started = time.monotonic()
    prompt = job.prompt(attempt)
    verdict, result = host.run(prompt)
    if result is None or verdict.node_errors:
        raise JobFailed(refusal(verdict.error, verdict.node_errors, prompt), again=False)
    if result.failure is not None:
        message = " ".join(result.failure["exception_message"].split())
        again = not isinstance(result.error, InputError)
        kind = f" ({result.failure['exception_type']})" if again else ""
        node_id = result.failure["node_id"]
        raise JobFailed(f"{title_of(node_id, job.graph.get(node_id))}: {message}{kind}", again)
    seconds = round(time.monotonic() - started, 3)
    names = work.results.names
    found = [
        (output, _collect(host, output, scratch, staged, names)) for output in node_results(result.outputs, job.graph)
    ]
    work.results.commit(job, found, seconds=seconds, server=None)
    return seconds


def _collect(host: Any, output: NodeResult, scratch: Path, staged: Path, names: Names) -> list[Path]:
    """Bring a node's files to the staged folder: the job's own are moved, others copied."""
    paths = []
    for file in output.files:
        source = Path(host.folders.get_directory_by_type(file["type"])) / file["subfolder"] / file["filename"]
        target = wanted = staged / names.hide_text(source.name)
        number = 1
        while target.exists():
            number += 1
            target = staged / f"{wanted.stem}({number}){wanted.suffix}"
        if scratch in source.parents:
            os.replace(source, target)
        else:
            shutil.copyfile(source, target)
        paths.append(target)
    return paths
