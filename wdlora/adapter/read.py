"""From the tensors of a file to layers: every dialect, and a sentence for everything that is wrong."""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import InputError
from ..weights.base import Weights
from ..weights.header import TensorInfo, quoted, several
from . import names
from .configuration import LARGEST, Configuration
from .layer import AdapterLayer, Axis

if TYPE_CHECKING:
    from torch import Tensor

# Our own tensors: one vector each, the layers' values end to end in natural order of the modules' names.
MAGNITUDES = "wdlora.magnitudes"
ROW_NORMS = "wdlora.base_row_norms"
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
LONGEST_KEY = 512
IN_CORE = "load it with ComfyUI's own LoRA loader (LoraLoaderModelOnly), before WDLoRA Apply"

Parts = dict[str, dict[str, str]]
Read = Callable[[str], "Tensor"]


@dataclass
class Keys:
    """The keys of a file, sorted: `parts` by module in natural order; `aside`, which may only be left out where they
    change nothing: text encoders' factors and differences of whole weights and biases."""

    parts: Parts
    dialect: str
    aside: list[str] = field(default_factory=list)


def layers_of(
    infos: Mapping[str, TensorInfo], read: Read, config: Configuration, label: str, base: Weights | None = None
) -> "tuple[dict[str, AdapterLayer], str, dict[str, Tensor] | None]":
    """The layers by module name in natural order, the dialect, and the base's row norms if the file has them.

    `infos` is what the tensors are, `read` gives one; what was left out without loss is added to `config.notes`.
    Raises InputError with one sentence that begins with `label` on everything that cannot be used; no layer is read
    before names and shapes have been found sound.
    """
    keys = _sorted_keys(infos, label, base)
    for module, held in keys.parts.items():
        _check_shapes(module, {part: (key, infos[key]) for part, key in held.items()}, label, base)
        config.check_rank(module, infos[held["lora_a"]].shape[0])
    _check_magnitudes(keys.parts, config, label)
    _check_aside(keys.aside, infos, read, config, label)

    def tensor(key: str) -> "Tensor":
        value = read(key)
        finite = value.float() if value.element_size() == 1 else value
        if value.is_floating_point() and not bool(finite.isfinite().all()):
            bad = int((~finite.isfinite()).sum())
            raise InputError(f"{label} has {bad} NaN or infinite values in {quoted(key)}; it cannot be used")
        return value

    layers = {module: _layer(module, held, tensor, config, label) for module, held in keys.parts.items()}
    dialect = keys.dialect
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


def ranks_of(infos: Mapping[str, TensorInfo]) -> dict[str, int]:
    """The ranks of Qwen-Image's layers by module name, as far as the keys tell."""
    ranks = {}
    for key, info in infos.items():
        parsed = names.parse(key) if len(key) <= LONGEST_KEY else None
        if parsed is not None and parsed.part == "lora_a" and info.shape:
            module = names.unflattened(parsed.module) if parsed.flat else parsed.module
            if module is not None and names.is_qwen_image(module):
                ranks[module] = info.shape[0]
    return ranks


def _layer(module: str, held: dict[str, str], tensor: Read, config: Configuration, label: str) -> AdapterLayer:
    a, b = tensor(held["lora_a"]).flatten(1), tensor(held["lora_b"]).flatten(1)  # [r, in, 1, 1] → [r, in]
    rank = a.shape[0]
    scaling = float(tensor(held["alpha"]).reshape(())) / rank if "alpha" in held else config.scaling(module, rank)
    if not abs(scaling) <= LARGEST:
        raise InputError(f"{label}: layer {quoted(module)} has the scaling {scaling:g}, too large for float32")
    axis: Axis = "output"
    magnitude = None
    if "magnitude" in held:
        magnitude = tensor(held["magnitude"]).reshape(-1)
    elif "dora_scale" in held:
        magnitude = tensor(held["dora_scale"])
        axis = _axis(_linear(tuple(magnitude.shape)))
        magnitude = magnitude.reshape(-1)
    return AdapterLayer(a, b, magnitude, scaling, axis)


