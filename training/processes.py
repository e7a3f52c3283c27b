"""The processes of a fine-tune, one or several, as accelerate launched them."""

import logging
import os
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
)

from wdlora.errors import InputError

log = logging.getLogger(__name__)


def _launcher() -> str | None:
    """What started this process to be one of several; None where it is alone."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun"
    return "accelerate launch" if "ACCELERATE_MIXED_PRECISION" in os.environ else None


def accelerator_for(device: torch.device | None) -> Accelerator:
    """accelerate for what was launched, on `device` where one is named.

    What `accelerate launch` sets for precision and accumulation is not taken: presets decide both. Raises InputError
    for a card by number in several processes, each of which has its own, and for launchers that cut the model up.
    """
    accelerator = Accelerator(
        cpu=(device is not None and device.type == "cpu") or not torch.cuda.is_available(),
        mixed_precision="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        kwargs_handlers=[
            # The text stream of the last block leads nowhere, so adapters on it get no gradient. No buffer
            # changes while an adapter is trained.
            DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False),
            # The others wait while the main process encodes the data.
            InitProcessGroupKwargs(timeout=timedelta(days=2)),
        ],
    )
    if accelerator.distributed_type not in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        raise InputError(
            f"accelerate is set to {accelerator.distributed_type.value}, but only the small adapter is trained here, "
            "on whole copies of the base: choose plain data parallelism (accelerate config), and nf4 for small cards."
        )
    if accelerator.num_processes == 1 and (launcher := _launcher()):
        log.warning(
            "%s has started one process: for several on one machine use torchrun --nproc_per_node N -m training "
            "finetune, or answer accelerate config with that number.",
            launcher,
        )
    if accelerator.num_processes > 1 and device is not None and device.index is not None:
        raise InputError(f"--device {device} is one card, but there are {accelerator.num_processes} processes.")
    return accelerator
