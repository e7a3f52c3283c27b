"""What is said of an adapter beside its tensors: peft's configuration, and alpha in the file's metadata."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..temporaries import visible
from ..weights.header import quoted

PEFT_FILE, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
CONFIG_PREFIXES = ("transformer.", "base_model.model.")
LARGEST = 3.4e38  # in float32, in which everything is computed
MOST_PATTERNS = 2000  # more than a model has layers

# Where trainers write alpha as a string: LightX2V, DiffSynth, others, kohya.
ALPHA_NAMES = ("lora_alpha", "network_alpha", "alpha", "ss_network_alpha")
NOT_STATED = ("", "none", "null")

_DECISIVE = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_dora", "use_rslora")
"""Settings that decide what an adapter does."""

# peft's initialisations that leave the base as it is. The others move a part of W into BA, so that the adapter
# belongs to what is left of the base: added to the base itself it is wrong by more than its whole update.
KEEPS_BASE = (True, False, None, "true", "false", "default", "gaussian", "eva", "orthogonal", "mica")
METHODS = {"pissa": "PiSSA", "olora": "OLoRA", "corda": "CorDA", "loftq": "LoftQ", "lora_ga": "LoRA-GA"}

# Settings under which an adapter is more than its factors.
VARIANTS = {
    "kasa_config": "KaSA, which cuts the smallest singular values out of the base",
    "use_bdlora": "BD-LoRA, whose factors are block-diagonal",
    "use_qalora": "QA-LoRA, whose factors act on groups of inputs",
    "arrow_config": "Arrow, which routes between adapters",
    "monteclora_config": "MonteCLoRA, which draws its factors at random",
    "alora_invocation_tokens": "aLoRA, which acts behind certain tokens only",
    "layer_replication": "replicated layers, for which the model would have to be rebuilt",
    "modules_to_save": "whole layers saved beside the factors",
    "target_parameters": "parameters that are not linear layers",
    "trainable_token_indices": "trained embeddings of single tokens",
}


class Configuration:
    """The settings of an adapter: which scaling a layer without an alpha tensor has, and what must be refused.

    `config` is peft's configuration as a table, `strings` the file's metadata, from which alpha comes where the
    configuration has none; `notes` are sentences on what was left aside. Raises InputError on settings under which
    the adapter is not W + s·BA of the base itself, or that are no settings.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None,
        label: str,
        strings: Mapping[str, str] | None = None,
        notes: Sequence[str] = (),
    ):
        config = config or {}
        self.label = label
        self.notes = list(notes)
        self.strings = strings or {}
        kind = config.get("peft_type") or "LORA"
        if str(kind).rpartition(".")[2].upper() != "LORA":
            raise InputError(f"{label} is a {quoted(kind)} adapter of peft; only LoRA and DoRA are read")
        self._refuse_other_bases(config.get("init_lora_weights", True))
        self._refuse_variants(config)
        self.alpha = self._number("alpha", config.get("lora_alpha"))
        self.rank = self._whole(config.get("r"))
        self.root = bool(config.get("use_rslora", False))
        self.use_dora = bool(config.get("use_dora", False))
        self.lora_bias = bool(config.get("lora_bias", False))
        self.alphas = self._patterns(config, "alpha_pattern", lambda value: self._number("alpha", value))
        self.ranks = self._patterns(config, "rank_pattern", self._whole)

    def scaling(self, module: str, rank: int) -> float:
        """s = alpha/r, or alpha/√r with rank-stabilised LoRA; 1 where no alpha is stated anywhere."""
        alpha = next((a for pattern, a in self.alphas if pattern.match(module)), self.alpha)
        stated = self._stated_alpha()
        if stated is not None and self.alpha is not None and stated != self.alpha:
            raise InputError(
                f"{self.label}: its metadata state alpha {stated:g}, its configuration {self.alpha:g}; remove the "
                "one that is wrong"
            )
        alpha = stated if alpha is None else alpha
        if alpha is None:
            return 1.0
        return alpha / math.sqrt(rank) if self.root else alpha / rank

    def check_rank(self, module: str, rank: int) -> None:
        """Raise InputError where the configuration gives a layer another rank than its tensors have."""
        stated = _rank_of(module, self.rank, self.ranks)
        if stated is not None and stated != rank:
            raise InputError(
                f"{self.label}: its configuration says rank {stated} for layer {quoted(module)}, whose tensors have "
                f"rank {rank}; it belongs to another adapter: save the adapter again, or remove the configuration"
            )

    def _stated_alpha(self) -> float | None:
        found: dict[str, float] = {}
        for name in ALPHA_NAMES:
            text = self.strings.get(name, "").strip()
            if text.lower() in NOT_STATED:
                continue
            try:
                found[name] = float(text)
            except ValueError:
                found[name] = math.nan
            if not abs(found[name]) <= LARGEST:
                raise InputError(f"{self.label}: the metadata {quoted(name)} is {quoted(text)}, not a number")
        if len(set(found.values())) > 1:
            said = ", ".join(f"{name} {value:g}" for name, value in found.items())
            raise InputError(f"{self.label}: its metadata contradict one another: {said}; remove the wrong ones")
        return next(iter(found.values()), None)

    def _refuse_other_bases(self, start: Any) -> None:
        name = start.lower() if isinstance(start, str) else start
        if isinstance(name, bool | str | None) and name in KEEPS_BASE:
            return
        method = next((spelled for key, spelled in METHODS.items() if str(name).startswith(key)), None)
        if method is None:
            raise InputError(
                f"{self.label}: its configuration has init_lora_weights {quoted(start)}, which is not known and may "
                "change the base; convert it to a plain LoRA with the program that trained it"
            )
        raise InputError(
            f"{self.label} was started by {method} (init_lora_weights {quoted(start)}), which changes the base: it "
            "is right on that changed base only. Save it as a plain LoRA first (peft: save_pretrained with "
            "path_initial_model_for_weight_conversion)"
        )

    def _refuse_variants(self, config: Mapping[str, Any]) -> None:
        for name, meaning in VARIANTS.items():
            if config.get(name):
                raise InputError(
                    f"{self.label}: its configuration sets {name}: {meaning}; only low-rank factors, with or without "
                    "magnitudes, are read"
                )
        if config.get("bias") not in (None, "none", False):
            raise InputError(
                f"{self.label}: its configuration sets bias to {quoted(config['bias'])}: biases trained beside the "
                "factors, which cannot be applied; train with bias 'none'"
            )

    def _patterns(
        self, config: Mapping[str, Any], name: str, value_of: Callable[[Any], Any]
    ) -> list[tuple[re.Pattern[str], Any]]:
        table = config.get(name) or {}
        if not isinstance(table, Mapping):
            raise InputError(f"{self.label}: {name} in its configuration is not a table of layers")
        if len(table) > MOST_PATTERNS:
            raise InputError(f"{self.label}: {name} in its configuration has {len(table)} lines, more than any model")
        found = []
        for pattern, value in table.items():
            compiled = _compiled(str(pattern))
            if compiled is None:
                raise InputError(
                    f"{self.label}: the {name} {quoted(pattern)} is a regular expression that is not read; write "
                    "the layers' names out in its configuration"
                )
            found.append((compiled, value_of(value)))
        return found

    def _number(self, what: str, value: Any) -> float | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
            raise InputError(f"{self.label}: the {what} {quoted(value)} in its configuration is not a number")
        return float(value)

    def _whole(self, value: Any) -> int | None:
        number = self._number("rank", value)
        if number is not None and (number < 1 or number != int(number)):
            raise InputError(f"{self.label}: the rank {quoted(value)} in its configuration is not a whole number")
        return None if number is None else int(number)


