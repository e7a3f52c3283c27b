"""Where a model's parts are; read without PyTorch, so that a folder that is not there is told at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from .tokenizer import load_tokenizer, tokenizer_places

PARTS = ("transformer", "text_encoder", "vae")


@dataclass(frozen=True)
class ModelFiles:
    """Where a model's parts are: in a diffusers `folder`, in single files, or in a folder with parts replaced by files.

    `transformer`, `text_encoder`, `vae`: a .safetensors file in ComfyUI's or diffusers' layout, or a folder with
    shards. `tokenizer`: a folder with Qwen2.5-VL's tokenizer, or a ComfyUI checkout; where it is not given it is
    looked for in `folder`, with the text encoder and in the folders above it. `variant`: "edit", "2509" or
    "2511", needed where neither folder nor file name tells.
    """

    folder: str | Path | None = None
    transformer: str | Path | None = None
    text_encoder: str | Path | None = None
    vae: str | Path | None = None
    tokenizer: str | Path | None = None
    variant: str | None = None

    @classmethod
    def of(cls, given: "ModelFiles | str | Path") -> "ModelFiles":
        """`given` itself, or the files of the diffusers folder of that path."""
        return given if isinstance(given, ModelFiles) else cls(folder=given)

    def paths(self, parts: Sequence[str]) -> dict[str, Path]:
        """The path of each part that is known: the named file, else the part's subfolder.

        Raises InputError where one of `parts` is not known.
        """
        named = {part: getattr(self, part) for part in PARTS}
        if unknown := sorted(set(parts) - set(named)):
            raise InputError(f"the model has no part {unknown[0]!r}: its parts are {', '.join(named)}")
        paths = {}
        for part, path in named.items():
            if path is not None:
                paths[part] = Path(path)
            elif self.folder is not None and (Path(self.folder) / part).is_dir():
                paths[part] = Path(self.folder) / part
            elif part in parts and self.folder is not None and not Path(self.folder).is_dir():
                raise InputError(
                    f"there is no folder {self.folder}: name the diffusers folder of Qwen-Image-Edit on this machine, "
                    "nothing is downloaded"
                )
            elif part in parts and self.folder is None:
                raise InputError(f"no {part.replace('_', ' ')} was given: name its file, or a diffusers folder")
            elif part in parts:
                raise InputError(
                    f"{self.folder} is not a diffusers folder of Qwen-Image-Edit: it has no subfolder {part}"
                )
        return paths

    def load_tokenizer(self, text_encoder: Path) -> Any:
        """The tokenizer that is named, or found near the text encoder. Raises InputError where there is none."""
        if self.tokenizer is not None:
            return load_tokenizer(Path(self.tokenizer))
        near = [] if self.folder is None else [Path(self.folder)]
        return load_tokenizer(*near, *tokenizer_places(text_encoder))
