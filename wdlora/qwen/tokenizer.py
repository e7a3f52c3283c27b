"""The tokenizer of Qwen2.5-VL: where it is looked for, and what it must know."""

from pathlib import Path
from typing import Any

from ..errors import InputError


def load_tokenizer(*places: Path) -> Any:
    """The tokenizer of Qwen2.5-VL from the first of `places` that holds one.

    A place is the tokenizer's folder, a diffusers folder or a ComfyUI checkout. Raises InputError, naming where
    a tokenizer is expected, if there is none.
    """
    inside = ("", "tokenizer", "processor", "comfy/text_encoders/qwen25_tokenizer")
    for place_ in places:
        for sub in inside:
            home = place_ / sub
            if (home / "tokenizer.json").is_file() or (home / "vocab.json").is_file():
                from transformers import Qwen2Tokenizer

                try:
                    tokenizer = Qwen2Tokenizer.from_pretrained(home, local_files_only=True)
                except (OSError, ValueError, TypeError, KeyError) as error:
                    raise InputError(
                        f"the tokenizer in {home} cannot be read: {' '.join(str(error).split())}"
                    ) from None
                for token in ("<|im_start|>", "<|vision_start|>", "<|image_pad|>"):
                    if len(tokenizer(token, add_special_tokens=False)["input_ids"]) != 1:
                        raise InputError(f"the tokenizer in {home} has no token {token}: it is not Qwen2.5-VL's")
                return tokenizer
    looked = f" (looked in {', '.join(str(p) for p in places)})" if places else ""
    raise InputError(
        f"the tokenizer of Qwen2.5-VL was not found{looked}: name a folder with its vocab.json and merges.txt, "
        "the diffusers folder of the model, or a ComfyUI checkout"
    )


def tokenizer_near(text_encoder: Path, given: str | None = None) -> Any:
    """The tokenizer in `given`, else beside the text encoder's file or in one of the four folders above it.

    Raises InputError as `load_tokenizer` does.
    """
    near = [text_encoder, *list(text_encoder.absolute().parents)[:4]]
    return load_tokenizer(*(near if given is None else [Path(given)]))


def tokenizer_places(given: str | Path | None, folder: str | Path | None, text_encoder: Path) -> list[Path]:
    """Where `load` looks: what is given, else the model's folder, the text encoder's, a ComfyUI checkout above it."""
    if given is not None:
        return [Path(given)]
    places = [] if folder is None else [Path(folder)]
    if text_encoder.is_dir():
        places.append(text_encoder)
    places += [p for p in text_encoder.absolute().parents if (p / "comfy" / "text_encoders").is_dir()]
    return places
