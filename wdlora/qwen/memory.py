"""Where the three parts of the model live, and how they take turns on the accelerator."""

from typing import Any

import torch
from torch import nn

from ..errors import InputError

OFFLOADS = ("none", "model", "block")


def pick_device(device: torch.device | str | None) -> torch.device:
    """The device to compute on: the given one, else the first CUDA device, else the CPU.

    Raises InputError for a device that PyTorch does not know, that is not there, or that holds no values.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise InputError(f"there is no device {device!r}: use cpu, cuda, or cuda:1 for the second card") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"the device {chosen} was asked for, but PyTorch finds no CUDA device here: use cpu")
    if chosen.type == "cuda" and chosen.index is not None and chosen.index >= torch.cuda.device_count():
        raise InputError(f"there is no device {chosen}: PyTorch finds {torch.cuda.device_count()} CUDA devices here")
    if chosen.type not in ("cpu", "cuda"):
        try:
            torch.zeros(1, device=chosen).item()
        except (RuntimeError, NotImplementedError, AssertionError):
            raise InputError(f"there is no device {chosen} here: use cpu, or cuda where there is one") from None
    return chosen


def pick_dtype(dtype: torch.dtype | None, device: torch.device) -> torch.dtype:
    """The type to compute in: the given one, else bfloat16 on an accelerator and float32 on the CPU."""
    if dtype is not None:
        return dtype
    return torch.float32 if device.type == "cpu" else torch.bfloat16


def place(
    text_encoder: nn.Module | None,
    transformer: nn.Module | None,
    vae: nn.Module | None,
    device: torch.device,
    offload: str,
) -> None:
    """Bring the parts that there are to the device, or set them up to come there for their turn.

    `offload`: "none" keeps all there; "model" keeps one part at a time there and the others in main memory;
    "block" also streams the transformer block by block, for cards that do not hold it. The result is the same.
    nf4 layers cannot be streamed: with them "block" is refused.
    """
    if offload not in OFFLOADS:
        raise InputError(f"the offload mode {offload!r} is not known: use one of {', '.join(OFFLOADS)}")
    parts = [part for part in (text_encoder, transformer, vae) if part is not None]
    if offload == "none":
        for part in parts:
            part.to(device)
        return
    from accelerate import cpu_offload_with_hook

    previous = None
    for part in parts:
        if part is transformer and offload == "block":
            _stream(part, device)
        else:
            _, previous = cpu_offload_with_hook(part, device, previous)


def _stream(transformer: nn.Module, device: torch.device) -> None:
    if any(type(layer).__name__ == "Linear4bit" for layer in transformer.modules()):
        raise InputError("nf4 storage cannot be streamed block by block: use the offload mode 'model', or fp8")
    from diffusers.hooks import apply_group_offloading

    apply_group_offloading(
        transformer,
        onload_device=device,
        offload_device=torch.device("cpu"),
        offload_type="block_level",
        num_blocks_per_group=1,
        use_stream=device.type == "cuda",
        low_cpu_mem_usage=device.type == "cuda",  # else every weight is copied into page-locked memory
    )


def execution_device(part: Any) -> torch.device:
    """Where a part computes, wherever its weights lie at the moment."""
    device = getattr(getattr(part, "_hf_hook", None), "execution_device", None)
    if device is not None:
        return torch.device(device)
    registry = getattr(part, "_diffusers_hook", None)
    hook = registry.get_hook("group_offloading") if registry is not None else None
    if hook is not None:
        return hook.group.onload_device
    return next(part.parameters()).device
