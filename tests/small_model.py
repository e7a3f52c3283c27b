"""Random small Qwen-Image-Edit parts: the real classes, no download."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from wdlora.qwen.miniature_files import SPECIAL_TOKENS


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Sums come out alike, and small tensors gain nothing from more; whoever imports this applies it to its tests.

    A module at a time, so that what a module's fixtures compute is on one thread too.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def byte_tokenizer() -> Any:
    """Qwen2's byte-level tokenizer without merges: 256 bytes and the special tokens."""
    from tokenizers import pre_tokenizers
    from transformers import Qwen2Tokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return Qwen2Tokenizer(
        vocab={character: i for i, character in enumerate(alphabet)},
        merges=[],
        unk_token="<|endoftext|>",
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS),
    )


def small_text_encoder(tokenizer: Any, hidden: int = 128, seed: int = 1) -> Any:
    """Qwen2.5-VL with the head dimension, mrope sections and window that ComfyUI hard-codes."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": hidden,
            "intermediate_size": 192,
            "num_hidden_layers": 2,
            "num_attention_heads": hidden // 128,
            "num_key_value_heads": 1,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
            "bos_token_id": None,
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_heads": 16,
            "out_hidden_size": hidden,
        },
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
    )
    torch.manual_seed(seed)
    return Qwen2_5_VLForConditionalGeneration(config).eval().requires_grad_(False)


def small_transformer(joint: int = 128, seed: int = 2, **changes: Any) -> Any:
    from diffusers import QwenImageTransformer2DModel

    torch.manual_seed(seed)
    arguments: dict[str, Any] = {
        "num_layers": 2,
        "attention_head_dim": 32,
        "num_attention_heads": 3,
        "joint_attention_dim": joint,
        "axes_dims_rope": (4, 14, 14),
    }
    return QwenImageTransformer2DModel(**(arguments | changes)).eval().requires_grad_(False)


def small_vae(seed: int = 3) -> Any:
    from diffusers import AutoencoderKLQwenImage

    torch.manual_seed(seed)
    return AutoencoderKLQwenImage(base_dim=8).eval().requires_grad_(False)


def single_file_text_encoder(text_encoder: Any) -> dict[str, torch.Tensor]:
    """Its tensors under ComfyUI's names."""
    return {
        name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): tensor.contiguous()
        for name, tensor in text_encoder.state_dict().items()
    }