def _check_magnitudes(parts: Parts, config: Configuration, label: str) -> None:
    """Magnitudes on some layers only are a mixture, unless the configuration says that all have one."""
    without = [module for module, held in parts.items() if not {"magnitude", "dora_scale"} & held.keys()]
    if not without:
        return
    if len(without) == len(parts):
        if config.use_dora:
            raise InputError(f"{label} is configured with use_dora but holds no magnitude; the file is incomplete")
    elif config.use_dora:
        raise InputError(
            f"{label} is configured with use_dora but has magnitudes for {len(parts) - len(without)} of {len(parts)} "
            f"layers; they are missing for {several(without)}"
        )
    else:
        config.notes.append(
            f"{len(parts) - len(without)} of {len(parts)} layers have magnitudes; the others are plain LoRA"
        )


def _check_aside(
    keys: list[str], infos: Mapping[str, TensorInfo], read: Read, config: Configuration, label: str
) -> None:
    """Note the keys that change nothing; raise InputError for those that do."""
    if config.lora_bias and not any(".bias" in key for key in keys):
        raise InputError(f"{label} is configured with lora_bias but holds no bias; the file is incomplete")

    def zero(key: str) -> bool:
        value = read(key)
        return not bool((value.float() if value.element_size() == 1 else value).count_nonzero())

    differences = [key for key in keys if names.DIFFERENCES.fullmatch(key)]
    changing = [key for key in differences if not zero(key)]
    if changing:
        name, found = names.other_method(changing) or ("differences", changing)
        raise InputError(_not_a_lora(label, len(infos), name, found))
    encoder = [key for key in keys if not names.DIFFERENCES.fullmatch(key)]
    modules: Parts = {}
    for key in encoder:
        parsed = names.parse(key)
        assert parsed is not None
        modules.setdefault(parsed.module, {})[parsed.part] = key
    for held in modules.values():
        halves = [held[part] for part in ("lora_a", "lora_b") if part in held]
        alone = held.keys() == {"alpha"}
        if not alone and ({"magnitude", "dora_scale"} & held.keys() or not any(zero(half) for half in halves)):
            raise InputError(_of_another_model(label, encoder, len(infos), "Qwen-Image's transformer"))
    if encoder:
        config.notes.append(f"{len(encoder)} keys of a text encoder were left out: they change nothing (all zero)")
    if differences:
        config.notes.append(
            f"{len(differences)} keys of differences ({several(differences, 1)}) were left out: all are zero"
        )


def _sorted_keys(infos: Mapping[str, TensorInfo], label: str, base: Weights | None) -> Keys:
    """Which key holds which part of which module, modules in natural order; and the dialect."""
    modules = None if base is None else [n.removesuffix(".weight") for n in base if n.endswith(".weight")]
    known = None if modules is None else set(modules)
    parts: Parts = {}
    dialects: Counter[str] = Counter()
    unknown: list[str] = []
    foreign: list[str] = []
    aside: list[str] = []
    keys = [key for key in sorted(infos) if key not in (MAGNITUDES, ROW_NORMS)]
    for key in keys:
        parsed = names.parse(key) if len(key) <= LONGEST_KEY else None
        if parsed is None:
            (aside if len(key) <= LONGEST_KEY and names.DIFFERENCES.fullmatch(key) else unknown).append(key)
            continue
        module: str | None = parsed.module
        if parsed.flat:
            module = names.unflattened(parsed.module, modules)
        if module is None or not (names.is_qwen_image(module) if known is None else module in known):
            (aside if names.of_text_encoder(key) else foreign).append(key)
            continue
        held = parts.setdefault(module, {})
        part = parsed.part
        twin = held.get(part) or held.get({"magnitude": "dora_scale", "dora_scale": "magnitude"}.get(part, ""))
        if twin:
            raise InputError(f"{label} holds the same part of a layer twice: {quoted(twin)} and {quoted(key)}")
        held[part] = key
        if part == "lora_a":
            dialects[parsed.dialect] += 1
    _refuse_keys(keys, unknown, foreign, label, "Qwen-Image's transformer" if base is None else base.label)
    if not parts:
        _refuse_no_layer(aside, label)
    for module, held in parts.items():
        for part, spelled in (("lora_a", "A (lora_A or lora_down)"), ("lora_b", "B (lora_B or lora_up)")):
            if part not in held:
                raise InputError(f"{label}: layer {quoted(module)} has no {spelled}; the file is incomplete")
    ordered = {module: parts[module] for module in sorted(parts, key=names.natural)}
    return Keys(ordered, " + ".join(name for name, _ in dialects.most_common()), aside)


