"""A random small Qwen-Image-Edit in model folders: the real classes, for hosts, nodes and training."""

from pathlib import Path

import pytest

SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `models` with a random Qwen-Image-Edit of 2 blocks as single files, its tokenizer beside it."""
    import torch
    from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel
    from safetensors.torch import save_file
    from tokenizers import pre_tokenizers
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

    root = tmp_path_factory.mktemp("small") / "models"
    for folder in ("diffusion_models", "text_encoders", "vae", "loras"):
        (root / folder).mkdir(parents=True)
    tokenizer = Qwen2Tokenizer(
        vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))},
        merges=[],
        unk_token="<|endoftext|>",
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL,
    )
    tokenizer.save_pretrained(root / "text_encoders" / "tokenizer")
    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 128,
            "intermediate_size": 192,
            "num_hidden_layers": 2,
            "num_attention_heads": 1,
            "num_key_value_heads": 1,
            "vocab_size": len(tokenizer),
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_heads": 16,
            "out_hidden_size": 128,
        },
        **{
            name: tokenizer.convert_tokens_to_ids(token)
            for name, token in {
                "vision_start_token_id": "<|vision_start|>",
                "vision_end_token_id": "<|vision_end|>",
                "image_token_id": "<|image_pad|>",
                "video_token_id": "<|video_pad|>",
            }.items()
        },
    )
    encoder = Qwen2_5_VLForConditionalGeneration(config)
    renamed = {
        name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): tensor.contiguous()
        for name, tensor in encoder.state_dict().items()
    }
    save_file(renamed, root / "text_encoders" / "small_vl.safetensors")
    transformer = QwenImageTransformer2DModel(
        num_layers=2,
        attention_head_dim=32,
        num_attention_heads=3,
        joint_attention_dim=128,
        axes_dims_rope=(4, 14, 14),
    )
    save_file(transformer.state_dict(), root / "diffusion_models" / "small_edit.safetensors")
    vae = AutoencoderKLQwenImage(base_dim=8)
    save_file(vae.state_dict(), root / "vae" / "small_vae.safetensors")
    return root
