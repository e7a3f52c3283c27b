"""The configuration of a fine-tune, and the presets that fill it.

A preset is a TOML file of `training/presets`. Every field it sets says where the value comes from: `paper`
(stated there), `inferred` (follows from what the paper states) or `ours`.
"""

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from wdlora.errors import InputError
from wdlora.temporaries import visible
from wdlora.toml_file import read_toml

if TYPE_CHECKING:
    from wdlora.qwen.sampling import Sampling

PRESETS = Path(__file__).parent / "presets"
SOURCES = ("paper", "inferred", "ours")

TARGETS: dict[str, tuple[str, ...]] = {
    "attention": ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
    "text_attention": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out"),
    "mlp": ("img_mlp.net.0.proj", "img_mlp.net.2"),
    "text_mlp": ("txt_mlp.net.0.proj", "txt_mlp.net.2"),
    "mapping": ("img_in", "txt_in", "proj_out"),
}
"""Groups of linear layers of QwenImageTransformer2DModel, by the ends of their names."""

WIDTH = 3072
"""Of its residual streams: no update of a layer has a larger rank."""

_AT_LEAST_ONE = (
    *("rank", "steps", "batch_size", "accumulation", "views"),
    *("sample_steps", "save_every", "keep_checkpoints", "log_every"),
)
_LARGEST = 1e30  # room in float32 for what Adam divides by 1 - beta1
_BELOW_ONE = (
    *("prompt_dropout", "reference_dropout", "validation_share", "test_share"),
    *("ema_decay", "beta1", "beta2"),
)
_POSITIVE = ("alpha", "learning_rate", "timestep_shift", "sample_shift")
_NOT_NEGATIVE = (
    *("weight_decay", "warmup_steps", "cosine_cycles", "max_grad_norm", "foreground_weight", "background_weight"),
    *("timestep_std", "seed", "sample_every", "sample_cfg"),
)
_ONLY_WITH = {
    "extra_rank": ("method", ("lora",)),
    "norm_gradient": ("method", ("wdlora", "magnitude")),
    "timestep_mean": ("timesteps", ("logit_normal", "shifted")),
    "timestep_std": ("timesteps", ("logit_normal", "shifted")),
    "timestep_shift": ("timesteps", ("shifted",)),
}
"""Fields that only some values of another field read."""

_ASIDE = (
    *("sample_every", "sample_steps", "sample_sampler", "sample_cfg", "sample_shift"),
    *("save_every", "keep_checkpoints", "log_every", "gradient_checkpointing"),
)
"""Fields that change what is shown and kept on the way, or the memory it takes, and not what is learned."""

_LATER = ("steps",)
"""Fields that decide what is learned from where a run goes on, and may change there."""


