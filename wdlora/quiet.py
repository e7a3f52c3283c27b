"""Leaving out one warning of bitsandbytes', which speaks of 4 bits to those who asked for none."""

import logging

_SOURCE = "bitsandbytes.backends.cpu.ops"


def silence_kernel_warning() -> None:
    """Leave out what bitsandbytes says on some processors, when it is imported, of kernels that it would download.

    diffusers and peft import it wherever it is installed, so call this before them. Its other messages stay.
    """
    logging.getLogger(_SOURCE).addFilter(_not_of_kernels)


def _not_of_kernels(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Failed to load CPU gemm_4bit_forward from kernels-community")
