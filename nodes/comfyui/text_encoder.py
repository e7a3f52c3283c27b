"""Text encoders of another width than Qwen2.5-VL-7B in ComfyUI: the miniature's only special case.

ComfyUI recognises a text encoder by its width and has the 7B's token ids written into its code; with a byte-level
tokenizer, whose control tokens have ids of their own, it would silently keep one token of a prompt. So the encoder
is built from ComfyUI's own classes with the sizes of the file, and told its ids.
"""

import numbers
from pathlib import Path
from typing import Any

import comfy.sd
import comfy.supported_models_base
import comfy.utils
import torch
from comfy import sd1_clip
from comfy.text_encoders import llama, qwen_image, qwen_vl

from ...wdlora.qwen.checkpoint import Checkpoint, text_encoder_config, text_encoder_names
from ...wdlora.qwen.tokenizer import load_tokenizer, tokenizer_places
from .loading import text_encoder_tensors

NAME = "qwen25_7b"
"""What ComfyUI calls the one encoder of Qwen-Image in its token dictionaries and options."""


def load_text_encoder(path: str) -> Any:
    """CLIP of a Qwen2.5-VL of any width, from a file or folder, its tokenizer near it.

    Computes in float32 on every device, being small. Raises InputError if it is another model.
    """
    weights = Checkpoint(path)
    words = load_tokenizer(*tokenizer_places(Path(path)))
    names = text_encoder_names(weights)
    config = text_encoder_config(weights, names, words)
    tensors = text_encoder_tensors(weights, names)
    clip = comfy.sd.CLIP(
        comfy.supported_models_base.ClipTarget(_tokenizer_class(words), _encoder_class(words)),
        model_options={"dtype": torch.float32, f"{NAME}_class": _model_class(config, words)},
        tokenizer_data={f"{NAME}_tokenizer_class": _words_class(words)},
        parameters=comfy.utils.calculate_parameters(tensors),
        state_dict=[tensors],
    )
    clip.patcher.cached_patcher_init = (_patcher, (path,))
    return clip


def _patcher(path: str, disable_dynamic: bool = False) -> Any:
    clip = load_text_encoder(path)
    return clip.patcher.clone(disable_dynamic=disable_dynamic)


def _words_class(words: Any) -> type:
    """ComfyUI's wrapper around a tokenizer, around this one."""

    class Words(sd1_clip.SDTokenizer):
        def __init__(self, embedding_directory: Any = None, tokenizer_data: Any = None):
            super().__init__(
                words.name_or_path,
                tokenizer_class=type(words),
                embedding_key=NAME,
                has_start_token=False,
                has_end_token=False,
                pad_with_end=False,
                pad_to_max_length=False,
                max_length=99999999,
                min_length=1,
                pad_token=words.convert_tokens_to_ids("<|endoftext|>"),
                tokenizer_data=tokenizer_data or {},
            )

    return Words


def _tokenizer_class(words: Any) -> type:
    """ComfyUI's tokenizer of Qwen-Image with pictures at this tokenizer's image token."""
    image_id = words.convert_tokens_to_ids("<|image_pad|>")

    class Tokenizer(qwen_image.QwenImageTokenizer):
        def tokenize_with_weights(self, text: str, *args: Any, images: Any = (), **kwargs: Any) -> Any:
            tokens = super().tokenize_with_weights(text, *args, images=images, **kwargs)
            waiting = iter(images)
            for row in tokens[NAME]:
                for index, (token, *rest) in enumerate(row):
                    if isinstance(token, numbers.Integral) and token == image_id:
                        picture = next(waiting, None)
                        if picture is not None:
                            row[index] = ({"type": "image", "data": picture, "original_type": "image"}, *rest)
            return tokens

    return Tokenizer


def _model_class(config: Any, words: Any) -> type:
    """ComfyUI's Qwen2.5-VL with the sizes of `config`, a transformers Qwen2_5_VLConfig."""
    text, vision = config.text_config, config.vision_config

    class Model(llama.Qwen25_7BVLI):
        def __init__(self, config_dict: Any, dtype: Any, device: Any, operations: Any):
            torch.nn.Module.__init__(self)
            sizes = llama.Qwen25_7BVLI_Config(
                vocab_size=text.vocab_size,
                hidden_size=text.hidden_size,
                intermediate_size=text.intermediate_size,
                num_hidden_layers=text.num_hidden_layers,
                num_attention_heads=text.num_attention_heads,
                num_key_value_heads=text.num_key_value_heads,
            )
            self.num_layers = sizes.num_hidden_layers
            self.model = llama.Llama2_(sizes, device=device, dtype=dtype, ops=operations)
            self.visual = qwen_vl.Qwen2VLVisionTransformer(
                hidden_size=vision.hidden_size,
                output_hidden_size=text.hidden_size,
                intermediate_size=vision.intermediate_size,
                num_heads=vision.num_heads,
                num_layers=vision.depth,
                device=device,
                dtype=dtype,
                ops=operations,
            )
            self.dtype = dtype

    class Encoder(sd1_clip.SDClipModel):
        def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: Any = None, **_: Any):
            super().__init__(
                device=device,
                dtype=dtype,
                textmodel_json_config={},
                special_tokens={"pad": words.convert_tokens_to_ids("<|endoftext|>")},
                layer="last",
                layer_norm_hidden_state=False,
                model_class=Model,
                enable_attention_masks=True,
                return_attention_masks=True,
                model_options=model_options or {},
            )

    return Encoder


def _encoder_class(words: Any) -> type:
    """ComfyUI's encoder of Qwen-Image, cutting the template off where this tokenizer's ids say."""
    start = words.convert_tokens_to_ids("<|im_start|>")
    user = list(words("user\n", add_special_tokens=False)["input_ids"])

    class TextEncoder(qwen_image.QwenImageTEModel):
        def encode_token_weights(self, token_weight_pairs: Any, template_end: int = -1) -> Any:
            if template_end == -1:
                ids = [
                    pair[0] if isinstance(pair[0], numbers.Integral) else None for pair in token_weight_pairs[NAME][0]
                ]
                starts = [index for index, token in enumerate(ids) if token == start][:2]
                template_end = starts[-1] if starts else 0
                if starts and ids[template_end + 1 : template_end + 1 + len(user)] == user:
                    template_end += 1 + len(user)
            return super().encode_token_weights(token_weight_pairs, template_end)

    return TextEncoder
