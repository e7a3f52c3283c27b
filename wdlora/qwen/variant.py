"""Which of the three Qwen-Image-Edit models a file or folder holds."""

from pathlib import Path

from ..errors import InputError
from .checkpoint import Checkpoint
from .loading import _variant


def variant_at(place: str | Path, given: str | None = None) -> str:
    """ "edit", "2509" or "2511" of a transformer's file, or of a diffusers folder.

    By the marker of 2511, the pipeline's class and the name; `given` decides where they do not tell. Raises
    InputError where nothing tells, or where `given` contradicts the marker.
    """
    place = Path(place)
    if not place.exists():
        raise InputError(f"{place} does not exist")
    folder = place if (place / "model_index.json").is_file() else None
    path = place if folder is None else place / "transformer"
    weights = Checkpoint(path)
    try:
        return _variant(given, folder, path, weights)
    finally:
        weights.close()
