"""Imports of this project say nothing that the user did not ask for."""

import subprocess
import sys

import pytest

LIKE_ITS = """
import logging, sys
logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
logger.warning("Failed to load CPU gemm_4bit_forward from kernels-community: none")
"""
"""Said by bitsandbytes when peft imports it, on processors with AVX512-BF16 only; so it is said here again."""

COMMAND = """
from training.__main__ import main
assert main([]) == 2
import training.pipeline
"""


def said(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_bitsandbytes_speaks_of_no_kernels():
    assert said(f"{COMMAND}{LIKE_ITS}assert 'peft' in sys.modules") == ""


@pytest.mark.parametrize("package", ["training", "wdlora.layer", "benchmarks"])
def test_an_import_changes_nobody_s_logging(package):
    assert "gemm_4bit_forward" in said(f"import {package}{LIKE_ITS}")
