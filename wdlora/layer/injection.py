"""Putting the variants into a model through peft's own hook for custom layers, for one model at a time."""

import copy
from typing import TypeVar

import peft
from peft.tuners.lora.layer import LoraLayer
from peft.tuners.tuners_utils import check_target_module_exists
from torch import nn

from ..errors import InputError
from .adapted import Adapted, AdaptedLinear

_INITIALISATIONS = (True, False, "gaussian")
"""Of peft's initialisations those that leave the base as it is."""

Model = TypeVar("Model", bound=nn.Module)


def adapted_classes() -> dict[type[nn.Module], type[LoraLayer]]:
    """Which adapted layer stands for which linear layer, the special ones first."""
    classes: dict[type[nn.Module], type[LoraLayer]] = {}
    try:
        from .quantised import CLASSES
    except (ImportError, RuntimeError, AttributeError):
        pass  # bitsandbytes is optional and fails in any of these ways where its binaries do not fit the machine
    else:
        classes.update(CLASSES)
    classes[nn.Linear] = AdaptedLinear
    return classes


def inject_adapter(model: Model, config: peft.LoraConfig, adapter_name: str, norm_gradient: bool) -> Model:
    """`wdlora.layer.inject`."""
    config = _checked(config)
    config.norm_gradient = norm_gradient
    config._register_custom_module(adapted_classes())
    strangers = [name for name, m in model.named_modules() if isinstance(m, LoraLayer) and not isinstance(m, Adapted)]
    if strangers:
        raise InputError(
            f"{len(strangers)} layers, the first {strangers[0]!r}, already carry adapters that peft made by itself; "
            "inject into the base model first and load those adapters into it afterwards"
        )
    if adapter_name in getattr(model, "peft_config", {}):
        raise InputError(f"the model already has an adapter named {adapter_name!r}; choose another name")
    if strange := _strange_targets(model, config):
        raise InputError(
            f"only linear layers can be adapted, but the targets include {strange[0]}; narrow target_modules"
        )
    peft.inject_adapter_in_model(config, model, adapter_name)
    for module in model.modules():
        if isinstance(module, Adapted):
            module.set_adapter(adapter_name)
    if hasattr(model, "_hf_peft_config_loaded"):  # diffusers asks for it before it saves or switches adapters
        vars(model)["_hf_peft_config_loaded"] = True
    return model


def _strange_targets(model: nn.Module, config: peft.LoraConfig) -> list[str]:
    """The targets that are no linear layers, with their types."""
    return [
        f"{name} ({type(module).__name__})"
        for name, module in model.named_modules()
        if not isinstance(module, nn.Linear | Adapted) and check_target_module_exists(config, name)
    ]


def _checked(config: peft.LoraConfig) -> peft.LoraConfig:
    """A copy of `config`, refused where it asks for more than plain or weight-decomposed LoRA."""
    if not isinstance(config, peft.LoraConfig):
        raise InputError(f"the configuration is a {type(config).__name__}, but a peft.LoraConfig is needed")
    if config.lora_bias:
        raise InputError("lora_bias=True is not supported: leave it False, the adapter changes the weight only")
    for name in ("modules_to_save", "target_parameters"):
        if getattr(config, name):
            raise InputError(f"{name} is not supported: an adapter holds changes of linear layers alone; leave it out")
    if config.bias != "none":
        raise InputError(f"bias={config.bias!r} is not supported: leave it 'none', the adapter changes the weight only")
    if config.init_lora_weights not in _INITIALISATIONS:
        raise InputError(
            f"init_lora_weights={config.init_lora_weights!r} is not supported, since it may change the base: use True"
        )
    for field in config.__dataclass_fields__.values():
        if field.metadata.get("is_lora_variant") and field.name != "use_dora" and getattr(config, field.name):
            raise InputError(f"{field.name} is another LoRA variant and cannot be combined with this one; remove it")
    return copy.deepcopy(config)