def _compiled(pattern: str) -> re.Pattern[str] | None:
    """peft's rule (`get_pattern_key`): the pattern matches a layer's whole name, or its end behind a dot.

    None for what is no pattern, or one that could take for ever: repeated groups, look-around, more than 3 repeats.
    """
    hard = re.search(r"\)[*+?{]|\(\?(?!:)|\\\d", pattern) or len(re.findall(r"[*+{]", pattern)) > 3
    if hard or len(pattern) > 200:
        return None
    try:
        return re.compile(rf"(.*\.)?({pattern})$")
    except (re.error, OverflowError, RecursionError):
        return None


def _rank_of(module: str, rank: int | None, patterns: list[tuple[re.Pattern[str], Any]]) -> int | None:
    return next((value for pattern, value in patterns if pattern.match(module)), rank)


def read_configuration(path: Path, strings: Mapping[str, str], ranks: Mapping[str, int]) -> Configuration:
    """The settings of the adapter file `path` with the metadata `strings` and the layers' `ranks`.

    peft's configuration lies beside its file as `adapter_config.json`, also where the file was given another name:
    it is taken if the file is the folder's only one, or if it says the ranks and targets of this file. Raises
    InputError where a configuration inside the file says otherwise, or where it gives other ranks.
    """
    inside = None
    if "lora_adapter_metadata" in strings:
        inside = _table(f"{path}: lora_adapter_metadata", strings["lora_adapter_metadata"])
    beside = path.with_name(PEFT_CONFIG)
    if not beside.is_file():
        return Configuration(inside, str(path), strings)
    alone = path.name == PEFT_FILE or len(adapter_files(path.parent)) == 1
    if not alone and inside is not None:
        return Configuration(inside, str(path), strings)
    found = _table(str(beside), _text(beside))
    if not alone and not _says(found, ranks):
        note = f"{PEFT_CONFIG} beside it describes another adapter (other ranks or layers) and was not used"
        return Configuration(None, str(path), strings, [note])
    if inside is not None and any((found.get(key) or None) != (inside.get(key) or None) for key in _DECISIVE):
        raise InputError(
            f"{beside} does not belong to the {path.name} beside it, which was saved with other settings: save the "
            "adapter again, or remove one of the two"
        )
    return Configuration(found, str(path), strings)


def adapter_files(folder: Path) -> list[Path]:
    """The safetensors files in a folder, by name; hidden ones are what an interrupted writer left."""
    return visible(folder, "*.safetensors")


def _says(config: Mapping[str, Any], ranks: Mapping[str, int]) -> bool:
    """Whether a configuration gives these layers these ranks."""
    try:
        settings = Configuration(config, "")
    except InputError:
        return False
    targets = config.get("target_modules")
    return bool(ranks) and all(
        _rank_of(module, settings.rank, settings.ranks) == rank and _targeted(module, targets)
        for module, rank in ranks.items()
    )


def _targeted(module: str, targets: Any) -> bool:
    if isinstance(targets, str):
        pattern = _compiled(targets)
        return targets == "all-linear" or (pattern is not None and re.fullmatch(targets, module) is not None)
    return isinstance(targets, list) and any(f".{module}".endswith(f".{target}") for target in targets)


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


def refuse_shard(path: Path) -> None:
    """Raise InputError where the file is one part of several, of which a folder's index or its own name tells."""
    several: int | None = None
    if match := re.search(r"-\d{5}-of-(\d{5})$", path.stem):
        several = int(match[1])
    for index in visible(path.parent, "*.safetensors.index.json"):
        try:
            parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue
        if path.name in parts:
            several = len(parts)
    if several is not None and several > 1:
        raise InputError(
            f"{path} is one of {several} parts of an adapter: applied alone it would change some layers only. Save "
            "the adapter in one file (peft: a larger max_shard_size)"
        )
