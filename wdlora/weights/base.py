"""Read a model's weights one tensor at a time: a safetensors file, a sharded folder or tensors in memory.

Scaled fp8 and int8 storage is dequantised on reading; what cannot be is refused by its name.
"""

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import InputError
from ..files import sha256
from ..temporaries import visible
from .dtypes import TORCH_NAMES, safetensors_name
from .header import TensorInfo, one_line, open_safetensors, quoted, read_header, several

if TYPE_CHECKING:
    from torch import Tensor

    # A model's weights: a safetensors file, a folder in diffusers' layout, tensors by name, or any of them opened.
    Base: TypeAlias = "str | os.PathLike | Mapping[str, Tensor] | Weights"

# The folders and files in which diffusers keeps a transformer, in the order in which they are looked for.
INDEX_NAMES = ("diffusion_pytorch_model.safetensors.index.json", "model.safetensors.index.json")
# Longest first: a ComfyUI checkpoint, ComfyUI's own state dict.
PREFIXES = ("model.diffusion_model.", "diffusion_model.")
# The scale of a quantised weight `X.weight`: since 2025 the second name, before that the first.
SCALES = (".scale_weight", ".weight_scale")
FLOAT8_NAMES = {"F8_E4M3", "F8_E5M2"}


class Weights:
    """A model's weights under their module names, whatever prefix the file gives them, read when asked for.

    `source` is a .safetensors file, a folder in diffusers' layout (a `transformer` subfolder, an index and its
    shards, or one file), or a mapping of names to tensors such as a `state_dict()`. Iterating gives the names.
    """

    readable = "bf16, fp8 or int8"
    """What a refusal advises instead."""

    def __init__(self, source: "Base"):
        self.files: list[Path] = []
        self.label = "tensors in memory"
        self._tensors: Mapping[str, Tensor] = {}
        self._handles: dict[Path, Any] = {}
        self._layer_formats: dict[str, dict[str, Any]] = {}
        stored: dict[str, tuple[Path | None, TensorInfo]] = {}
        if isinstance(source, Weights):
            self.__dict__.update(source.__dict__)
            return
        if isinstance(source, Mapping):
            self._tensors = source
            for name, tensor in source.items():
                stored[name] = None, TensorInfo(safetensors_name(tensor.dtype), tuple(tensor.shape))
        else:
            self.label = str(source)
            self.files = _files(Path(source))
            for file in self.files:
                tensors, metadata = read_header(file)
                stored |= {name: (file, info) for name, info in tensors.items()}
                self._layer_formats |= _quantisation_metadata(file, metadata)
        self._stored = _without_prefix(stored)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, from the header."""
        return self._entry(name)[2].shape

    def read(self, name: str) -> "Tensor":
        """A tensor as stored, or fp32 [out, in] where a scale had to be applied to a quantised weight.

        Raises InputError if there is no such tensor or its quantisation is not understood.
        """
        tensor = self._raw(name)
        if not name.endswith(".weight"):
            return tensor
        layer = name.removesuffix(".weight")
        conf = self._format(layer)
        kind = conf.get("format")
        if kind not in (None, "float8_e4m3fn", "float8_e5m2", "int8_tensorwise"):
            raise self._refused(name, str(kind))
        if not tensor.dtype.is_floating_point and kind != "int8_tensorwise":
            four_bit = any(n.startswith(f"{name}.") for n in self)
            raise self._refused(name, "bitsandbytes" if four_bit else str(tensor.dtype).removeprefix("torch."))
        scale_name = self._scale(name)
        if scale_name is None:
            if kind == "int8_tensorwise":
                raise InputError(f"{self.label} holds {quoted(name)} in int8 without its scale; it is incomplete")
            return tensor
        scale = self._raw(scale_name).float()
        weight = tensor.float() * (scale.reshape(()) if scale.numel() == 1 else scale.reshape(-1, 1))
        if conf.get("convrot"):
            weight = self._unrotate(name, weight, conf.get("convrot_groupsize", 256))
        return weight

    def module(self, name: str) -> "Tensor":
        """The weight [out, in] of a linear module."""
        return self.read(f"{name}.weight")

    @cached_property
    def sha256(self) -> str | None:
        """Of one file its SHA-256; of several, the SHA-256 over the lines "hash  name"; None in memory."""
        if not self.files:
            return None
        if len(self.files) == 1:
            return sha256(self.files[0])
        lines = "".join(f"{sha256(file)}  {file.name}\n" for file in self.files)
        return hashlib.sha256(lines.encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes in its files."""
        return sum(file.stat().st_size for file in self.files)

    @cached_property
    def quantisation(self) -> str:
        """The storage of the linear weights, e.g. "bfloat16", "float8_e4m3fn, scaled"; mixtures joined by " + "."""
        counts: Counter[str] = Counter()
        for name, (_, _, info) in self._stored.items():
            if name.endswith(".weight") and len(info.shape) == 2:
                counts[self._storage(name.removesuffix(".weight"), info)] += math.prod(info.shape)
        total = sum(counts.values())
        return " + ".join(kind for kind, n in counts.most_common() if n >= 0.05 * total) or "unknown"

    def close(self) -> None:
        """Let go of the files."""
        self._handles.clear()

    def _storage(self, layer: str, info: TensorInfo) -> str:
        conf = self._format(layer)
        if conf.get("format"):
            return f"{conf['format']}{', scaled' if 'float8' in conf['format'] else ''}"
        scaled = any(layer + suffix in self for suffix in SCALES)
        return TORCH_NAMES.get(info.dtype, info.dtype.lower()) + (", scaled" if scaled else "")

    def _format(self, layer: str) -> dict[str, Any]:
        """The quantisation that ComfyUI noted for a layer, in a tensor of JSON bytes or in the metadata."""
        if f"{layer}.comfy_quant" in self:
            try:
                conf = json.loads(bytes(self._raw(f"{layer}.comfy_quant").tolist()))
            except (ValueError, TypeError, RecursionError):
                raise InputError(f"{self.label} has an unreadable {quoted(layer + '.comfy_quant')}") from None
        else:
            conf = self._layer_formats.get(layer, {})
        if not isinstance(conf, dict):
            return {}
        params = conf.get("params")
        return params | conf if isinstance(params, dict) else conf

    def _scale(self, name: str) -> str | None:
        """The name of a weight's scale, which is one number or one a row; None where it has none. From the header.

        Raises InputError for scales of other shapes, and for fp8 beside which lies what might be a scale.
        """
        if not name.endswith(".weight"):
            return None
        layer, info = name.removesuffix(".weight"), self._entry(name)[2]
        unknown = [n for n in self._companions.get(layer, ()) if n.removeprefix(layer) not in SCALES]
        if info.dtype in FLOAT8_NAMES and unknown:
            raise self._refused(name, f"fp8 with {unknown[0].removeprefix(layer + '.')}")
        scale = next((layer + suffix for suffix in SCALES if layer + suffix in self), None)
        if scale is not None:
            shape = self.shape(scale)
            rows = [(info.shape[0],), (info.shape[0], 1)] if len(info.shape) == 2 else []
            if math.prod(shape) != 1 and shape not in rows:
                raise self._refused(name, f"scales of shape {shape}")
        return scale

    @cached_property
    def _companions(self) -> dict[str, list[str]]:
        """The tensors `X.weight_…` by X, found once: a model has thousands of either."""
        found: dict[str, list[str]] = {}
        for name in self:
            layer, separator, _ = name.partition(".weight_")
            if separator:
                found.setdefault(layer, []).append(name)
        return found

    def _entry(self, name: str) -> tuple[str, Path | None, TensorInfo]:
        try:
            return self._stored[name]
        except KeyError:
            raise InputError(f"{self.label} has no tensor {quoted(name)}") from None

    def _raw(self, name: str) -> "Tensor":
        key, file, _ = self._entry(name)
        if file is None:
            return self._tensors[key].detach()
        if file not in self._handles:
            self._handles[file] = open_safetensors(file)
        try:
            return self._handles[file].get_tensor(key)
        except Exception as error:  # whatever the native reader raises
            raise InputError(f"{file}: {quoted(key)} cannot be read: {one_line(error)}") from None

    def _refused(self, name: str, kind: str) -> InputError:
        return InputError(
            f"{self.label} holds {quoted(name)} quantised as {quoted(kind)}, which cannot be dequantised here; "
            f"give the {self.readable} file of the same model"
        )

    def _unrotate(self, name: str, weight: "Tensor", group: Any) -> "Tensor":
        if type(group) is not int or group < 4 or weight.shape[1] % group or 4 ** round(math.log(group, 4)) != group:
            raise self._refused(name, f"convrot in groups of {group}")
        return (weight.unflatten(1, (-1, group)) @ _hadamard(group)).flatten(1)


