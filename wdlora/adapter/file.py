"""An adapter, from a file and to a file."""

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..files import write_json, write_tensors
from ..weights.base import Weights
from ..weights.dtypes import safetensors_name
from ..weights.header import TensorInfo, open_safetensors, read_header
from . import names
from .configuration import PEFT_CONFIG, PEFT_FILE, Configuration, adapter_files, read_configuration, refuse_shard
from .difference import Difference, difference, same_storage
from .layer import AdapterLayer
from .metadata import Metadata
from .read import MAGNITUDES, ROW_NORMS, layers_of, ranks_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..weights.base import Base

DIALECTS = ("peft", "diffusers", "comfyui")
OTHER_FORMATS = {".bin", ".pt", ".pth", ".ckpt", ".gguf", ".safetensor", ".json"}
BOUND_NOTE = (
    "dora_scale in this file is m*|W|/|W+sBA|, bound to the base named here: exact in stock ComfyUI, whose norm is "
    "that of the base alone (0.33), on this base only, and wrong as soon as ComfyUI evaluates DoRA as published. "
    f"The learned magnitudes are kept in {MAGNITUDES}."
)


@dataclass
class Adapter:
    """A weight-decomposed (or plain) low-rank adapter: its layers by module name, and where it comes from.

    `row_norms` are the norms ‖W‖ [out] of the base that it was trained on, where known; `dialect` is how the file
    that it was read from is written; `notes` are sentences on what that file holds beside it.
    """

    layers: dict[str, AdapterLayer]
    metadata: Metadata = field(default_factory=Metadata)
    dialect: str = "peft"
    row_norms: "dict[str, Tensor] | None" = None
    notes: tuple[str, ...] = ()

    @property
    def rank(self) -> int:
        """The rank; the largest where layers differ."""
        return max((layer.rank for layer in self.layers.values()), default=0)

    @property
    def weight_decomposed(self) -> bool:
        """Whether it has magnitudes (WDLoRA, DoRA) or is a plain LoRA."""
        return any(layer.magnitude is not None for layer in self.layers.values())

    @property
    def parameters(self) -> int:
        """The numbers in all factors and magnitudes."""
        return sum(layer.parameters for layer in self.layers.values())

    @property
    def targets(self) -> tuple[str, ...]:
        """The kinds of modules adapted, e.g. ("attn.to_k", "attn.to_q")."""
        return tuple(sorted({names.block_and_target(name)[1] for name in self.layers}))

    @classmethod
    def load(cls, path: str | os.PathLike, base: "Base | None" = None) -> "Adapter":
        """Read an adapter file of any dialect, or a folder in which peft saved one.

        >>> adapter = Adapter.load("ccm.safetensors")
        >>> layer = adapter.layers["transformer_blocks.0.attn.to_q"]
        >>> adapter.rank, tuple(layer.lora_a.shape), tuple(layer.lora_b.shape), tuple(layer.magnitude.shape)
        (2, (2, 8), (8, 2), (8,))

        With `base` (a file, a folder, tensors) the layers are looked up there and their shapes compared; without it
        they must be named like Qwen-Image's. Raises InputError with one sentence on everything that cannot be used.
        """
        path = file_to_read(path)
        refuse_shard(path)
        infos, strings = read_header(path)
        handle = open_safetensors(path)

        def read(key: str) -> "Tensor":
            return handle.get_tensor(key).clone()  # not mapped: the file stays free to be replaced

        config = read_configuration(path, strings, ranks_of(infos))
        metadata = Metadata.from_strings(strings)
        weights = None if base is None else Weights(base)
        layers, dialect, norms = layers_of(infos, read, config, str(path), weights)
        return cls(layers, metadata, dialect, norms, tuple(config.notes))

    @classmethod
    def from_tensors(
        cls,
        tensors: "Mapping[str, Tensor]",
        config: Mapping[str, Any] | None = None,
        metadata: Metadata | None = None,
    ) -> "Adapter":
        """The adapter in a state dict of any dialect, e.g. of `peft.get_peft_model_state_dict`.

        `config` is the peft configuration as a dict (`LoraConfig.to_dict()`), from which the scalings come.
        """
        infos = {key: TensorInfo(safetensors_name(t.dtype), tuple(t.shape)) for key, t in tensors.items()}
        settings = Configuration(config, "the adapter")
        layers, dialect, norms = layers_of(
            infos, lambda key: tensors[key].detach().cpu().clone(), settings, "the adapter", None
        )
        return cls(layers, metadata or Metadata(), dialect, norms, tuple(settings.notes))

    def save(self, path: str | os.PathLike, dialect: str = "peft", base: "Base | None" = None) -> Path:
        """Write the adapter whole or not at all; returns the path of the safetensors file.

        In the peft dialect a path without `.safetensors` is a folder, which gets peft's `adapter_model.safetensors`
        and `adapter_config.json`; peft and diffusers read both dialects named after them. `base` is needed for
        ComfyUI's dialect (see `state_dict`); in any dialect it adds the base's hash, storage and row norms where
        they are not recorded yet. Raises InputError on a dialect that cannot hold the adapter.
        """
        target = file_to_write(path, dialect)
        weights = None if base is None else Weights(base)
        if weights is not None:
            self.record_base(weights)
        tensors = self.state_dict(dialect, weights)
        metadata = self.metadata.replace(
            rank=self.rank,
            alpha=self._common_alpha(),
            targets=self.targets,
            note=None,
            dora_scale_base=None,
            dora_scale_base_sha256=None,
        )
        if MAGNITUDES in tensors:
            assert weights is not None
            metadata = metadata.replace(
                note=BOUND_NOTE, dora_scale_base=_name(weights), dora_scale_base_sha256=weights.sha256
            )
        if self.row_norms is not None:
            import torch

            tensors[ROW_NORMS] = torch.cat([self.row_norms[name].float() for name in self._natural()])
        strings = {"format": "pt"} | metadata.to_strings()
        if dialect == "peft":
            config = {f"base_model.model.{name}": value for name, value in self.peft_config().items()}
            strings["lora_adapter_metadata"] = json.dumps(config, sort_keys=True)
        try:
            write_tensors(target, tensors, strings)
            if target.name == PEFT_FILE:
                write_json(target.with_name(PEFT_CONFIG), self.peft_config())
        except OSError as error:
            raise InputError(f"{target} cannot be written: {error.strerror or error}") from None
        return target

    def state_dict(self, dialect: str = "peft", base: "Base | None" = None) -> "dict[str, Tensor]":
        """The tensors under a dialect's keys.

        "peft": `base_model.model.…lora_A.weight`, `lora_B.weight`, `lora_magnitude_vector`, for `PeftModel` and
        `set_peft_model_state_dict`; scalings are in the configuration (`peft_config`). "diffusers":
        `transformer.…`, for a pipeline's `load_lora_weights`, the scaling multiplied into B. "comfyui":
        `diffusion_model.…lora_down.weight`, `lora_up.weight`, `alpha`, `dora_scale` [out, 1], which depends on the
        base's weights W: ComfyUI 0.33 divides by ‖W‖ where Eq. 6 divides by ‖W + sBA‖, so that only
        m·‖W‖/‖W + sBA‖ makes it exact. peft and diffusers know magnitudes for all layers only: where some have none,
        theirs become ‖W + sBA‖, for which the base is needed too. Raises InputError where a dialect cannot say what
        the adapter does.
        """
        if dialect == "peft":
            return self._peft_tensors("base_model.model.", False, base)
        if dialect == "diffusers":
            return self._peft_tensors("transformer.", True, base)
        if dialect == "comfyui":
            return self._comfyui_tensors(None if base is None else Weights(base))
        raise InputError(f"the dialect {dialect!r} is not one of {', '.join(DIALECTS)}")

    def peft_config(self) -> dict[str, Any]:
        """peft's `LoraConfig` for this adapter, as the table in `adapter_config.json`."""
        layers = {name: self.layers[name] for name in self._natural()}
        alpha = Counter(layer.alpha for layer in layers.values()).most_common(1)[0][0]
        return {
            "peft_type": "LORA",
            "base_model_name_or_path": self.metadata.base_model,
            "inference_mode": True,
            "r": self.rank,
            "lora_alpha": _whole(alpha),
            "target_modules": list(layers),
            "rank_pattern": {name: layer.rank for name, layer in layers.items() if layer.rank != self.rank},
            "alpha_pattern": {name: _whole(layer.alpha) for name, layer in layers.items() if layer.alpha != alpha},
            "use_dora": self.weight_decomposed,
            "use_rslora": False,
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": False,
        }

    def record_base(self, base: "Base") -> None:
        """Note the base's name, hash, storage and row norms in the adapter, where nothing is noted yet."""
        from ..decomposition import row_sq

        weights = Weights(base)
        self.check_fit(weights)
        known = self.metadata
        same = known.base_sha256 in (None, weights.sha256)
        if known.base_quantisation is not None:
            same = same and same_storage(known.base_quantisation, weights.quantisation)
        if self.row_norms is None and same:
            self.row_norms = {name: row_sq(weights.module(name)).sqrt().float().cpu() for name in self._natural()}
        if self.metadata.base_sha256 is None:
            self.metadata = self.metadata.replace(
                base_model=self.metadata.base_model or _name(weights),
                base_sha256=weights.sha256,
                base_quantisation=self.metadata.base_quantisation or weights.quantisation,
            )

    def difference(self, base: "Base") -> Difference:
        """How far `base` is from the base that the adapter was trained on, by hash, storage and row norms.

        Raises InputError if the base lacks a layer or has another shape there.
        """
        weights = Weights(base)
        self.check_fit(weights)
        return difference(self.metadata, self.row_norms, weights)

    def check_fit(self, base: "Base") -> None:
        """Raise InputError unless the base has every adapted module in the right shape."""
        weights = Weights(base)
        for name, layer in self.layers.items():
            held = weights.shape(f"{name}.weight") if f"{name}.weight" in weights else None
            if held != layer.shape:
                raise InputError(
                    f"the adapter was made for another model: its layer {name} fits a weight of shape "
                    f"{list(layer.shape)}, but {weights.label} has {list(held) if held else 'no such layer'}"
                )

    def _natural(self) -> list[str]:
        return sorted(self.layers, key=names.natural)

    def _common_alpha(self) -> float | None:
        alphas = {layer.alpha for layer in self.layers.values()}
        return alphas.pop() if len(alphas) == 1 else None

    def _peft_tensors(self, prefix: str, folded: bool, base: "Base | None") -> "dict[str, Tensor]":
        tensors = {}
        magnitudes = self._all_magnitudes(base) if self.weight_decomposed else {}
        for name in self._natural():
            layer = self.layers[name]
            if layer.axis == "input" and layer.magnitude is not None:
                raise InputError(
                    f"layer {name} is decomposed over the input axis, which peft and diffusers do not know; "
                    "keep the file as it is, or convert it to comfyui"
                )
            b = layer.lora_b
            if folded and layer.scaling != 1:
                power_of_two = math.frexp(layer.scaling)[0] in (0.5, -0.5)
                b = (b if power_of_two else b.float()) * layer.scaling
            tensors[f"{prefix}{name}.lora_A.weight"] = layer.lora_a
            tensors[f"{prefix}{name}.lora_B.weight"] = b
            if name in magnitudes:
                tensors[f"{prefix}{name}.lora_magnitude_vector"] = magnitudes[name]
        return tensors

    def _all_magnitudes(self, base: "Base | None") -> "dict[str, Tensor]":
        from ..decomposition import row_norm

        plain = [name for name, layer in self.layers.items() if layer.magnitude is None]
        if plain and base is None:
            raise InputError(
                f"{len(plain)} of {len(self.layers)} layers have no magnitude, which peft and diffusers cannot "
                f"express: "
                "give the base (--base), whose weights make them whole"
            )
        weights = Weights(base) if plain and base is not None else None
        if weights is not None:
            self.check_fit(weights)
        found = {}
        for name, layer in self.layers.items():
            if layer.magnitude is not None:
                found[name] = layer.magnitude
            else:
                assert weights is not None
                weight = weights.module(name)
                found[name] = row_norm(weight, layer.lora_a, layer.lora_b, layer.scaling).float().cpu()
        return found

    def _comfyui_tensors(self, base: Weights | None) -> "dict[str, Tensor]":
        import torch

        from ..decomposition import gain, row_sq

        bound = [layer.magnitude for layer in self.layers.values() if layer.axis == "output"]
        if base is None and any(magnitude is not None for magnitude in bound):
            raise InputError(
                "ComfyUI's dialect needs the base model's weights, because stock ComfyUI evaluates the magnitudes "
                "with another norm; give the base that the adapter will be used on (--base)"
            )
        if base is not None:
            self.check_fit(base)
        tensors, magnitudes = {}, []
        for name in self._natural():
            layer = self.layers[name]
            key = f"diffusion_model.{name}"
            tensors[f"{key}.lora_down.weight"] = layer.lora_a
            tensors[f"{key}.lora_up.weight"] = layer.lora_b
            tensors[f"{key}.alpha"] = torch.tensor(layer.alpha, dtype=torch.float32)
            if layer.magnitude is None:
                continue
            if layer.axis == "input":  # there ComfyUI's norm is the published one
                tensors[f"{key}.dora_scale"] = layer.magnitude[None, :]
                continue
            assert base is not None
            weight = base.module(name)
            weight_sq = row_sq(weight)
            g = gain(weight, layer.lora_a, layer.lora_b, layer.magnitude, layer.scaling, weight_sq=weight_sq)
            norm = weight_sq.sqrt() + torch.finfo(torch.float32).eps  # ComfyUI adds it before it divides
            tensors[f"{key}.dora_scale"] = (g * norm).float().cpu()[:, None]
            magnitudes.append(layer.magnitude)
        if magnitudes:
            tensors[MAGNITUDES] = torch.cat(magnitudes)
        return tensors


def file_to_read(path: str | os.PathLike) -> Path:
    """The adapter's file: `path`, or in a folder peft's file, a training's `adapter.safetensors`, or the only one."""
    place = Path(path)
    if not place.is_dir():
        return place
    found = adapter_files(place)
    for preferred in (place / PEFT_FILE, place / "adapter.safetensors"):
        if preferred in found:
            return preferred
    for path in found:
        refuse_shard(path)
    if len(found) != 1:
        raise InputError(f"{place} is a folder with {len(found)} .safetensors files; name the adapter's file")
    return found[0]


def file_to_write(path: str | os.PathLike, dialect: str) -> Path:
    """The file that `Adapter.save` writes: `path`, or in a folder peft's file."""
    place = Path(path)
    if place.suffix == ".safetensors":
        return place
    if dialect != "peft":
        raise InputError(f"{place} must end in .safetensors; only peft's dialect is written to a folder")
    if place.suffix.lower() in OTHER_FORMATS:
        raise InputError(f"{place} must end in .safetensors, the only format written, or name a folder")
    return place / PEFT_FILE


def _name(weights: Weights) -> str | None:
    return Path(weights.label).name if weights.files else None


def _whole(number: float) -> int | float:
    return int(number) if number == int(number) else number
