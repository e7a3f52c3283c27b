"""The types of stored weights: as files spell them, and as the nodes and both engines name them."""

from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    import torch

WEIGHT_TYPES = ("default", "bfloat16", "float16", "float32", "fp8_e4m3fn")


def torch_type(name: str) -> "torch.dtype | None":
    """PyTorch's type of that name; None for `default`: as the file has them. Raises InputError for another name."""
    import torch

    if name not in WEIGHT_TYPES:
        raise InputError(f"the weight type {name!r} is not known: use one of {', '.join(WEIGHT_TYPES)}")
    return None if name == "default" else getattr(torch, name.replace("fp8", "float8"))


TORCH_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def safetensors_name(dtype: Any) -> str:
    """A torch dtype as safetensors spells it: "BF16"."""
    name = str(dtype).removeprefix("torch.")
    return next((short for short, long in TORCH_NAMES.items() if long == name), name)
