"""Tracers that a graph may choose: the pack's own, and networks in ComfyUI's models folder."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ..wdlora.anatomy.tracing.choices import ANNOTATED, DEFAULT, DETAILS, NAMES, SUFFIXES
from ..wdlora.errors import InputError
from . import files

KIND = "ccm_tracers"
"""The folder below ComfyUI's models for networks of one's own."""


def tracer_inputs() -> list[Any]:
    """The widgets `segmenter` and `detail`; optional, so that graphs saved without them open with the defaults."""
    return [
        io.Combo.Input(
            "segmenter",
            options=options(),
            default=DEFAULT,
            optional=True,
            tooltip="network: the small network that comes with the pack. lines: oriented line filters, without "
            "learned weights. A file in models/ccm_tracers: a network of your own, in ONNX or from python -m "
            "training tracer.",
        ),
        io.Combo.Input(
            "detail",
            options=list(DETAILS),
            default=ANNOTATED,
            optional=True,
            tooltip="What a network draws. annotated: the nerves that experts draw, as wide as their pen. visible: "
            "everything that can be seen, with fine connecting fibres. The line filters and ONNX files have only "
            "one detail.",
        ),
    ]


def options() -> list[str]:
    """Names of the pack's tracers, then the files."""
    import folder_paths

    _register()
    return [*NAMES, *folder_paths.get_filename_list(KIND)]


def chosen(name: str) -> str | Path:
    """What `trace` takes for a choice. Raises InputError, naming the place, for a file that is missing."""
    if name in NAMES:
        return name
    _register()
    return files.model_file(KIND, name, "tracer")


def stamp(name: str) -> str:
    """What changes with a tracer's file and with the options beside it."""
    path = chosen(name)
    if not isinstance(path, Path):
        return name
    beside = path.with_suffix(".json")
    return ";".join(files.stamp(one) for one in (path, beside) if one.is_file())


def named(graph: dict[str, Any]) -> dict[str, str]:
    """The tracer of every CCM Trace in an API-format graph by the node's id, as tables name it.

    What is linked, or a file that is missing by now, has no name here.
    """
    from ..wdlora.anatomy.tracing.segmenters import tracer_name

    found = {}
    for number, node in graph.items():
        if node.get("class_type") == "CCMTrace":
            inputs = node.get("inputs", {})
            with suppress(InputError, TypeError):
                found[number] = tracer_name(chosen(inputs.get("segmenter", DEFAULT)), inputs.get("detail", ANNOTATED))
    return found


def _register() -> None:
    """Tell ComfyUI, or the embedded host, of the folder."""
    import os

    import folder_paths

    known = folder_paths.folder_names_and_paths
    if KIND not in known:
        known[KIND] = ([os.path.join(folder_paths.models_dir, KIND)], set(SUFFIXES))