def _option(help: str, default: Any) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides what a fine-tune computes. Lengths are in pixels unless the name says µm."""

    method: Literal["wdlora", "lora", "magnitude"] = _option(
        "wdlora: direction and magnitude; lora: plain; magnitude: only the magnitudes are trained", "wdlora"
    )
    rank: int = _option("rank of the low-rank direction update", 16)
    extra_rank: Literal["none", "match_wdlora"] = _option(
        "match_wdlora: plain LoRA gets one rank more in as many layers as make up for WDLoRA's magnitudes", "none"
    )
    alpha: float | None = _option("LoRA alpha; the update is scaled by alpha/rank; unset: alpha = rank", None)
    targets: tuple[str, ...] = _option("groups of layers: " + ", ".join(TARGETS), ("attention",))
    norm_gradient: bool = _option("let the gradient through the norm (off: DoRA section 4.3)", False)
    precision: Literal["fp32", "bf16", "fp8", "nf4"] = _option("storage of the frozen transformer", "bf16")
    gradient_checkpointing: bool = _option("recompute activations in the backward pass", True)

    steps: int = _option("optimiser steps", 4000)
    batch_size: int = _option("images a step and process", 1)
    accumulation: int = _option("batches whose gradients are added up for one step", 1)
    optimiser: Literal["adam8bit", "adamw"] = _option("adam8bit falls back to adamw where it cannot run", "adam8bit")
    learning_rate: float = _option("peak learning rate", 1e-4)
    beta1: float = _option("Adam's first moment", 0.9)
    beta2: float = _option("Adam's second moment", 0.999)
    weight_decay: float = _option("decoupled weight decay", 0.0)
    warmup_steps: int = _option("steps of linear warm-up", 50)
    cosine_cycles: float = _option("cosine cycles after the warm-up; 0.5 ends at zero", 0.5)
    max_grad_norm: float = _option("gradients are clipped to this norm; 0: never", 1.0)
    ema_decay: float = _option("decay of the averaged adapter that is written; 0: no averaging", 0.0)

    foreground_weight: float = _option("loss weight of tokens on nerves", 2.0)
    background_weight: float = _option("loss weight of the others", 1.0)
    timesteps: Literal["uniform", "logit_normal", "shifted"] = _option(
        "density of the noise level σ: uniform; sigmoid of a normal; the latter shifted", "uniform"
    )
    timestep_mean: float = _option("mean of the normal (logit_normal, shifted)", 0.0)
    timestep_std: float = _option("its standard deviation", 1.0)
    timestep_shift: float = _option("shift s of σ → sσ/(1+(s−1)σ) (shifted)", 2.2)
    prompt_dropout: float = _option("share of examples with an empty prompt, for guidance", 0.1)
    reference_dropout: float = _option("share of examples without the reference image (2509 and 2511)", 0.5)

    size: int | None = _option("crop size, a multiple of 32; unset: the largest centred crop of multiples of 32", None)
    views: int = _option(
        "views a picture, each cached; more than 1: random quarter turns and mirrors, the same for image and mask", 1
    )
    validation_share: float = _option("share of each cohort's patients kept to choose the best adapter by", 0.2)
    test_share: float | None = _option(
        "share kept to judge it by at the end; unset: 0.2 of a folder, none of phantoms, which can be drawn anew",
        None,
    )

    seed: int = _option("decides order, noise, views and initialisation", 0)
    sample_every: int = _option("steps between sample sheets; 0: only before the first step and after the last", 500)
    sample_steps: int = _option("sampler steps of the sheets", 20)
    sample_sampler: Literal["euler", "heun"] = _option(
        "sampler of the sheets; heun computes the model twice a step", "euler"
    )
    sample_cfg: float | None = _option("guidance scale of the sheets; unset: the official one of the model", None)
    sample_shift: float | None = _option("shift of their schedule; unset: the official one of the model", None)
    save_every: int = _option("steps between checkpoints", 250)
    keep_checkpoints: int = _option("older checkpoints are removed beyond this number", 3)
    log_every: int = _option("steps between log lines", 10)

    def __post_init__(self) -> None:
        check_finite(dataclasses.asdict(self))
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}.")
        for name in _BELOW_ONE:
            if getattr(self, name) is not None and not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must lie in [0, 1), not {getattr(self, name)}.")
        for name in _POSITIVE:
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise InputError(f"{name} must be positive, not {getattr(self, name)}.")
        for name in _NOT_NEGATIVE:
            if getattr(self, name) is not None and getattr(self, name) < 0:
                raise InputError(f"{name} must be 0 or more, not {getattr(self, name)}.")
        if self.validation_share + (self.test_share or 0) >= 1:
            raise InputError(
                f"validation_share {self.validation_share:g} and test_share {self.test_share:g} leave no patients to "
                "train on."
            )
        if self.rank > WIDTH:
            raise InputError(f"rank must be at most {WIDTH}, the width of the model's layers, not {self.rank}.")
        if self.seed >= 2**63:
            raise InputError(f"seed must be below 2^63, not {self.seed}.")
        if self.foreground_weight == self.background_weight == 0:
            raise InputError("foreground_weight and background_weight are both 0: nothing would be learned.")
        if self.size is not None and (self.size <= 0 or self.size % 32):
            raise InputError(f"size must be a positive multiple of 32, not {self.size}.")
        if unknown := [name for name in self.targets if name not in TARGETS]:
            raise InputError(f"targets has unknown groups {', '.join(unknown)}; there are {', '.join(TARGETS)}.")
        if not self.targets:
            raise InputError(f"targets is empty; name some of {', '.join(TARGETS)}.")
        for name, (other, readers) in _ONLY_WITH.items():
            usual, chosen = self.__dataclass_fields__[name].default, getattr(self, other)
            if getattr(self, name) != usual and chosen not in readers:
                raise InputError(
                    f"{name} is only for {other}={' or '.join(readers)}: with {chosen} leave it at {usual}."
                )

    @property
    def target_modules(self) -> list[str]:
        """Name ends of the adapted layers, as peft takes them."""
        return [end for group in self.targets for end in TARGETS[group]]

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def fingerprint(self) -> str:
        """SHA-256 of all fields, 64 hex digits."""
        return _sha256(self.to_dict())

    def learning_fingerprint(self) -> str:
        """SHA-256 of `learned_fields`: a run goes on under another value of the others."""
        return _sha256(self.learned_fields())

    def learned_fields(self) -> dict[str, Any]:
        """The fields that decide what is learned and stay as they are where a run goes on, as JSON values."""
        return {name: value for name, value in self.to_dict().items() if name not in (*_ASIDE, *_LATER)}

    def sheet_sampling(self, official: "Sampling") -> "Sampling":
        """How sheets are painted; guidance and shift are the model's official ones where they are unset."""
        cfg = official.cfg if self.sample_cfg is None else self.sample_cfg
        shift = official.shift if self.sample_shift is None else self.sample_shift
        steps, sampler = self.sample_steps, self.sample_sampler
        return dataclasses.replace(official, steps=steps, shift=shift, sampler=sampler).guided_by(cfg)


