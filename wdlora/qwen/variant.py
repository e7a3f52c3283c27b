"""Which of the three Qwen-Image-Edit models a file or folder holds."""

from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from .checkpoint import MARKER_2511, Checkpoint, config_beside, json_object, variant_of

PIPELINES = {"QwenImageEditPipeline": "edit", "QwenImageEditPlusPipeline": "2509"}


class Known(NamedTuple):
    """Which Qwen-Image-Edit a part of a model belongs to: "edit", "2509", "2511", or None where nothing tells.

    `sure`: its loader or the marker of 2511 in it said so; else it is what its file's name suggests.
    """

    variant: str | None = None
    sure: bool = False


def variant_at(place: str | Path, given: str | None = None) -> str:
    """ "edit", "2509" or "2511" of a transformer's file, or of a diffusers folder.

    By the marker of 2511, the configuration, the pipeline's class and the name; `given` decides where they do not
    tell. Raises InputError where nothing tells, or where `given` contradicts one of the first three.
    """
    place = Path(place)
    if not place.exists():
        raise InputError(f"{place} does not exist")
    folder = place if (place / "model_index.json").is_file() else None
    path = place if folder is None else place / "transformer"
    weights = Checkpoint(path)
    try:
        return decide_variant(given, folder, path, weights)
    finally:
        weights.close()


def decide_variant(given: str | None, folder: str | Path | None, path: Path | None, weights: Checkpoint | None) -> str:
    """Which model it is, by the 2511 marker, the configuration, the pipeline's class, what is given, or the name.

    Raises InputError where nothing tells, or where `given` contradicts one of the first three.
    """
    if weights is None or path is None:
        if given is None:
            raise InputError("without the transformer's file, give variant as 'edit', '2509' or '2511'")
        return given
    found = None
    if folder is not None and Path(folder) in path.parents:
        path = Path(folder)
        index = path / "model_index.json"
        pipeline = json_object(index).get("_class_name") if index.is_file() else None
        found = PIPELINES.get(str(pipeline))
        if pipeline is not None and found is None:
            raise InputError(f"{folder} holds a {pipeline}, not Qwen-Image-Edit: only its edit models take a mask")
    if MARKER_2511 in weights or config_beside(weights, "QwenImageTransformer2DModel").get("zero_cond_t"):
        found = "2511"
    if given is not None:
        if found is not None and given != found and (found, given) != ("2509", "2511"):
            what = "Qwen-Image-Edit" + ("" if found == "edit" else f"-{found}")
            raise InputError(f"{weights.label} is {what}, but {given} was asked for")
        return given
    named = variant_of(path, weights)
    if found is None or (found == "2509" and named == "2511"):  # pipelines of both have one class
        found = named
    if found is None:
        raise InputError(
            f"{path.name} does not tell which Qwen-Image-Edit it is, and text-to-image Qwen-Image has the same "
            "tensors: give variant as 'edit', '2509' or '2511'"
        )
    return found
