"""Conditioning: mask, prompt and optional reference through the vision–language encoder.

The text is that of the Qwen-Image-Edit pipelines and of ComfyUI's nodes, one template for the first model
and one ("Picture 1: …") for 2509 and 2511. What the encoder says about the template's system part is dropped,
up to and including "user\\n", wherever the tokenizer puts that.

With transformers 5 the encoder builds the two-dimensional positions of the picture from `mm_token_type_ids`;
the pipelines of diffusers ≤ 0.42.1 do not pass them (its issue #14194) and fall back to text positions
silently, so the tokens are typed here.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import InputError
from .memory import execution_device
from .vl_view import MERGE, patches, vl_view

VARIANTS = ("edit", "2509", "2511")
MOST_TOKENS = 4096 - 64
"""Positions of the transformer's text: it has 4096, and the largest picture, 2048 pixels wide, takes 64 of them."""
LONGEST_TEXT = 20_000
"""Characters of a text that is looked at at all; a token is about four of them."""

_PREFIX = (
    "<|im_start|>system\n"
    "Describe the key features of the input image (color, shape, size, texture, objects, background), "
    "then explain how the user's text instruction should alter or modify the image. "
    "Generate a new image that meets the user's requirements while maintaining consistency with the original "
    "input where appropriate.<|im_end|>\n"
    "<|im_start|>user\n"
)
_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n"
_IMAGE = "<|image_pad|>"
_PICTURE = f"<|vision_start|>{_IMAGE}<|vision_end|>"


@dataclass(frozen=True)
class Conditioning:
    """What the transformer reads of a prompt and its pictures.

    `embeds` [B, T, D]; `mask` bool [B, T], or None where nothing is padding (padding without a mask changes
    the picture).
    """

    embeds: torch.Tensor
    mask: torch.Tensor | None = None

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Conditioning":
        """The same on another device or in another floating-point type."""
        mask = None if self.mask is None else self.mask.to(device)
        return Conditioning(self.embeds.to(device=device, dtype=dtype), mask)

    def repeat(self, times: int) -> "Conditioning":
        """The same conditioning for a batch of `times` pictures; only for a batch of one."""
        if self.embeds.shape[0] == times:
            return self
        mask = None if self.mask is None else self.mask.expand(times, -1)
        return Conditioning(self.embeds.expand(times, -1, -1), mask)


def stack(parts: Sequence[Conditioning]) -> Conditioning:
    """Join conditionings to one batch, padded at the end where their lengths differ."""
    longest = max(part.embeds.shape[1] for part in parts)
    if all(part.mask is None and part.embeds.shape[1] == longest for part in parts):
        return Conditioning(torch.cat([part.embeds for part in parts]))
    embeds, masks = [], []
    for part in parts:
        gap = longest - part.embeds.shape[1]
        valid = part.mask
        if valid is None:
            valid = torch.ones(part.embeds.shape[:2], dtype=torch.bool, device=part.embeds.device)
        embeds.append(torch.nn.functional.pad(part.embeds, (0, 0, 0, gap)))
        masks.append(torch.nn.functional.pad(valid, (0, gap)))
    return Conditioning(torch.cat(embeds), torch.cat(masks))


def prompt_text(prompt: str, pictures: int, variant: str) -> str:
    """The full text for a prompt and its number of pictures, with one image token for each picture.

    Raises InputError for an unknown variant, for two pictures with the first model (which takes one), and for
    a prompt that contains the tokenizer's control tokens.
    """
    if variant not in VARIANTS:
        raise InputError(f"the variant {variant!r} is not known: use one of {', '.join(VARIANTS)}")
    if len(prompt) > LONGEST_TEXT:
        raise InputError(
            f"the text has {len(prompt)} characters, and at most {LONGEST_TEXT} can be read: shorten it (a prompt has "
            "some hundred)"
        )
    if "<|" in prompt:
        token = prompt[prompt.index("<|") :][:20]
        raise InputError(f"the text contains a control token ({token!r}): leave out '<|'")
    if variant == "edit":
        if pictures != 1:
            raise InputError(
                f"Qwen-Image-Edit takes one picture, the mask, but was given {pictures}: "
                "leave out the reference image, or use Qwen-Image-Edit-2509 or -2511"
            )
        placed = _PICTURE
    else:
        placed = "".join(f"Picture {i + 1}: {_PICTURE}" for i in range(pictures))
    return _PREFIX + placed + prompt + _SUFFIX


def check_tokens(count: int) -> None:
    """Raise InputError where text and pictures have more tokens than the transformer has positions for."""
    if count > MOST_TOKENS:
        raise InputError(
            f"the text is {count} tokens long together with its pictures, and the model reads at most {MOST_TOKENS}: "
            "shorten it"
        )


