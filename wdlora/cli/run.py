"""Run a workflow in this process, without ComfyUI, server or GPU.

WORKFLOW is an API-format JSON file (ComfyUI: File → Export (API)), a shipped workflow in the front end's format (its
API version is then used), or a PNG that Save Image wrote. Pictures are read from DATA/input, models from DATA/models.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import InputError
from .serve import add_host_arguments

EXAMPLE = (
    "python -m wdlora run workflows/api/ccm_synthesis.json --miniature --set 'CCM Sample Masks.seed=7' --out pictures"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The graph, what to change in it, and where results go."""
    parser.add_argument("workflow", metavar="WORKFLOW", help="the graph: JSON in API format, or a PNG with one in it")
    parser.add_argument(
        "--set", action="append", default=[], metavar="TITLE.INPUT=VALUE", help="change a value (repeatable)"
    )
    parser.add_argument(
        "--miniature", action="store_true", help="replace the big models with the small one that ships with the pack"
    )
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="FILE",
        help="copy a file that the graph loads to the input folder first",
    )
    parser.add_argument("--out", metavar="DIR", help="folder for results (default: DATA/output)")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    add_host_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the graph and say which files came of it; status 1 where a part of it had to be left out."""
    from ..graph.file import read_graph
    from ..graph.miniature import use_miniature
    from ..graph.places import set_value, titles_in
    from ..graph.refusal import miniature_hint, node_refusal, refusal
    from ..host import Host
    from ..host.terminal import TerminalProgress

    prompt = read_graph(args.workflow)
    stated = {set_value(prompt, assignment) for assignment in args.set}
    titles = titles_in(prompt)
    notes: list[str] = []
    with TerminalProgress(titles) as progress:
        host = Host(args.data, args.models, args.out, progress, args.device)
        for file in args.input:
            _copy(Path(file), host.folders.input, prompt)
        if args.miniature:
            notes = use_miniature(prompt, host.object_info(), stated)
            titles.update(titles_in(prompt))
        started = time.monotonic()
        verdict, result = host.run(prompt)
        seconds = time.monotonic() - started
    if result is None:
        why = refusal(verdict.error, verdict.node_errors, prompt)
        raise InputError(why + miniature_hint(verdict.node_errors, host.folders.models_dir))
    failure = result.failure
    if failure is not None:
        message = f"{titles[failure['node_id']]}: {' '.join(failure['exception_message'].split())}"
        if isinstance(result.error, InputError):
            raise InputError(message)
        print(f"{message} ({failure['exception_type']})", file=sys.stderr)
        return 1
    outputs = _outputs(host, result.outputs, titles)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    left_out = [f"{titles[id]}: {node_refusal(errors)}" for id, errors in verdict.node_errors.items()]
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr)
    if hint := miniature_hint(verdict.node_errors, host.folders.models_dir):
        print(f"Put the files there{hint}.", file=sys.stderr)
    if args.json:
        json.dump(
            {"status": result.status, "seconds": round(seconds, 3), "outputs": outputs, "left_out": left_out}
            | {"notes": notes},
            sys.stdout,
            indent=2,
            ensure_ascii=False,
        )
        print()
        return int(bool(left_out))
    for output in outputs:
        for file in output["files"]:
            print(f"{output['title']}: {file}")
        for text in output["texts"]:
            tqdm.write(f"{output['title']}:\n{text}", file=sys.stdout)
    return int(bool(left_out))


def _outputs(host: Any, outputs: dict[str, dict[str, Any]], titles: dict[str, str]) -> list[dict[str, Any]]:
    """What each output node showed: paths of files, and texts."""
    listed = []
    for node_id, values in outputs.items():
        items = [item for kind in values.values() for item in kind]
        files = [item for item in items if isinstance(item, dict) and "filename" in item]
        paths = [
            Path(host.folders.get_directory_by_type(file["type"])) / file["subfolder"] / file["filename"]
            for file in files
        ]
        texts = [text for text in values.get("text", []) if isinstance(text, str)]
        listed.append(
            {"node": node_id, "title": titles[node_id], "files": [str(path) for path in paths], "texts": texts}
        )
    return listed


def _copy(file: Path, folder: Path, prompt: dict[str, Any]) -> None:
    from ..files import atomic_write, sha256
    from ..privacy.names import widgets
    from ..privacy.pseudonym import content_pseudonym

    if not file.is_file():
        raise InputError(f"there is no file {file} to copy to the input folder")
    pseudonym = content_pseudonym(sha256(file), file.name)  # by which a host finds a file in whatever folder
    names = [text.removesuffix("[input]").rstrip() for _, text in widgets(prompt)]
    if not any(name == file.name or name.endswith(pseudonym) for name in names):
        raise InputError(f"no node of the graph names {file.name}; add --set 'Title.image={file.name}'")
    target = folder / file.name
    if target.exists() and sha256(target) != sha256(file):
        raise InputError(f"{target} is another file of that name; rename {file}, or take the other one away")
    with atomic_write(target) as temporary:
        shutil.copyfile(file, temporary)
