"""The benchmarks' command: what cannot be measured leaves the page alone."""

import sys

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import startup


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_a_measured_section_stays(tmp_path, monkeypatch, capsys):
    page = tmp_path / "benchmarks.md"
    page.write_text("# Benchmarks\n\n<!-- gpu -->\nmeasured\n<!-- /gpu -->\n")
    monkeypatch.setattr(command, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "gpu", "--write"])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 2 and "gpu: PyTorch finds no CUDA device" in capsys.readouterr().err
    assert "measured" in page.read_text() and "Not measured" not in page.read_text()


def test_the_start_up_benchmark_still_runs(monkeypatch):
    """Its code runs in fresh processes, as a text: no type checker sees a name in it that is gone."""
    monkeypatch.setattr(startup, "ROUNDS", 1)
    assert "node classes" in startup.run()
