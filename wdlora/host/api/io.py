"""`comfy_api.latest.io` of the embedded host: everything that a node declares itself with."""

from typing import Any

from .inputs import (
    AnyType,
    Boolean,
    Clip,
    Combo,
    Conditioning,
    Custom,
    Float,
    FolderType,
    Hidden,
    Image,
    Input,
    Int,
    Latent,
    Mask,
    Model,
    NumberDisplay,
    Output,
    String,
    UploadType,
    Vae,
    WidgetInput,
)
from .schema import ComfyNode, HiddenHolder, NodeOutput, Schema

__all__ = [
    "AnyType",
    "Boolean",
    "Clip",
    "Combo",
    "ComfyNode",
    "Conditioning",
    "Custom",
    "Float",
    "FolderType",
    "Hidden",
    "HiddenHolder",
    "Image",
    "Input",
    "Int",
    "Latent",
    "Mask",
    "Model",
    "NodeOutput",
    "NumberDisplay",
    "Output",
    "Schema",
    "String",
    "UploadType",
    "Vae",
    "WidgetInput",
]


def __getattr__(name: str) -> Any:
    raise AttributeError(f"the embedded host does not offer comfy_api.latest.io.{name}")
