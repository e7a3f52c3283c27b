"""What can be chosen of a tracer, by name."""

import os
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from ...errors import InputError

Function = Callable[[np.ndarray], np.ndarray]
"""A learned segmenter in memory: the image [H, W] as given → probability of nerve [H, W], 0–1."""

Choice: TypeAlias = "str | os.PathLike | Function"
"""What `trace` takes for `segmenter`: one of `NAMES`, a file that ends in one of `SUFFIXES`, or a function."""

NETWORK, LINES = "network", "lines"
NAMES = (NETWORK, LINES)
DEFAULT = NETWORK
SUFFIXES = (".safetensors", ".onnx")

ANNOTATED, VISIBLE = "annotated", "visible"
DETAILS = (ANNOTATED, VISIBLE)
"""What a network gives the probability of: the nerves that an expert draws, and all that can be seen."""

LINES_VERSION = "lines-2"


def check_detail(detail: str) -> None:
    """Raise InputError for a detail that is none."""
    if detail not in DETAILS:
        raise InputError(f"there is no detail {detail!r}: give {' or '.join(DETAILS)}")