def check_finite(fields: Mapping[str, Any]) -> None:
    """Raise InputError, which names the field, for a number that is infinite, none, or too large to compute with."""
    for name, value in fields.items():
        if isinstance(value, float) and not abs(value) <= _LARGEST:
            raise InputError(f"{name} must be a finite number, not {value}.")


def _sha256(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def presets() -> list[str]:
    """Names of the presets, sorted."""
    return [path.stem for path in visible(PRESETS, "*.toml")]


def preset_purpose(name: str) -> str:
    """What a preset is for: the first line of its file."""
    return _path(name).read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def load_preset(name: str, overrides: dict[str, Any] | None = None) -> TrainingConfig:
    """Read a preset by name, or a TOML file by path, and apply overrides.

    Raises InputError for an unknown preset, an unknown key, a value of the wrong type or a field without a
    source. Its `study` is no field of the configuration: see `preset_study`.
    """
    path = _path(name)
    values = sourced(_entries(name, path), path.name)
    values.pop("study", None)
    return configured(values | (overrides or {}), f"the preset {path.name}")


def sourced(entries: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The values of a preset's entries. Raises InputError for one without a source; `name` is the preset's."""
    values: dict[str, Any] = {}
    for key, entry in entries.items():
        if not isinstance(entry, dict) or set(entry) - {"value", "source", "note"} or "value" not in entry:
            raise InputError(f"In the preset {name}, {key} must be a table of value, source and note.")
        if entry.get("source") not in SOURCES:
            raise InputError(f"In the preset {name}, the source of {key} must be {' or '.join(SOURCES)}.")
        values[key] = entry["value"]
    return values


def preset_study(name: str) -> Path | None:
    """The study that a preset is for, None where it names none: a path in `study`, from the preset's folder.

    Raises InputError as `load_preset`, and for a study that is no path.
    """
    path = _path(name)
    entry = _entries(name, path).get("study")
    study = entry.get("value") if isinstance(entry, dict) else entry
    if study is None:
        return None
    if not isinstance(study, str) or not study.strip():
        raise InputError(f"In the preset {path.name}, study must be the path of a study's TOML file, not {study!r}.")
    return path.parent / study


def _path(name: str) -> Path:
    return Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"


def _entries(name: str, path: Path) -> dict[str, Any]:
    return preset_entries(name, path, f"There is no preset {name!r}; there are {', '.join(presets())}.")


def preset_entries(name: str, path: Path, unknown: str) -> dict[str, Any]:
    """The entries in the file of the preset that was asked for as `name`, which is a name or the path of a TOML file.

    Raises InputError where there is no such file (`unknown` for a name), and as `read_toml`.
    """
    if not path.is_file():
        raise InputError(
            f"there is no file {name}: name a preset or a TOML file" if name.endswith(".toml") else unknown
        )
    return read_toml(path, "the preset")


def configured(values: dict[str, Any], origin: str) -> TrainingConfig:
    """Make a configuration of plain values; raises InputError naming an unknown key or a wrong type."""
    return made_of(TrainingConfig, values, origin)


Settings = TypeVar("Settings")


def made_of(kind: type[Settings], values: Mapping[str, Any], origin: str) -> Settings:
    """A dataclass of settings from plain values; raises InputError naming an unknown key or a wrong type."""
    hints = typing.get_type_hints(kind)
    if unknown := sorted(set(values) - set(hints)):
        raise InputError(f"{origin} has the unknown key {', '.join(unknown)}; there are {', '.join(hints)}.")
    return kind(**{key: _converted(key, value, hints[key]) for key, value in values.items()})


def _converted(key: str, value: Any, hint: Any) -> Any:
    """`value` as the field's type; strings come from the command line."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value in (None, "none") and type(None) in options:
        return None
    kind = next(option for option in options if option is not type(None))
    try:
        if typing.get_origin(kind) is Literal:
            if value in typing.get_args(kind):
                return value
            raise ValueError
        if typing.get_origin(kind) is tuple:
            parts = value.split(",") if isinstance(value, str) else value
            if typing.get_args(kind)[0] is int:
                return tuple(_whole_number(part) for part in parts)
            if not all(isinstance(part, str) for part in parts):
                raise ValueError
            return tuple(parts)
        if kind is bool:
            return {"true": True, "false": False}[str(value).lower()]
        return _whole_number(value) if kind is int else kind(value)
    except (ValueError, KeyError, TypeError, OverflowError):
        allowed = " or ".join(map(str, typing.get_args(kind))) if typing.get_origin(kind) is Literal else kind.__name__
        raise InputError(f"{key} must be {allowed}, not {value!r}.") from None


def _whole_number(value: Any) -> int:
    """An int of a number or its text, 1e3 as well; raises ValueError for a fraction."""
    try:
        return int(value) if isinstance(value, int | str) else int(str(value))
    except ValueError:
        number = float(value)
        if number != int(number):
            raise
        return int(number)