def token_ids(tokenizer: Any, text: str, tokens_a_picture: Sequence[int]) -> tuple[list[int], list[int], int]:
    """Tokens of a full text, with each image token repeated as often as its picture has merged patches.

    Returns the ids, their types (1 for picture tokens, 0 for text) and the length of the template's prefix.
    """
    plain = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    prefix = list(tokenizer(_PREFIX, add_special_tokens=False)["input_ids"])
    if plain[: len(prefix)] != prefix:
        raise InputError("the tokenizer joins the template and the prompt into one token: give Qwen2.5-VL's own")
    image_id = tokenizer.convert_tokens_to_ids(_IMAGE)
    if plain.count(image_id) != len(tokens_a_picture):
        raise InputError(f"the tokenizer has no token {_IMAGE}: give the tokenizer of Qwen2.5-VL")
    ids: list[int] = []
    types: list[int] = []
    counts = iter(tokens_a_picture)
    for token in plain:
        picture = token == image_id
        times = next(counts) if picture else 1
        ids += [token] * times
        types += [int(picture)] * times
    return ids, types, len(prefix)


@torch.no_grad()
def encode(
    text_encoder: Any,
    tokenizer: Any,
    prompts: str | Sequence[str],
    pictures: Sequence[Any],
    variant: str,
) -> Conditioning:
    """Encode a batch of prompts, each with its pictures.

    `text_encoder`: Qwen2_5_VLForConditionalGeneration or Qwen2_5_VLModel of any width. `prompts`: B texts
    (one text serves a single sample). `pictures`: for each sample its mask, or (mask, reference image), of
    any type that `pixels.as_picture` takes; each is brought to the VL view here. A negative prompt is encoded
    the same way, with the same pictures. Returns embeddings in the encoder's type, on its device, without the
    prefix.
    Raises InputError as `prompt_text` does, and when tokenizer and encoder do not belong together.
    """
    return encode_with_gradient(text_encoder, tokenizer, prompts, pictures, variant)


def encode_with_gradient(
    text_encoder: Any, tokenizer: Any, prompts: str | Sequence[str], pictures: Sequence[Any], variant: str
) -> Conditioning:
    """The same as `encode`, for training an encoder."""
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    if len(prompts) != len(pictures):
        raise InputError(f"{len(prompts)} prompts were given with the pictures of {len(pictures)} samples")
    model = text_encoder.model if hasattr(text_encoder, "lm_head") else text_encoder
    expected = model.config.image_token_id
    found = tokenizer.convert_tokens_to_ids(_IMAGE)
    if found != expected:
        raise InputError(
            f"the tokenizer writes {_IMAGE} as {found} but the text encoder expects {expected}: "
            "give the tokenizer that belongs to this text encoder"
        )
    samples, pixel_values, grids = [], [], []
    for prompt, given in zip(prompts, pictures, strict=True):
        views = [vl_view(picture) for picture in (given if isinstance(given, (tuple, list)) else (given,))]
        sizes = []
        for view in views:
            if view.shape[0] != 1:
                raise InputError(f"each picture of a sample is a single image, but one holds {view.shape[0]}")
            values, grid = patches(view)
            pixel_values.append(values)
            grids.append(grid)
            sizes.append(values.shape[0] // MERGE**2)
        samples.append(token_ids(tokenizer, prompt_text(prompt, len(views), variant), sizes))

    device = execution_device(model)
    longest = max(len(ids) for ids, _, _ in samples)
    check_tokens(longest - samples[0][2])
    pad = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    ids = torch.tensor([i + [pad] * (longest - len(i)) for i, _, _ in samples], device=device)
    types = torch.tensor([t + [0] * (longest - len(t)) for _, t, _ in samples], device=device)
    lengths = torch.tensor([len(i) for i, _, _ in samples], device=device)
    valid = torch.arange(longest, device=device)[None] < lengths[:, None]
    inputs: dict[str, Any] = {
        "input_ids": ids,
        "attention_mask": valid.long(),
        "pixel_values": torch.cat(pixel_values).to(device),
        "image_grid_thw": torch.cat(grids).to(device),
        "use_cache": False,
    }
    if "mm_token_type_ids" in inspect.signature(model.forward).parameters:
        inputs["mm_token_type_ids"] = types
    hidden = model(**inputs).last_hidden_state
    prefix = samples[0][2]  # the same text, so the same length, in every sample
    return Conditioning(hidden[:, prefix:], None if bool(valid.all()) else valid[:, prefix:])
