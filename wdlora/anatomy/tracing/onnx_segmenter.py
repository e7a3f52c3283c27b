"""A user's own network as an ONNX file: one grey channel in, one probability out.

What it wants stands in an options file beside it, `NAME.json` for `NAME.onnx`, every line of which may be left out:

    {"pixel_size_um": 1.0417, "grey": "unit", "size": [384, 384], "output": "probability"}

pixel_size_um   the pixels it was trained on; images are brought to them. Without it images come in their own.
grey            what black and white are for it: "unit" 0–1 (the default), "bytes" 0–255, "signed" −1–1, or
                [mean, standard deviation] in 0–255
size            [rows, columns] of the only image it takes; larger ones come in overlapping tiles. Otherwise as the file
                says, and any size where it says none.
output          "probability" (the default) or "logit"
"""

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...files import sha256
from ..scale import PIXEL_LIMITS_UM
from .onnx_file import read_onnx
from .tiles import tiled

GREYS = ("unit", "bytes", "signed")
OUTPUTS = ("probability", "logit")
MULTIPLE = 32
"""Networks that take any size are given sides that are multiples of this."""

LARGEST_SIDE = 4096


@dataclass(frozen=True)
class OnnxOptions:
    """What the options file says; see the module."""

    pixel_size_um: float | None = None
    grey: str | tuple[float, float] = "unit"
    size: tuple[int, int] | None = None
    output: str = "probability"


