"""The tokenizer of Qwen2.5-VL: where it is looked for, and what it must know."""

from pathlib import Path
from typing import Any

from ..errors import InputError

_INSIDE = ("", "tokenizer", "processor", "comfy/text_encoders/qwen25_tokenizer")


def find_tokenizer(*places: Path) -> Path | None:
    """The first folder with a tokenizer: a place itself, or where a diffusers folder or a ComfyUI checkout keeps it."""
    for place in places:
        for inside in _INSIDE:
            if any((place / inside / name).is_file() for name in ("tokenizer.json", "vocab.json")):
                return place / inside
    return None


def tokenizer_places(text_encoder: Path) -> list[Path]:
    """Where a text encoder's tokenizer may lie: with it, and in the four folders above, one of them ComfyUI's."""
    return [text_encoder, *list(text_encoder.absolute().parents)[:4]]


def load_tokenizer(*places: Path) -> Any:
    """The tokenizer of Qwen2.5-VL from the first of `places` that holds one, see `find_tokenizer`.

    Raises InputError, naming where a tokenizer is expected, if there is none.
    """
    home = find_tokenizer(*places)
    if home is None:
        looked = f" (looked in {', '.join(str(p) for p in places)})" if places else ""
        raise InputError(
            f"the tokenizer of Qwen2.5-VL was not found{looked}: name a folder with its vocab.json and merges.txt, "
            "the diffusers folder of the model, or a ComfyUI checkout"
        )
    from transformers import Qwen2Tokenizer

    try:
        tokenizer = Qwen2Tokenizer.from_pretrained(home, local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"the tokenizer in {home} cannot be read: {' '.join(str(error).split())}") from None
    for token in ("<|im_start|>", "<|vision_start|>", "<|image_pad|>"):
        if len(tokenizer(token, add_special_tokens=False)["input_ids"]) != 1:
            raise InputError(f"the tokenizer in {home} has no token {token}: it is not Qwen2.5-VL's")
    return tokenizer
