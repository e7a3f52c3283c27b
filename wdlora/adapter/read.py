"""From the tensors of a file to layers: every dialect, and a sentence for everything that is wrong."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..weights.base import Weights
from ..weights.header import TensorInfo, quoted, several
from . import names
from .layer import AdapterLayer, Axis

if TYPE_CHECKING:
    from torch import Tensor

# Our own tensors: one vector each, the layers' values end to end in natural order of the modules' names.
MAGNITUDES = "wdlora.magnitudes"
ROW_NORMS = "wdlora.base_row_norms"
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
LONGEST_KEY = 512
LARGEST = 3.4e38  # in float32, in which everything is computed
CONFIG_PREFIXES = ("transformer.", "base_model.model.")

Parts = dict[str, dict[str, str]]
Read = Callable[[str], "Tensor"]


class Scalings:
    """The scaling of a layer whose file has no alpha tensor: from a peft configuration, else 1."""

    def __init__(self, config: Mapping[str, Any] | None, label: str):
        config = config or {}
        kind = config.get("peft_type") or "LORA"
        if str(kind).rpartition(".")[2].upper() != "LORA":
            raise InputError(f"{label} is a {quoted(kind)} adapter of peft; only LoRA and DoRA are read")
        self.label = label
        self.alpha = self._number(config.get("lora_alpha"))
        self.root = bool(config.get("use_rslora", False))
        self.use_dora = bool(config.get("use_dora", False))
        patterns = config.get("alpha_pattern") or {}
        if not isinstance(patterns, Mapping):
            raise InputError(f"{label}: alpha_pattern in its configuration is not a table of layers")
        self.patterns = {self._plain(str(name)): self._number(value) for name, value in patterns.items()}

    def of(self, module: str, rank: int) -> float:
        """s = alpha/r, or alpha/√r with rank-stabilised LoRA."""
        alpha = next((a for name, a in self.patterns.items() if f".{module}".endswith(f".{name}")), self.alpha)
        if alpha is None:
            return 1.0
        return alpha / math.sqrt(rank) if self.root else alpha / rank

    def _plain(self, pattern: str) -> str:
        plain = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")
        if re.search(r"[^\w.-]", plain):
            raise InputError(
                f"{self.label}: the alpha_pattern {quoted(pattern)} is a regular expression; "
                "write the layers' names out in its configuration"
            )
        return plain

    def _number(self, value: Any) -> float | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
            raise InputError(f"{self.label}: the alpha {quoted(value)} in its configuration is not a number")
        return float(value)


_DECISIVE = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_dora", "use_rslora")
"""Settings that decide what an adapter does."""


def configuration(path: Path, strings: Mapping[str, str]) -> dict[str, Any] | None:
    """peft's configuration: `adapter_config.json` beside an `adapter_model.safetensors`, else from the metadata.

    Raises InputError where there are both and they scale differently: a save was killed between the two files, or
    one of them was edited.
    """
    beside = path.with_name("adapter_config.json")
    inside = None
    if "lora_adapter_metadata" in strings:
        inside = _table(f"{path}: lora_adapter_metadata", strings["lora_adapter_metadata"])
    if path.name != "adapter_model.safetensors" or not beside.is_file():
        return inside
    found = _table(str(beside), _text(beside))
    if inside is not None and any(found.get(key) != inside.get(key) for key in _DECISIVE):
        raise InputError(
            f"{beside} does not belong to the {path.name} beside it, which was saved with other settings: save the "
            "adapter again, or remove one of the two"
        )
    return found


def _table(where: str, text: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"{where} is not valid JSON") from None
    if not isinstance(config, dict):
        raise InputError(f"{where} is not a table of settings")
    for prefix in CONFIG_PREFIXES:  # a pipeline's file names the component before each setting
        if any(name.startswith(prefix) for name in config):
            return {k.removeprefix(prefix): v for k, v in config.items() if k.startswith(prefix)}
    return config


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise InputError(f"{path} cannot be read as UTF-8 text") from None


def layers_of(
    infos: Mapping[str, TensorInfo], read: Read, scalings: Scalings, label: str, base: Weights | None = None
) -> "tuple[dict[str, AdapterLayer], str, dict[str, Tensor] | None]":
    """The layers by module name in natural order, the dialect, and the base's row norms if the file has them.

    `infos` is what the tensors are, `read` gives one. Raises InputError with one sentence that begins with `label`
    on everything that cannot be used; nothing is read before names and shapes have been found sound.
    """
    parts, dialect = _sorted_keys(infos, label, base)
    for module, keys in parts.items():
        _check_shapes(module, {part: (key, infos[key]) for part, key in keys.items()}, label, base)
    with_magnitude = [module for module, keys in parts.items() if "magnitude" in keys or "dora_scale" in keys]
    without = [module for module in parts if module not in set(with_magnitude)]
    if with_magnitude and without:
        raise InputError(
            f"{label} has magnitudes for {len(with_magnitude)} of {len(parts)} layers; "
            f"they are missing for {several(without)}"
        )
    if scalings.use_dora and not with_magnitude:
        raise InputError(f"{label} is configured with use_dora but holds no magnitude; the file is incomplete")

    def tensor(key: str) -> "Tensor":
        value = read(key)
        finite = value.float() if value.element_size() == 1 else value
        if value.is_floating_point() and not bool(finite.isfinite().all()):
            bad = int((~finite.isfinite()).sum())
            raise InputError(f"{label} has {bad} NaN or infinite values in {quoted(key)}; it cannot be used")
        return value

    layers: dict[str, AdapterLayer] = {}
    for module, keys in parts.items():
        a, b = tensor(keys["lora_a"]), tensor(keys["lora_b"])
        rank = a.shape[0]
        scaling = float(tensor(keys["alpha"]).reshape(())) / rank if "alpha" in keys else scalings.of(module, rank)
        if not abs(scaling) <= LARGEST:
            raise InputError(f"{label}: layer {quoted(module)} has the scaling {scaling:g}, too large for float32")
        axis: Axis = "output"
        magnitude = None
        if "magnitude" in keys:
            magnitude = tensor(keys["magnitude"]).reshape(-1)
        elif "dora_scale" in keys:
            magnitude = tensor(keys["dora_scale"])
            axis = _axis(tuple(magnitude.shape))
            magnitude = magnitude.reshape(-1)
        layers[module] = AdapterLayer(a, b, magnitude, scaling, axis)

    if MAGNITUDES in infos:
        own = [layer for layer in layers.values() if layer.magnitude is not None and layer.axis == "output"]
        vector = tensor(MAGNITUDES)
        values = _unpacked(vector, [layer.shape[0] for layer in own], MAGNITUDES, label)
        for layer, value in zip(own, values, strict=True):
            layer.magnitude = value
        dialect += ", bound to one base"
    norms = None
    if ROW_NORMS in infos:
        values = _unpacked(tensor(ROW_NORMS), [layer.shape[0] for layer in layers.values()], ROW_NORMS, label)
        norms = dict(zip(layers, values, strict=True))
    return layers, dialect, norms


def _sorted_keys(infos: Mapping[str, TensorInfo], label: str, base: Weights | None) -> tuple[Parts, str]:
    """Which key holds which part of which module, modules in natural order; and the dialect."""
    modules = None if base is None else [n.removesuffix(".weight") for n in base if n.endswith(".weight")]
    known = None if modules is None else set(modules)
    parts: Parts = {}
    dialects: Counter[str] = Counter()
    unknown: list[str] = []
    foreign: list[str] = []
    keys = [key for key in sorted(infos) if key not in (MAGNITUDES, ROW_NORMS)]
    for key in keys:
        parsed = names.parse(key) if len(key) <= LONGEST_KEY else None
        if parsed is None:
            unknown.append(key)
            continue
        module: str | None = parsed.module
        if parsed.flat:
            module = names.unflattened(parsed.module, modules)
        if module is None or not (names.is_qwen_image(module) if known is None else module in known):
            foreign.append(key)
            continue
        held = parts.setdefault(module, {})
        part = parsed.part
        twin = held.get(part) or held.get({"magnitude": "dora_scale", "dora_scale": "magnitude"}.get(part, ""))
        if twin:
            raise InputError(f"{label} holds the same part of a layer twice: {quoted(twin)} and {quoted(key)}")
        held[part] = key
        if part == "lora_a":
            dialects[parsed.dialect] += 1
    if method := names.other_method(unknown):
        raise InputError(
            f"{label} is not a LoRA: {len(method[1])} of its {len(keys)} keys belong to {method[0]}, such as "
            f"{quoted(method[1][0])}; only low-rank factors, with or without magnitudes, are read"
        )
    if unknown:
        if len(unknown) == len(keys):
            raise InputError(f"{label} holds no LoRA layer: none of its {len(keys)} keys is known ({several(unknown)})")
        raise InputError(
            f"{label} holds {len(unknown)} unknown key{'s' * (len(unknown) > 1)} among {len(keys)}: {several(unknown)}"
        )
    if not keys:
        raise InputError(f"{label} holds no LoRA layer; it has no tensors")
    if foreign:
        where = "Qwen-Image's transformer" if base is None else base.label
        raise InputError(
            f"{label} was made for another model: {len(foreign)} of its {len(keys)} keys name layers that "
            f"{where} does not have, such as {quoted(foreign[0])}"
        )
    for module, held in parts.items():
        for part, spelled in (("lora_a", "A (lora_A or lora_down)"), ("lora_b", "B (lora_B or lora_up)")):
            if part not in held:
                raise InputError(f"{label}: layer {quoted(module)} has no {spelled}; the file is incomplete")
    ordered = {module: parts[module] for module in sorted(parts, key=names.natural)}
    return ordered, " + ".join(name for name, _ in dialects.most_common())


def _check_shapes(module: str, held: dict[str, tuple[str, TensorInfo]], label: str, base: Weights | None) -> None:
    """Raise InputError unless the parts of a layer fit one another and the base."""
    for part, (key, info) in held.items():
        if info.dtype not in FLOATS and not (part == "alpha" and re.fullmatch(r"[IU]\d+", info.dtype)):
            raise InputError(f"{label}: {quoted(key)} is stored as {quoted(info.dtype)}, not as floating numbers")
    a, b = held["lora_a"][1].shape, held["lora_b"][1].shape
    where = f"{label}: layer {quoted(module)}"
    if len(a) != 2 or len(b) != 2:
        raise InputError(f"{where} has A of shape {list(a)} and B of shape {list(b)}; both must have two axes")
    if a[0] == 0 or b[1] == 0:
        raise InputError(f"{where} has rank 0 (A is {list(a)}, B is {list(b)}); there is nothing to apply")
    if 0 in a or 0 in b:
        raise InputError(f"{where} is empty: A is {list(a)}, B is {list(b)}")
    if a[0] != b[1]:
        raise InputError(f"{where} does not fit together: A is {list(a)}, B is {list(b)}, their ranks differ")
    if "alpha" in held and math.prod(held["alpha"][1].shape) != 1:
        raise InputError(f"{where} has an alpha of shape {list(held['alpha'][1].shape)}; it must be one number")
    if "magnitude" in held and held["magnitude"][1].shape not in ((b[0],), (b[0], 1), (1, b[0])):
        shape = list(held["magnitude"][1].shape)
        raise InputError(f"{where} has a magnitude of shape {shape}, but B is {list(b)}: {b[0]} numbers are needed")
    if "dora_scale" in held and held["dora_scale"][1].shape not in ((b[0],), (b[0], 1), (1, a[1])):
        shape = list(held["dora_scale"][1].shape)
        raise InputError(
            f"{where} has a dora_scale of shape {shape}; with A {list(a)} and B {list(b)} it must be "
            f"[{b[0]}, 1] (output axis) or [1, {a[1]}] (input axis)"
        )
    if base is not None:
        shape_of_base = base.shape(f"{module}.weight")
        if shape_of_base != (b[0], a[1]):
            raise InputError(
                f"{where} fits a weight of shape {[b[0], a[1]]}, but {base.label} has {list(shape_of_base)} "
                "there; the adapter was made for another model"
            )


def _axis(shape: tuple[int, ...]) -> Axis:
    """Over which axis a dora_scale decomposes: [out] and [out, 1] the output, [1, in] the input."""
    return "input" if len(shape) == 2 and shape[0] == 1 and shape[1] > 1 else "output"


def _unpacked(vector: "Tensor", sizes: list[int], key: str, label: str) -> "list[Tensor]":
    if tuple(vector.shape) != (sum(sizes),) or not vector.is_floating_point():
        raise InputError(
            f"{label}: {quoted(key)} has shape {list(vector.shape)}, but its layers need [{sum(sizes)}]; "
            "the file was changed after it was written"
        )
    return [piece.clone() for piece in vector.split(sizes)]