@dataclass(frozen=True)
class OnnxSegmenter:
    """A network in an ONNX file, ready to run; `digest` is the SHA-256 of the file and of its options together."""

    name: str
    options: OnnxOptions
    session: Any
    size: tuple[int, int] | None
    digest: str

    @property
    def pixel_size_um(self) -> float | None:
        """The pixels that it was trained on in µm; None: those of the image."""
        return self.options.pixel_size_um

    def probability(self, grey: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """Probability of nerve float32 [H, W] of an image float32 [H, W] in 0–255 (see `as_bytes`), in its pixels.

        Raises InputError where the network answers with anything else.
        """
        grey = _scaled(grey, self.options.grey)
        entry, result = self.session.get_inputs()[0].name, self.session.get_outputs()[0].name

        def answer(part: np.ndarray) -> np.ndarray:
            try:
                found = np.asarray(self.session.run([result], {entry: part[None, None].astype(np.float32)})[0])
            except Exception as error:  # the runtime raises classes of its own
                raise InputError(f"{self.name} cannot segment an image ({_line(error)})") from None
            if found.size != part.size or found.shape[-2:] != part.shape:
                raise InputError(
                    f"{self.name} answers with {_sides(found.shape)} to an image of {_sides(part.shape)}: it must give "
                    "one probability per pixel"
                )
            return found.reshape(1, *part.shape).astype(np.float32)

        found = tiled(answer, grey, 1, MULTIPLE, valid, self.size)[0]
        if self.options.output == "logit":
            found = 1 / (1 + np.exp(-np.clip(found, -80, 80)))
        if not np.isfinite(found).all() or found.min() < -1e-3 or found.max() > 1 + 1e-3:
            raise InputError(
                f"{self.name} gives values from {found.min():g} to {found.max():g}, which are not probabilities: write "
                '"output": "logit" into its options if they are logits'
            )
        return np.clip(found, 0, 1)


def load_onnx(path: str | os.PathLike) -> OnnxSegmenter:
    """The network in an ONNX file with its options; kept until either file changes.

    Raises InputError for a file with external data or custom operators, one that is no segmenter, options that are not
    understood, and where onnxruntime is not installed.
    """
    file, beside = Path(path), options_path(path)
    stamps = tuple((one.stat().st_size, one.stat().st_mtime_ns) if one.is_file() else None for one in (file, beside))
    return _load(os.path.abspath(file), stamps)


def options_path(path: str | os.PathLike) -> Path:
    """Where the options of an ONNX file are."""
    return Path(path).with_suffix(".json")


@lru_cache(maxsize=4)
def _load(path: str, stamps: tuple[Any, ...]) -> OnnxSegmenter:
    data = read_onnx(path)
    options = read_options(options_path(path))
    try:
        import onnxruntime
    except ImportError:
        raise InputError(f"{path} needs onnxruntime to run: python -m pip install onnxruntime") from None
    onnxruntime.disable_telemetry_events()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(data, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime raises classes of its own
        raise InputError(f"{path} cannot be loaded by onnxruntime ({_line(error)})") from None
    entries, results = session.get_inputs(), session.get_outputs()
    shape = list(entries[0].shape) if len(entries) == 1 else []
    if len(results) != 1 or len(shape) != 4 or not (shape[1] in (1, None) or isinstance(shape[1], str)):
        told = "; ".join(f"{entry.name} {entry.shape}" for entry in entries)
        raise InputError(
            f"{path} is not a segmenter of grey images: it must take one input [n, 1, rows, columns] and give one "
            f"output, "
            f"and has the inputs {told} and {len(results)} outputs"
        )
    if entries[0].type != "tensor(float)":
        raise InputError(f"{path} takes {entries[0].type}: export the network with 32-bit floats")
    own = (shape[2], shape[3]) if isinstance(shape[2], int) and isinstance(shape[3], int) else None
    if own and options.size and own != options.size:
        raise InputError(f"{path} takes {_sides(own)} pixels, its options say {_sides(options.size)}: correct them")
    beside = options_path(path)
    digest = sha256(path) + (f"+{sha256(beside)}" if beside.is_file() else "")
    return OnnxSegmenter(Path(path).name, options, session, own or options.size, digest)


def read_options(path: Path) -> OnnxOptions:
    """The options of a network; the usual ones where there is no file. Raises InputError for what is not understood."""
    if not path.is_file():
        return OnnxOptions()
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"the options {path} are not readable as JSON ({_line(error)}): correct the file") from None
    known = set(OnnxOptions.__dataclass_fields__)
    if not isinstance(said, dict) or (unknown := sorted(set(said) - known)):
        named = ", ".join(map(repr, unknown)) if isinstance(said, dict) else "a list"
        raise InputError(f"the options {path} hold {named}: known are {', '.join(sorted(known))}")
    size, grey, output = said.get("size"), said.get("grey", "unit"), said.get("output", "probability")
    pixel = said.get("pixel_size_um")
    low, high = PIXEL_LIMITS_UM
    if pixel is not None and not (_is_number(pixel) and low <= pixel <= high):
        raise _bad(path, "pixel_size_um", pixel, f"a number from {low:g} to {high:g}")
    if isinstance(grey, list) and len(grey) == 2 and all(map(_is_number, grey)) and grey[1] > 0:
        grey = (float(grey[0]), float(grey[1]))
    elif grey not in GREYS:
        raise _bad(path, "grey", grey, f"one of {', '.join(GREYS)} or [mean, standard deviation]")
    if size is not None:
        if not (isinstance(size, list) and len(size) == 2 and all(n in range(16, LARGEST_SIDE + 1) for n in size)):
            raise _bad(path, "size", size, "[rows, columns]")
        size = (size[0], size[1])
    if output not in OUTPUTS:
        raise _bad(path, "output", output, f"one of {', '.join(OUTPUTS)}")
    return OnnxOptions(None if pixel is None else float(pixel), grey, size, output)


def as_bytes(image: np.ndarray) -> np.ndarray:
    """Grey values as 0–255, float32: bytes as they are, 16 bits and floats in [0, 1] by their full range, others by
    their own.
    """
    values = np.asarray(image)
    if values.dtype == np.uint8:
        return values.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if values.dtype == np.uint16:
        low, high = 0.0, 65535.0
    elif low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    return ((values.astype(np.float32) - low) * (255 / max(high - low, 1e-12))).astype(np.float32)


def _scaled(grey: np.ndarray, wanted: str | tuple[float, float]) -> np.ndarray:
    if isinstance(wanted, tuple):
        return (grey - wanted[0]) / wanted[1]
    return {"unit": grey / 255, "bytes": grey, "signed": grey / 127.5 - 1}[wanted].astype(np.float32)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and bool(np.isfinite(value))


def _bad(path: Path, name: str, value: Any, wanted: str) -> InputError:
    return InputError(f"the options {path} give {value!r} as {name}: it must be {wanted}")


def _sides(shape: Any) -> str:
    return " × ".join(map(str, shape))


def _line(error: object) -> str:
    return " ".join(str(error).split())[:160]
