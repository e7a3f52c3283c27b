"""What a path or a preset's name tells is refused before PyTorch is imported, which takes seconds."""

import subprocess
import sys
from pathlib import Path

import pytest

from training.cli.device import device_for_small

ALONE = """
import sys
from training.__main__ import main
status = main(sys.argv[1:])
heavy = [name for name in ("torch", "accelerate", "scipy.stats") if name in sys.modules]
sys.exit(f"imported {heavy}" if heavy else status)
"""
PARENT = Path(__file__).parents[2]
NO_DATA, NO_MODEL, NO_PRESET = "no data set folder", "there is no folder", "no preset"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("finetune --preset nope --model miniature --out out", NO_PRESET),
        ("finetune --preset miniature --model miniature --data missing --out out", NO_DATA),
        ("finetune --preset miniature --model missing --out out", NO_MODEL),
        ("finetune --preset miniature --transformer missing.safetensors --model miniature --out out", "leave out"),
        ("finetune --preset miniature --model miniature --out file/out", "file is a file, not a folder"),
        ("finetune --preset miniature --model miniature --out held", "already holds a run"),
        ("evaluate --adapter missing.safetensors --data missing", NO_DATA),
        ("evaluate --adapter missing.safetensors --model missing --out out", NO_MODEL),
        ("evaluate --adapter missing.safetensors --out out", "missing.safetensors does not exist"),
        ("compare --model missing --out out", NO_MODEL),
        ("peers train spade --data missing --out out", NO_DATA),
        ("peers train spade --data held --out file/out", "file is a file, not a folder"),
        ("peers train spade --data held --preset nope --out out", NO_PRESET),
        ("table9 --data missing --out out", NO_DATA),
        ("table9 --model missing --out out", NO_MODEL),
        ("table9 --preset nope --out out", NO_PRESET),
        ("downstream --real missing --out out", NO_DATA),
        ("downstream --real held --synthetic missing --out out", NO_DATA),
        ("miniature --out file/out", "file is a file, not a folder"),
        ("tracer --out file/out", "file is a file, not a folder"),
    ],
)
def test_a_path_or_a_name_that_is_wrong_is_told_before_pytorch_is_imported(command, told, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "held" / "checkpoints").mkdir(parents=True)
    root = f"import sys; sys.path.insert(0, {str(PARENT)!r})"
    done = subprocess.run([sys.executable, "-c", root + ALONE, *command.split()], cwd=tmp_path, capture_output=True)
    assert told in done.stderr.decode() and done.returncode == 2, done.stderr.decode()
    assert not (tmp_path / "out").exists()


def test_without_a_device_the_commands_choose_as_finetune_does(monkeypatch):
    import torch

    assert device_for_small("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_for_small(None) == "cuda"
