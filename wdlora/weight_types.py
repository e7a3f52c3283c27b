"""The types in which a transformer's weights can lie in memory, by the names that the nodes and both engines use."""

from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    import torch

WEIGHT_TYPES = ("default", "bfloat16", "float16", "float32", "fp8_e4m3fn")


def torch_type(name: str) -> "torch.dtype | None":
    """PyTorch's type of that name; None for `default`: as the file has them. Raises InputError for another name."""
    import torch

    if name not in WEIGHT_TYPES:
        raise InputError(f"the weight type {name!r} is not known: use one of {', '.join(WEIGHT_TYPES)}")
    return None if name == "default" else getattr(torch, name.replace("fp8", "float8"))
