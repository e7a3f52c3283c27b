"""A random small Qwen-Image-Edit in model folders: the real classes, for hosts, nodes and training."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `models` with a random Qwen-Image-Edit of 2 blocks as single files, its tokenizer beside it."""
    from safetensors.torch import save_file

    from tests import small_model as small

    root = tmp_path_factory.mktemp("small") / "models"
    for folder in ("diffusion_models", "text_encoders", "vae", "loras"):
        (root / folder).mkdir(parents=True)
    tokenizer = small.byte_tokenizer()
    tokenizer.save_pretrained(root / "text_encoders" / "tokenizer")
    encoder = small.single_file_text_encoder(small.small_text_encoder(tokenizer))
    save_file(encoder, root / "text_encoders" / "small_vl.safetensors")
    save_file(small.small_transformer().state_dict(), root / "diffusion_models" / "small_edit.safetensors")
    save_file(small.small_vae().state_dict(), root / "vae" / "small_vae.safetensors")
    return root
