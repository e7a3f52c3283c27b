"""What a finished run leaves for others: the adapter with its origins, the configuration and a model card."""

from pathlib import Path
from typing import Any

from torch import Tensor

from training.config import TrainingConfig
from training.models import ModelSource
from wdlora.adapter import Adapter
from wdlora.adapter.metadata import Metadata
from wdlora.cohorts import PROMPT_VERSION
from wdlora.files import sha256, write_text
from wdlora.layer.variants import weight_sq

ADAPTER = "adapter.safetensors"


def make_adapter(transformer: Any, trained: dict[str, Tensor], metadata: Metadata) -> Adapter:
    """The adapter of an injected transformer, with `trained` (by parameter name) in place of its own values."""
    from peft import get_peft_model_state_dict

    state = dict(transformer.state_dict()) | trained
    config = transformer.peft_config["default"].to_dict()
    adapter = Adapter.from_tensors(get_peft_model_state_dict(transformer, state_dict=state), config, metadata)
    layers = {name: layer for name, layer in transformer.named_modules() if name in adapter.layers}
    adapter.row_norms = {name: weight_sq(layer).sqrt().cpu() for name, layer in layers.items()}
    return adapter


def origins(model: Any, source: ModelSource, config: TrainingConfig, preset: str) -> Metadata:
    """The metadata of an adapter trained on `model`, which was loaded from `source`."""
    return Metadata(
        base_model=source.label,
        base_sha256=model.hashes["transformer"],
        base_quantisation=source.stored_as(config.precision),
        prompt_version=PROMPT_VERSION,
        preset=preset,
        preset_sha256=config.fingerprint(),
    )


def write_model_card(
    out: Path, name: str, preset: str, config: TrainingConfig, data: str, split: str, log: list[dict[str, Any]]
) -> None:
    """Write README.md into `out`: what was trained on what, how it did, and what it must not be used for."""
    fields = "\n".join(f"| {key} | {value} |" for key, value in config.to_dict().items())
    write_text(
        out / "README.md",
        f"""# A {config.method} adapter of {name}

For synthesising corneal confocal microscopy images from a nerve mask and a clinical cohort.
**Research software, not a medical device: pictures painted with it are synthetic, and no clinical validity is
claimed.** Whoever trains a diagnostic model on them has to validate it on real, independent patients.

- Base: {name}
- Preset: {preset}
- Data: {data}
- Split: {split}
- Cohort prompts: version {PROMPT_VERSION}
- File: `{ADAPTER}`, SHA-256 {sha256(out / ADAPTER)}, in peft's keys. Load it with the WDLoRAApply node or with peft;
  ComfyUI's own LoRA loader does not evaluate weight-decomposed adapters rightly.

## How it went

{_judgements(log)} Every logged step: `log.jsonl`.

## Configuration

| field | value |
|---|---|
{fields}
""",
    )


def _judgements(log: list[dict[str, Any]]) -> str:
    judged = [line for line in log if "validation_loss" in line]
    if not judged:
        return "No patients were kept for validation."
    rows = "\n".join(
        f"| {line['step']} | {line['validation_loss']:.4f} | {line['traced_dice']:.3f} | "
        f"{line['traced_cnfl_error']:.3f} |"
        for line in judged
    )
    return f"""On {judged[-1]["traced_pictures"]} held-out masks; `python -m training evaluate` takes more.

| step | validation loss | Dice of traced pictures and masks | CNFL error, mm/mm² |
|---|---|---|---|
{rows}

Samples: `sheets/`."""
