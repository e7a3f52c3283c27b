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