def _refuse_keys(keys: list[str], unknown: list[str], foreign: list[str], label: str, where: str) -> None:
    """Raise InputError, which says what they are, on keys that are no part of a low-rank adapter of this model."""
    if method := names.other_method(unknown):
        raise InputError(_not_a_lora(label, len(keys), *method))
    if unknown:
        kind = next((found for key in unknown if (found := names.what(key))), "")
        listed = several(unknown) + (f": {kind}" if kind else "")
        if len(unknown) == len(keys):
            raise InputError(f"{label} holds no LoRA layer: none of its {len(keys)} keys is known ({listed})")
        raise InputError(
            f"{label} holds {len(unknown)} unknown key{'s' * (len(unknown) > 1)} among {len(keys)}: {listed}"
        )
    if foreign:
        raise InputError(_of_another_model(label, foreign, len(keys), where))


def _refuse_no_layer(aside: list[str], label: str) -> None:
    if not aside:
        raise InputError(f"{label} holds no LoRA layer; it has no tensors")
    if method := names.other_method(aside):
        raise InputError(_not_a_lora(label, len(aside), *method))
    raise InputError(_of_another_model(label, aside, len(aside), "Qwen-Image's transformer"))


def _not_a_lora(label: str, keys: int, name: str, found: list[str]) -> str:
    advice = f"; {IN_CORE}" if names.IN_CORE.match(name) else ""
    return (
        f"{label} is not a LoRA: {len(found)} of its {keys} keys belong to {name}, such as {quoted(found[0])}; "
        f"only low-rank factors, with or without magnitudes, are read{advice}"
    )


def _of_another_model(label: str, found: list[str], keys: int, where: str) -> str:
    owner = names.whose(found[0])
    advice = f"; {IN_CORE}" if names.of_text_encoder(found[0]) else ""
    return (
        f"{label} was made for another model: {len(found)} of its {keys} keys name layers that {where} does not "
        f"have, such as {quoted(found[0])}" + (f", of {owner}" if owner else "") + advice
    )


def _check_shapes(module: str, held: dict[str, tuple[str, TensorInfo]], label: str, base: Weights | None) -> None:
    """Raise InputError unless the parts of a layer fit one another and the base."""
    for part, (key, info) in held.items():
        if info.dtype not in FLOATS and not (part == "alpha" and re.fullmatch(r"[IU]\d+", info.dtype)):
            raise InputError(f"{label}: {quoted(key)} is stored as {quoted(info.dtype)}, not as floating numbers")
    a, b = _linear(held["lora_a"][1].shape), _linear(held["lora_b"][1].shape)
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
    if "magnitude" in held and _linear(held["magnitude"][1].shape) not in ((b[0],), (b[0], 1), (1, b[0])):
        shape = list(held["magnitude"][1].shape)
        raise InputError(f"{where} has a magnitude of shape {shape}, but B is {list(b)}: {b[0]} numbers are needed")
    if "dora_scale" in held and _linear(held["dora_scale"][1].shape) not in ((b[0],), (b[0], 1), (1, a[1])):
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


def _linear(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without the 1 × 1 of a linear layer that was stored as a convolution."""
    return shape[:2] if len(shape) == 4 and shape[2:] == (1, 1) else shape


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
