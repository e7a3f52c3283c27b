"""The clock by which a cost is told."""

import time

import torch

PROCESSOR, WALL = "processor", "wall"

TOLD = {PROCESSOR: "processor time", WALL: "time on the wall"}
"""What seconds and minutes of a clock are called."""


class Clock:
    """Seconds of work on a device, from an unknown start. On a CPU, which others may share, they are the processor's
    (`name` is `PROCESSOR`); elsewhere those on the wall, once all work that was asked of the device is done (`WALL`).
    """

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.name = PROCESSOR if self.device.type == "cpu" else WALL

    def __call__(self) -> float:
        if self.name == PROCESSOR:
            return time.process_time()
        torch.accelerator.synchronize(self.device)
        return time.monotonic()