@cache
def _hadamard(size: int) -> "Tensor":
    """The symmetric orthogonal matrix by which int8 "convrot" storage rotates groups of inputs.

    It is the Kronecker power of the regular 4×4 Hadamard matrix (ones, -1 on the antidiagonal), over √size;
    being its own inverse it also rotates back. `size` is a power of 4.
    """
    import torch

    four = torch.ones(4, 4) - 2 * torch.eye(4).flip(0)
    matrix = torch.ones(1, 1)
    while matrix.shape[0] < size:
        matrix = torch.kron(matrix, four)
    return matrix / math.sqrt(size)


def _files(path: Path) -> list[Path]:
    """The safetensors files of a model, from the path of the file or of a folder in diffusers' layout."""
    if not path.is_dir():
        if not path.exists():
            raise InputError(f"{path} does not exist")
        return [path]
    for folder in (path, path / "transformer"):
        for index in (*(folder / name for name in INDEX_NAMES), *visible(folder, "*.safetensors.index.json")):
            if index.is_file():
                return _shards(index)
        found = visible(folder, "*.safetensors")
        if len(found) == 1:
            return found
        if len(found) > 1:
            raise InputError(f"{folder} holds {len(found)} .safetensors files and no index; name one of them")
    raise InputError(f"{path} holds neither a .safetensors file nor an index of shards")


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        plain = all(Path(name).name == name for name in names)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError):
        raise InputError(f"{index} is not an index of safetensors shards") from None
    if not names or not plain:
        raise InputError(f"{index} must name its shards by plain file names in its own folder")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise InputError(f"{index.parent} lacks {len(missing)} of {len(names)} shards: {several(missing)}")
    return [index.parent / name for name in names]


def _quantisation_metadata(file: Path, metadata: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    text = metadata.get("_quantization_metadata")
    if text is None:
        return {}
    try:
        layers = json.loads(text)["layers"]
        return {_strip(name): dict(conf) for name, conf in layers.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError(f"{file} has unreadable quantisation metadata") from None


def _strip(name: str) -> str:
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _without_prefix(
    stored: Mapping[str, tuple[Path | None, TensorInfo]],
) -> dict[str, tuple[str, Path | None, TensorInfo]]:
    """Module names → (stored name, file, info); of a full checkpoint only the diffusion model is kept."""
    prefix = next((p for p in PREFIXES if any(name.startswith(p) for name in stored)), "")
    return {
        name.removeprefix(prefix).replace(".base_layer.", "."): (name, file, info)
        for name, (file, info) in stored.items()
        if name.startswith(prefix)
    }
