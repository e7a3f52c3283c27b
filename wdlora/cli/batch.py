"""Run a workflow over many masks, cohorts and seeds: here, or on ComfyUI servers.

WORKFLOW is a graph as for `run`. Every combination of masks, cohorts, seeds and --vary values is one job with one
result in OUT/results; OUT/manifest.json lists them all with their hashes. The same command continues a batch that was
killed or interrupted; other seeds, masks or cohorts add to the existing results. Masks replace the graph's mask loader,
or its CCM Sample Masks.

If masks are files, OUT is a data set too: images, masks and dataset.csv, with the patients of the masks' data set.
Results, manifest and the graphs in pictures contain pseudonyms instead of names of input files (see `pseudonymise`).
"""

import argparse
import asyncio
import copy
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ..errors import InputError
from ..pace import LineAMinute
from ..privacy.pseudonym import KEY_HELP
from ..study import FOLDER as STUDIES
from .serve import DATA, add_host_arguments

if TYPE_CHECKING:
    from ..batch.jobs import BatchJob
    from ..batch.journal import Journal
    from ..batch.masks import Mask
    from ..batch.results import Results
    from ..batch.work import Work
    from ..graph import Graph
    from ..graph.places import Place
    from ..privacy.names import Names

EXAMPLE = (
    "python -m wdlora batch workflows/api/ccm_synthesis.json --masks masks --cohort Control T1DPN --seeds 0:100 "
    "--out batch --server http://127.0.0.1:8188 --server http://127.0.0.1:8189"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The graph, what differs between the jobs, where they run, and where results go."""
    parser.add_argument("workflow", metavar="WORKFLOW", help="the graph: JSON in API format, or a PNG with one in it")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for results, journal and manifest")
    parser.add_argument(
        "--masks",
        metavar="DIR",
        help="folder of masks with white nerves, or one that contains a folder masks, as from sample-masks; one job "
        "for each mask",
    )
    parser.add_argument(
        "--cohort",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="cohorts, or all; set in every input 'cohort'",
    )
    parser.add_argument("--seeds", metavar="A:B", help="seeds A to B - 1 (0:100), or 1,5,9; set in every input 'seed'")
    parser.add_argument(
        "--vary", action="append", default=[], metavar="TITLE.INPUT=A,B", help="values of another input (repeatable)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="TITLE.INPUT=VALUE", help="change a value in all jobs"
    )
    for name, what in (("mask", "mask file"), ("cohort", "cohort"), ("seed", "seed")):
        parser.add_argument(
            f"--{name}-input",
            action="append",
            default=[],
            metavar="TITLE.INPUT",
            help=f"input for the {what} (default: as in the graph)",
        )
    parser.add_argument(
        "--server", action="append", default=[], metavar="URL", help="a ComfyUI server; repeat for more (default: here)"
    )
    parser.add_argument(
        "--miniature", action="store_true", help="replace the big models with the small one that ships with the pack"
    )
    parser.add_argument("--attempts", type=int, default=3, help="tries for a job that fails (default: %(default)s)")
    parser.add_argument("--keep-names", action="store_true", help="write the file names of masks into the output")
    parser.add_argument("--key", metavar="FILE", help=f"secret key of pseudonyms (default: your own); {KEY_HELP}")
    parser.add_argument("--json", action="store_true", help="print the manifest")
    add_host_arguments(parser)
    parser.set_defaults(data=None)  # to see where it is given


def run(args: argparse.Namespace) -> int:
    """Do the jobs that are open; 0 where all are done, 1 where some failed."""
    from ..batch import remote
    from ..batch.dataset import check_place
    from ..batch.jobs import job_id
    from ..batch.journal import Journal
    from ..batch.local import model_hashes
    from ..batch.masks import find_masks
    from ..batch.results import Results, check_manifest
    from ..batch.work import Work
    from ..files import sha256, write_json
    from ..graph.file import check_graph, read_graph
    from ..graph.miniature import use_miniature
    from ..graph.places import set_value
    from ..privacy.names import Names
    from ..privacy.pseudonym import Pseudonyms, read_or_make_key
    from ..privacy.tree import finder

    key = read_or_make_key(args.key) if args.key else None
    _check_options(args)
    graph = read_graph(args.workflow)
    check_graph(graph)
    given = copy.deepcopy(graph)
    stated = {set_value(graph, assignment) for assignment in args.set}
    masks = find_masks(args.masks, args.keep_names) if args.masks else []
    out = Path(args.out)
    check_manifest(out)
    check_place(out)
    host = None if args.server else _host(args, out)
    find = finder((host.folders.input, host.folders.output) if host else ())
    names = Names(Pseudonyms(find, lambda: key or read_or_make_key()))
    results = Results(out, names, Path(host.folders.models_dir) / STUDIES if host else None)
    with Journal(results.out / "journal.jsonl") as journal:
        if args.miniature:
            offered = host.object_info() if host else asyncio.run(remote.object_info_of(args.server))
            for note in use_miniature(graph, offered, stated):
                print(f"note: {names.hide_text(note)}", file=sys.stderr)
        planned = _plan(args, graph, masks, names, stated)
        models = model_hashes(graph, host.folders) if host else _pinned(graph)
        public = names.hide(graph)
        _same_batch(journal, job_id(public), models)
        write_json(results.out / "workflow.json", public)
        results.clear()
        facts: dict[str, Any] = {
            "workflow": _workflow(Path(args.workflow), names.hide(given) == given),
            "graph": {"file": "workflow.json", "sha256": sha256(results.out / "workflow.json")},
            "models": models,
        }
        work = Work(_open(planned, results, journal), journal, results, args.attempts)
        try:
            interrupted = _work_through(args, work, host, len(planned))
        finally:
            results.clear()
            manifest = results.write_summary(planned, facts, work.failures)
    status = _report(args, manifest, results.out, interrupted)
    if interrupted:
        raise KeyboardInterrupt
    return status


def _check_options(args: argparse.Namespace) -> None:
    """Raise InputError for options that exclude each other or do nothing."""
    if args.attempts < 1:
        raise InputError(f"--attempts is {args.attempts}; give 1 or more")
    for place, values in (("mask", "masks"), ("cohort", "cohort"), ("seed", "seeds")):
        if getattr(args, f"{place}_input") and not getattr(args, values):
            raise InputError(f"--{place}-input says where values go, but there are none: add --{values}")
    of_here = [f"--{name}" for name in ("data", "models", "device") if getattr(args, name)]
    if args.server and of_here:
        raise InputError(
            f"{', '.join(of_here)} and --server exclude each other: servers have folders and devices of their own"
        )


def _open(planned: "Sequence[BatchJob]", results: "Results", journal: "Journal") -> "list[BatchJob]":
    """The jobs without a result; a result that a kill left out of the journal is noted."""
    todo = [job for job in planned if results.of(job) is None]
    known = {job.id for job in todo} | {event.get("id") for event in journal.events if event["event"] == "done"}
    for job in planned:
        if job.id not in known:
            journal.append("done", id=job.id, name=job.name, found=True)
    return todo


def _work_through(args: argparse.Namespace, work: "Work", host: Any, planned: int) -> bool:
    """Do the work here or on servers, behind a bar; returns whether the user stopped it."""
    from ..batch import local, remote

    done, given_up, lines = planned - len(work.jobs), work.failures, LineAMinute(wanted=not args.json)

    def tell(job: "BatchJob", error: str | None) -> None:
        nonlocal done
        done += error is None
        _tell(bar, work, job, error)
        failed = f", {len(given_up)} failed" if given_up else ""
        lines.tell(lambda: f"{done} of {planned} jobs done{failed}")

    silent = True if args.json else None  # None: where standard error is no terminal
    with tqdm(total=planned, initial=done, unit="job", file=sys.stderr, disable=silent) as bar:
        work.tell = tell
        try:
            if host is not None:
                if work.jobs:
                    local.check_runs_here(host, work.jobs[0])
                local.run_here(work, host)
            elif work.jobs:
                asyncio.run(remote.run_on_servers(work, args.server))
        except KeyboardInterrupt:
            return True
    return False


def _host(args: argparse.Namespace, out: Path) -> Any:
    from ..host import Host

    return Host(args.data or DATA, args.models, out / "output", device=args.device)


def _workflow(file: Path, nameless: bool) -> dict[str, str]:
    """Name and hash of a workflow: a picture's name is a pseudonym, and no hash may confirm a guess at a graph's."""
    from ..files import sha256
    from ..privacy.pseudonym import content_pseudonym

    hashed = sha256(file)
    if file.suffix.lower() == ".png":
        return {"file": content_pseudonym(hashed, file.name), "sha256": hashed}
    return {"file": file.name, "sha256": hashed} if nameless else {"file": file.name}


def _plan(
    args: argparse.Namespace, graph: "Graph", masks: "Sequence[Mask]", names: "Names", stated: "set[Place]"
) -> "list[BatchJob]":
    """The jobs. `stated` are the places of --set."""
    from ..batch.jobs import Axis, Design, check_places, parse_cohorts, parse_seeds, parse_variation, places_of, plan
    from ..batch.masks import check_masks, mask_place

    if len(args.mask_input) > 1:
        raise InputError("a job has one mask, so give --mask-input once")
    at = mask_place(graph, *args.mask_input) if masks else None
    axes = []
    if args.cohort:
        cohorts = parse_cohorts(args.cohort)
        axes.append(Axis("cohort", places_of(graph, "cohort", args.cohort_input), tuple(cohorts)))
    axes += [parse_variation(graph, text) for text in args.vary]
    if args.seeds:
        seeds = parse_seeds(args.seeds)
        axes.append(Axis("seed", places_of(graph, "seed", args.seed_input), tuple(seeds)))
    design = Design(masks, at, axes)
    check_places(graph, stated, design)
    if at is not None and (note := check_masks(graph, masks, at, stated.union(*(axis.places for axis in axes)))):
        print(f"note: {note}", file=sys.stderr)
    planned = plan(graph, design, names)
    if len({job.id for job in planned}) < len(planned):
        raise InputError("two jobs are the same: two masks with the same content, or a value that is given twice")
    return planned


def _pinned(graph: "Graph") -> list[dict[str, Any]]:
    """The adapters of a graph that runs elsewhere, with the hashes that the graph asks for."""
    return [
        {"folder": "loras", "name": node["inputs"][key], "sha256": node["inputs"].get("sha256") or None}
        for node in graph.values()
        for key in ("adapter", "lora_name")
        if isinstance(node["inputs"].get(key), str) and node["inputs"][key] != "none"
    ]


def _same_batch(journal: "Journal", graph: str, models: list[dict[str, Any]]) -> None:
    """Note what the batch is about, or raise InputError where its folder holds another one that was begun."""
    files = {f"{one['folder']}/{one['name']}": one.get("sha256") or one.get("bytes") for one in models}
    before = next((event for event in reversed(journal.events) if event["event"] == "batch"), None)
    if before is None or all(event["event"] == "batch" for event in journal.events):
        journal.append("batch", graph=graph, files=files)
        return
    known = before.get("files") or {}
    other = [name for name, content in files.items() if content and known.get(name) and known[name] != content]
    if before.get("graph") != graph or other:
        what = f"model: {', '.join(other)} has changed" if other else "graph, or other values in it"
        raise InputError(
            f"{journal.path.parent} holds a batch with another {what}; give another --out, so that results that do "
            "not belong together stay apart"
        )


def _tell(bar: Any, work: "Work", job: "BatchJob", error: str | None) -> None:
    if error is None:
        bar.update()
    else:
        which = job.name if job.mask is None else f"{job.name} ({job.mask.path})"
        bar.write(f"{which}: {error}", file=sys.stderr)
        bar.set_postfix(failed=len(work.failures))


def _report(args: argparse.Namespace, manifest: dict[str, Any], out: Path, stopped: bool) -> int:
    count = manifest["count"]
    if args.json:
        json.dump(manifest, sys.stdout, indent=2, ensure_ascii=False)
        print()
    else:
        print(f"{count['done']} of {len(manifest['jobs'])} jobs done: {out / 'manifest.json'}")
        for table in manifest["tables"].values():
            print(out / table["file"])
        _report_dataset(manifest["dataset"], out)
    if count["done"] == len(manifest["jobs"]):
        return 0
    if stopped:
        failed = f", {count['failed']} failed" if count["failed"] else ""
        said = f"the batch was stopped{failed}, {count['open']} jobs are open; the same command continues it"
    else:
        said = f"{count['failed']} jobs failed, {count['open']} are open; the same command tries them again"
    print(said, file=sys.stderr)
    return 1


def _report_dataset(dataset: dict[str, Any], out: Path) -> None:
    if dataset["images"]:
        print(f"{out} is a data set of {dataset['images']} images")
    for why, count in dataset["left_out"].items():
        print(f"the pictures of {_jobs(count)} are not part of the data set: {why}")
    for why, count in dataset["unchanged"].items():
        told = f"the rows of {_jobs(count)} in the data set stay as they were, since the pictures cannot join again"
        print(f"{told}: {why}")


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"
