"""The adapter of a run, with where it comes from."""

from typing import Any

from torch import Tensor

from training.config import TrainingConfig
from training.models import ModelSource
from wdlora.adapter import Adapter
from wdlora.adapter.metadata import Metadata
from wdlora.layer.variants import weight_sq
from wdlora.study import Study

ADAPTER, NOT_AVERAGED = "adapter.safetensors", "adapter_not_averaged.safetensors"


def make_adapter(transformer: Any, trained: dict[str, Tensor], metadata: Metadata) -> Adapter:
    """The adapter of an injected transformer, with `trained` (by parameter name) in place of its own values."""
    from peft import get_peft_model_state_dict

    state = dict(transformer.state_dict()) | trained
    config = transformer.peft_config["default"].to_dict()
    adapter = Adapter.from_tensors(get_peft_model_state_dict(transformer, state_dict=state), config, metadata)
    layers = {name: layer for name, layer in transformer.named_modules() if name in adapter.layers}
    adapter.row_norms = {name: weight_sq(layer).sqrt().cpu() for name, layer in layers.items()}
    return adapter


def origins(model: Any, source: ModelSource, config: TrainingConfig, preset: str, study: Study) -> Metadata:
    """The metadata of an adapter trained on `model`, which was loaded from `source`."""
    return Metadata(
        base_model=source.label,
        base_sha256=model.hashes["transformer"],
        base_quantisation=source.stored_as(config.precision),
        prompt_version=study.version,
        study=study.label,
        study_sha256=study.sha256,
        preset=preset,
        preset_sha256=config.fingerprint(),
    )
