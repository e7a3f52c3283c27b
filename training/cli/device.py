"""The option --device, the same of every command that trains."""

import argparse


def add_device(parser: argparse.ArgumentParser) -> None:
    """Declare --device; None where it is not given."""
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 … (default: CUDA if there is one)")


def device_for_small(name: str | None) -> str:
    """The device for networks that one CPU thread trains fastest: the one named, else CUDA if there is one, else the
    CPU with one thread. Raises InputError for a device that is not there.
    """
    import torch

    from wdlora.qwen.memory import pick_device

    device = pick_device(name)
    if device.type == "cpu":
        torch.set_num_threads(1)
    return str(device)
