"""Imports of this project say nothing that the user did not ask for."""

import subprocess
import sys

import pytest

WHERE = ("training.pipeline", "wdlora.layer.variants")


@pytest.mark.parametrize("module", WHERE)
def test_bitsandbytes_speaks_of_no_kernels(module):
    """It does, on a CPU with AVX512-BF16, whenever peft is imported; other CPUs cannot fail this test."""
    code = f"import {module}, sys; sys.exit('peft' not in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
