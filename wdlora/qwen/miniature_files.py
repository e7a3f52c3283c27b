"""The shipped miniature: where its files are, and how to load it.

The miniature is a complete Qwen-Image-Edit in ComfyUI's single files, small enough to ship. `recipe.json` says
how it was trained, `metrics.json` what it reaches, with the hashes of all files. It was pretrained on procedural
pictures of lines, never on corneal nerves.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    import torch

    from .files import ModelFiles
    from .loading import QwenImageEdit

FOLDER = Path(__file__).parent / "miniature"

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Qwen's control tokens; they follow the vocabulary, so their ids are the miniature's own."""


@dataclass(frozen=True)
class MiniatureFiles:
    """The files of a miniature; `folder` holds them all under these names."""

    folder: Path

    @property
    def transformer(self) -> Path:
        """The MMDiT in diffusers' and ComfyUI's common key layout."""
        return self.folder / "qwen_image_edit_miniature.safetensors"

    @property
    def text_encoder(self) -> Path:
        """The vision–language encoder in ComfyUI's key layout (`model.…`, `visual.…`)."""
        return self.folder / "qwen_2.5_vl_miniature.safetensors"

    @property
    def vae(self) -> Path:
        """The VAE in Wan's key layout, as ComfyUI loads it."""
        return self.folder / "qwen_image_miniature_vae.safetensors"

    @property
    def tokenizer(self) -> Path:
        """Folder with vocabulary and merges of the byte-level tokenizer."""
        return self.folder / "tokenizer"

    @property
    def model(self) -> "ModelFiles":
        """The four of them that `loading.load` reads."""
        from .files import ModelFiles

        parts = (self.transformer, self.text_encoder, self.vae, self.tokenizer)
        return ModelFiles(None, *parts, variant="edit")

    @property
    def recipe(self) -> Path:
        """How the weights were trained."""
        return self.folder / "recipe.json"

    @property
    def metrics(self) -> Path:
        """What the miniature reaches, and the hashes of its files."""
        return self.folder / "metrics.json"


def miniature_files(folder: str | Path | None = None) -> MiniatureFiles:
    """The files of the shipped miniature, or of one trained into `folder`. Raises InputError if any is missing."""
    files = MiniatureFiles(FOLDER if folder is None else Path(folder))
    needed = (files.transformer, files.text_encoder, files.vae, files.tokenizer)
    if missing := [path.name for path in needed if not path.exists()]:
        raise InputError(f"the miniature in {files.folder} lacks {', '.join(missing)}: install the pack again")
    return files


def load_miniature(folder: str | Path | None = None, dtype: "torch.dtype | None" = None) -> "QwenImageEdit":
    """Load the shipped miniature, or one trained into `folder`, on the CPU; `dtype` defaults to float32."""
    from .loading import load

    return load(miniature_files(folder).model, device="cpu", dtype=dtype)
