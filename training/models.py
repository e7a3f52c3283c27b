"""Which model is trained or evaluated, and how it is loaded."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wdlora.errors import InputError
from wdlora.qwen.files import PARTS, ModelFiles
from wdlora.qwen.miniature_files import miniature_files
from wdlora.weights.base import Weights

if TYPE_CHECKING:
    import torch

MINIATURE = "miniature"
TRAINED_ON = {"float8_e4m3fn": "fp8", "nf4": "nf4"}
"""Precisions by the words of adapter metadata."""

STORAGE = {"fp32": "full", "bf16": "full", "fp8": "fp8", "nf4": "nf4"}


def precision_for(model: str, trained_on: Sequence[str | None]) -> str:
    """The precision at which `model` is to carry adapters: that on which all of them were trained, else bf16; fp32 of
    the miniature. `trained_on` are the `base_quantisation` of their metadata.
    """
    if model == MINIATURE:
        return "fp32"
    found = {TRAINED_ON.get(str(stored), "bf16") for stored in trained_on}
    return found.pop() if len(found) == 1 else "bf16"


@dataclass(frozen=True)
class ModelSource:
    """Where Qwen-Image-Edit comes from: `miniature`, a diffusers folder, single files, or a folder and files.

    Raises InputError where nothing names a model, and for files or a variant beside the miniature, which has its own.
    """

    folder: str | None = None
    transformer: str | None = None
    text_encoder: str | None = None
    vae: str | None = None
    tokenizer: str | None = None
    variant: str | None = None

    def __post_init__(self) -> None:
        if not (self.folder or self.transformer):
            raise InputError("Name the model with --model, or its files with --transformer, --text-encoder and --vae.")
        others = ("transformer", "text_encoder", "vae", "tokenizer", "variant")
        if self.folder == MINIATURE and (given := [name for name in others if getattr(self, name) is not None]):
            options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise InputError(f"--model miniature has its own parts: leave out {options}, or name another model.")

    @property
    def label(self) -> str:
        """What the model is called in metadata: a name without folders."""
        return "WDLoRA miniature" if self.folder == MINIATURE else Path(str(self.folder or self.transformer)).name

    def stored_as(self, precision: str) -> str | None:
        """How the frozen weights are stored while training, in the words of adapter metadata."""
        if precision in ("fp8", "nf4"):
            return next(stored for stored, name in TRAINED_ON.items() if name == precision)
        path = miniature_files().transformer if self.folder == MINIATURE else self.transformer
        return Weights(path or Path(str(self.folder)) / "transformer").quantisation

    def check_places(self) -> None:
        """Raise InputError where the folder, or a part, is not there; imports no PyTorch and opens no file."""
        for path in self._files().paths(PARTS).values():
            if not path.exists():
                raise InputError(f"{path} does not exist")

    def check(self, precision: str) -> None:
        """Raise InputError where `load` would for one of the parts; reads headers alone."""
        from wdlora.qwen.loading import check_files

        check_files(self._files(), STORAGE[precision])

    def load(
        self,
        precision: str,
        device: "torch.device | str | None",
        parts: tuple[str, ...] = PARTS,
        offload: str = "none",
    ) -> Any:
        """Load some parts (`transformer`, `text_encoder` with its tokenizer, `vae`) at a precision of the presets.

        `offload` as in `wdlora.qwen.memory.place`.
        """
        import torch

        from wdlora.qwen.loading import load

        dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        storage = STORAGE[precision]
        return load(self._files(), parts=parts, storage=storage, offload=offload, device=device, dtype=dtype)

    def _files(self) -> ModelFiles:
        return miniature_files().model if self.folder == MINIATURE else ModelFiles(**dataclasses.asdict(self))
