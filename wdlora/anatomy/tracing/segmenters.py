"""Which tracer: the network that ships, the line filters, or a file of the user's."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError
from .choices import ANNOTATED, DEFAULT, LINES, LINES_VERSION, NAMES, NETWORK, SUFFIXES, Choice, Function, check_detail

if TYPE_CHECKING:
    from ...hmsvit.file import TrainedHmsvit
    from .learned import LearnedTracer
    from .onnx_segmenter import OnnxSegmenter


def find_segmenter(choice: Choice) -> "LearnedTracer | TrainedHmsvit | OnnxSegmenter | Function | None":
    """What a choice stands for, loaded; None for the line filters. A safetensors file says itself which network it is.

    Raises InputError for another name, and for a file that is missing or no segmenter.
    """
    if callable(choice):
        return choice
    if choice == LINES:
        return None
    if choice == NETWORK:
        from .learned import SHIPPED, load_network

        return load_network(SHIPPED)
    suffix = Path(choice).suffix.lower() if isinstance(choice, str | os.PathLike) else ""
    if suffix not in SUFFIXES:
        raise InputError(
            f"there is no segmenter {choice!r}: give {' or '.join(NAMES)}, or a file that ends in "
            f"{' or '.join(SUFFIXES)}"
        )
    if not Path(choice).is_file():
        raise InputError(f"the segmenter {os.fspath(choice)} does not exist: check the path")
    if suffix == ".onnx":
        from .onnx_segmenter import load_onnx

        return load_onnx(choice)
    return _safetensors(choice)


def _safetensors(path: str | os.PathLike) -> "LearnedTracer | TrainedHmsvit":
    """The tracer's own network or an HMSViT-like one that segments. Raises InputError for any other file."""
    from ...hmsvit.file import KEY, SEGMENTATION, load_hmsvit
    from ...weights.header import read_header
    from .learned import load_network

    if KEY not in read_header(path)[1]:
        return load_network(path)
    found = load_hmsvit(path)
    if found.facts.task != SEGMENTATION:
        raise InputError(f"{path} was trained for {found.facts.task}, not to segment nerves: give another file")
    return found


def tracer_name(segmenter: Choice = DEFAULT, detail: str = ANNOTATED) -> str:
    """The tracer as tables, figures and metadata name it, such as "lines-2" or "network-2 annotated".

    A file's name carries the first digits of its hash; it stands without its folder. Raises InputError as
    `find_segmenter` does.
    """
    check_detail(detail)
    found = find_segmenter(segmenter)
    if found is None:
        return LINES_VERSION
    from .learned import LearnedTracer
    from .onnx_segmenter import OnnxSegmenter

    if isinstance(found, LearnedTracer):
        return f"{found.name if segmenter == NETWORK else f'{found.name} ({found.digest[:8]})'} {detail}"
    from ...hmsvit.file import TrainedHmsvit

    if isinstance(found, TrainedHmsvit):
        return found.name
    if isinstance(found, OnnxSegmenter):
        return f"{found.name} ({found.digest[:8]})"
    return f"function {getattr(found, '__name__', type(found).__name__)}"
