"""Picture files opened with a limit: a few kilobytes of PNG or GIF can hold more pixels than the memory takes."""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from ..errors import InputError

LARGEST_PIXELS = 64_000_000
"""Of all frames of a picture together: 768 MB as float32 RGB, or 430 frames of 384 × 384."""

_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    struct.error,
    zlib.error,
)
"""What Pillow's readers raise on damaged files."""


@contextmanager
def opened(file: str | os.PathLike | BytesIO, name: str) -> Iterator[Any]:
    """A PIL image of a file, its pixels not read yet.

    Raises InputError, which calls it `name`, for what is no picture or has more than 64 million pixels, also where
    that shows only while the pixels are read.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as picture:
            check_pixels(picture, name)
            yield picture
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(f"{name} has more than 64 million pixels: make it smaller") from None
    except UnidentifiedImageError:
        raise InputError(f"{name} cannot be read as a picture: its format is not known") from None
    except _BROKEN as problem:
        why = (isinstance(problem, OSError) and problem.strerror) or problem
        raise InputError(f"{name} cannot be read as a picture: {why}") from problem


def check_pixels(picture: Any, name: str, frames: int = 1) -> None:
    """Raise InputError where `frames` frames of a picture's size are more than 64 million pixels."""
    if frames * picture.width * picture.height > LARGEST_PIXELS:
        size = f"{picture.width} × {picture.height}"
        what = f"{size} pixels" if frames == 1 else f"{frames} frames of {size} pixels"
        raise InputError(f"{name} is {what}, more than 64 million: make it smaller")
