"""The package's front."""

import subprocess
import sys

import pytest


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, wdlora.qwen; print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_public_name_is_there():
    import wdlora.qwen

    for name in wdlora.qwen.__all__:
        assert callable(getattr(wdlora.qwen, name))
    with pytest.raises(AttributeError):
        _ = wdlora.qwen.nothing


def test_nobody_hears_of_kernels_for_4_bits_who_asked_for_none():
    """Said by bitsandbytes when diffusers imports it, on processors with AVX512-BF16 only; so it is said here again."""
    code = (
        "import logging; logging.basicConfig(level='WARNING')\n"
        "from wdlora.qwen.miniature_files import load_miniature\n"
        "load_miniature()\n"
        "logger = logging.getLogger('bitsandbytes.backends.cpu.ops')\n"
        "logger.warning('Failed to load CPU gemm_4bit_forward from kernels-community: %s. Please …', 'no kernels')\n"
        "logger.warning('something else')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "gemm_4bit" not in done.stderr and "something else" in done.stderr
