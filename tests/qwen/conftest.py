"""Random small Qwen-Image-Edit parts: the real classes, no download."""

import dataclasses
from typing import Any

import pytest
import torch

from tests.small_model import byte_tokenizer, single_file_text_encoder, small_text_encoder, small_transformer, small_vae
from tests.small_model import one_thread as one_thread
from wdlora.qwen.wan_names import wan_name


@dataclasses.dataclass
class Parts:
    tokenizer: Any
    text_encoder: Any
    transformer: Any
    vae: Any


@pytest.fixture(scope="session")
def parts() -> Parts:
    """A complete random model; tests must leave it as it is."""
    tokenizer = byte_tokenizer()
    return Parts(tokenizer, small_text_encoder(tokenizer), small_transformer(), small_vae())


@pytest.fixture(scope="session")
def build_transformer():
    return small_transformer


@pytest.fixture(scope="session")
def build_text_encoder():
    return small_text_encoder


@pytest.fixture(scope="session")
def build_vae():
    return small_vae


@pytest.fixture(scope="session")
def mask() -> torch.Tensor:
    """A bool mask of 64 × 96 pixels with two strokes."""
    lines = torch.zeros(64, 96, dtype=torch.bool)
    lines[20:23, 8:90] = True
    lines[:, 50:52] = True
    return lines


@dataclasses.dataclass
class Files:
    """The model of `parts` in every layout. `diffusers`: a folder; the others single files, by what they are."""

    diffusers: Any
    transformer: Any
    text_encoder: Any
    vae: Any
    tokenizer: Any


@pytest.fixture(scope="session")
def files(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The model in diffusers' layout and as ComfyUI's single files (float32, so that they compare exactly)."""
    import json

    from safetensors.torch import save_file

    root = tmp_path_factory.mktemp("model")
    folder = root / "Qwen-Image-Edit"
    parts.tokenizer.save_pretrained(folder / "tokenizer")
    parts.text_encoder.save_pretrained(folder / "text_encoder", max_shard_size="500KB")
    parts.transformer.save_pretrained(folder / "transformer", max_shard_size="500KB")
    parts.vae.save_pretrained(folder / "vae")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "QwenImageEditPipeline"}))

    single = root / "models"
    single.mkdir()
    transformer = single / "qwen_image_edit_fp32.safetensors"
    save_file(
        {f"model.diffusion_model.{name}": tensor for name, tensor in parts.transformer.state_dict().items()},
        transformer,
    )
    text_encoder = single / "qwen_2.5_vl.safetensors"
    save_file(single_file_text_encoder(parts.text_encoder), text_encoder, metadata={"format": "pt"})
    vae = single / "qwen_image_vae.safetensors"
    save_file({wan_name(name): tensor for name, tensor in parts.vae.state_dict().items()}, vae)
    return Files(folder, transformer, text_encoder, vae, folder / "tokenizer")
