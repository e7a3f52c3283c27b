"""What an adapter file says about itself. safetensors metadata are strings; ours begin with "wdlora."."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..errors import InputError
from ..weights.header import quoted
from .configuration import ALPHA_NAMES

PREFIX = "wdlora."
FORMAT_VERSION = 1
# Belongs to the file it was read from, not to the adapter: never carried over to another file.
OF_THE_FILE = (
    *("format", "lora_adapter_metadata", "sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256"),
    *ALPHA_NAMES,  # the scaling, which every dialect writes its own way
)


@dataclass(frozen=True)
class Metadata:
    """Where an adapter comes from. All of it is optional but the format's version.

    `base_sha256` is `wdlora.weights.Weights(base).sha256`, `base_quantisation` the storage it was trained on
    ("bfloat16", "nf4", …). `rank`, `alpha` and `targets` describe the layers and are renewed on saving; `alpha` is
    None where layers differ. `study` is name and version of the study
    whose cohorts it was trained on, `prompt_version` that version. `step` is the training step after which it
    was written. `dora_scale_base` is the base that a ComfyUI export is bound to. `other` keeps the metadata of other
    programs.
    """

    base_model: str | None = None
    base_sha256: str | None = None
    base_quantisation: str | None = None
    rank: int | None = None
    alpha: float | None = None
    targets: tuple[str, ...] = ()
    prompt_version: str | None = None
    study: str | None = None
    study_sha256: str | None = None
    preset: str | None = None
    preset_sha256: str | None = None
    step: int | None = None
    note: str | None = None
    dora_scale_base: str | None = None
    dora_scale_base_sha256: str | None = None
    format_version: int = FORMAT_VERSION
    other: Mapping[str, str] = field(default_factory=dict)

    def replace(self, **changes: Any) -> "Metadata":
        """A copy with some fields changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields that are set, ready for JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["targets"] = list(self.targets)
        values["other"] = dict(self.other)
        return {name: value for name, value in values.items() if value not in (None, [], {})}

    def to_strings(self) -> dict[str, str]:
        """As safetensors metadata."""
        own = self.to_dict()
        strings = dict(own.pop("other", {}))
        own["targets"] = ", ".join(self.targets)
        strings |= {PREFIX + name: str(value) for name, value in own.items() if value != ""}
        return strings

    @classmethod
    def from_strings(cls, strings: Mapping[str, str]) -> "Metadata":
        """Read safetensors metadata; raises InputError on values that are not what they should be."""
        known = {f.name for f in fields(cls)} - {"other"}
        own: dict[str, Any] = {}
        other = {}
        for key, text in strings.items():
            name = key.removeprefix(PREFIX)
            if key.startswith(PREFIX) and name in known:
                own[name] = _value(name, text)
            elif key not in OF_THE_FILE:
                other[key] = text
        version = own.get("format_version", FORMAT_VERSION)
        if version > FORMAT_VERSION:
            raise InputError(
                f"the adapter has format version {version}, this program reads up to {FORMAT_VERSION}; update it"
            )
        return cls(**own, other=other)


def _value(name: str, text: str) -> Any:
    try:
        if name in ("rank", "step", "format_version"):
            if not re.fullmatch(r"[0-9]{1,9}", text):
                raise ValueError
            return int(text)
        if name == "alpha":
            if not math.isfinite(float(text)):
                raise ValueError
            return float(text)
    except ValueError:
        raise InputError(f"the metadata {quoted(PREFIX + name)} is {quoted(text)}, not a number") from None
    if name == "targets":
        return tuple(target for target in text.split(", ") if target)
    return text
