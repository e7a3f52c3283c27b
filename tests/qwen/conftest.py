"""Random small Qwen-Image-Edit parts: the real classes, no download."""

import dataclasses
from typing import Any

import pytest
import torch

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


@pytest.fixture(autouse=True)
def one_thread():
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
        additional_special_tokens=SPECIAL,
    )


def small_text_encoder(tokenizer: Any, hidden: int = 128, seed: int = 1) -> Any:
    """Qwen2.5-VL with the head dimension, mrope sections and window that ComfyUI hard-codes."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
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


def wan_name(name: str) -> str:
    """The name in ComfyUI's Wan VAE of a tensor of diffusers' AutoencoderKLQwenImage."""
    inner = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3", "conv2": "residual.6"}
    inner |= {"conv_shortcut": "shortcut"}
    side, _, rest = name.partition(".")
    if side in ("quant_conv", "post_quant_conv"):
        return {"quant_conv": "conv1", "post_quant_conv": "conv2"}[side] + f".{rest}"
    part, _, rest = rest.partition(".")
    outer = {"conv_in": "conv1", "norm_out": "head.0", "conv_out": "head.2"}
    if part in outer:
        return f"{side}.{outer[part]}.{rest}"
    words = rest.split(".")
    if part == "down_blocks":
        words[1] = inner.get(words[1], words[1])
        return f"{side}.downsamples." + ".".join(words)
    if part == "mid_block" and words[0] == "attentions":
        return f"{side}.middle.1." + ".".join(words[2:])
    if part == "mid_block":
        return f"{side}.middle.{2 * int(words[1])}.{inner[words[2]]}.{words[3]}"
    block, kind, index = int(words[0]), words[1], int(words[2])
    if kind == "upsamplers":
        return f"{side}.upsamples.{4 * block + 3}." + ".".join(words[3:])
    return f"{side}.upsamples.{4 * block + index}.{inner[words[3]]}.{words[4]}"


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
    state = parts.text_encoder.state_dict()
    renamed = {
        n.replace("model.language_model.", "model.").replace("model.visual.", "visual."): t.contiguous()
        for n, t in state.items()
    }
    save_file(renamed, text_encoder, metadata={"format": "pt"})
    vae = single / "qwen_image_vae.safetensors"
    save_file({wan_name(name): tensor for name, tensor in parts.vae.state_dict().items()}, vae)
    return Files(folder, transformer, text_encoder, vae, folder / "tokenizer")
